"""Panels as sections of a report, and the answers of all of them first."""

from collections.abc import Sequence

from retromem.report.content import Block, Points, Section, Terms
from retromem.report.panel_figures import draw_panel
from retromem.report.panel_page import Panel


def panel_sections(panels: Sequence[Panel]) -> list[Section]:
    """One list of answers, where there are several, then picture, explanation and tables of each panel."""
    if len(panels) < 2:
        return [_section(panel) for panel in panels]
    answers = Terms(pairs=[(panel.page.title, panel.page.answer) for panel in panels])
    return [Section(title="What was found", blocks=[answers]), *(_section(panel) for panel in panels)]


def _section(panel: Panel) -> Section:
    page = panel.page
    blocks: list[Block] = [Points(texts=[page.answer, page.finding])]
    if page.charts:
        blocks.append(draw_panel(panel))
    return Section(title=page.title, blocks=[*blocks, *page.tables, Points(texts=page.explained)])
