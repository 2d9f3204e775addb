"""Panels as sections of a report, and the answers of all of them first."""

from collections.abc import Sequence

from retromem.report.content import Block, Points, Section, Terms
from retromem.report.panel_figures import charts_with_points, draw_panel
from retromem.report.panel_page import Panel
from retromem.report.seed_spread import num_seeds


def panel_sections(panels: Sequence[Panel]) -> list[Section]:
    """One list of answers, where there are several, then picture, explanation and tables of each panel."""
    if len(panels) < 2:
        return [_section(panel) for panel in panels]
    answers = Terms(pairs=[(panel.page.title, panel.page.answer) for panel in panels])
    return [Section(title="What was found", blocks=[answers]), *(_section(panel) for panel in panels)]


def _section(panel: Panel) -> Section:
    page = panel.page
    told = [text for text in (page.answer, page.finding) if text]
    if num_seeds(panel.points) == 1:
        told.append("From one seed: how far another one would be from it was not measured.")
    blocks: list[Block] = [Points(texts=told)]
    if charts_with_points(panel):
        blocks.append(draw_panel(panel))
    return Section(title=page.title, blocks=[*blocks, *page.tables, Points(texts=page.explained)])
