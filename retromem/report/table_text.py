"""A table as the report thinks of it, and its two forms. Every text is escaped here, once."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

NAMES = "names"
"""anchor of the words that say how memories are named"""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number or name."""

    text: str = ""
    detail: str = ""
    """range over seeds and the like, set small"""
    strong: bool = False
    is_prose: bool = False
    """words, which may be broken into lines"""
    is_name: bool = False
    """of a memory: it leads to the words that say how names are made"""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Header, and blocks of lines under a heading (empty for none). The first column holds names."""

    caption: str
    header: Sequence[str]
    blocks: Sequence[tuple[str, Sequence[Sequence[Cell]]]]
    long_names: bool = False
    """the first column holds sentences, which may be broken into lines"""


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_<>|\[\]$])", r"\\\1", " ".join(text.split()))


def table_html(table: Table) -> str:
    """In a box that scrolls by itself, so that a wide table never widens the page."""
    # The caption stands outside of the box: it must not scroll away with the numbers.
    names = ' class="long-names"' if table.long_names else ""
    lines = [f'<p class="caption">{html.escape(table.caption)}</p><div class="scroll"><table{names}>', "<thead><tr>"]
    rows = [cells for _, block in table.blocks for cells in block]
    for column, title in enumerate(table.header):
        in_words = bool(rows) and all(cells[column].is_prose for cells in rows)
        lines.append(f'<th scope="col"{" class=prose" if in_words else ""}>{html.escape(title)}</th>')
    lines.append("</tr></thead><tbody>")
    for heading, block in table.blocks:
        if heading:
            # The name sits in a cell of its own, so that it stays in view when the numbers scroll.
            lines.append(
                f'<tr class="group"><th scope="rowgroup">{html.escape(heading)}</th>'
                f'<td colspan="{len(table.header) - 1}"></td></tr>'
            )
        for cells in block:
            name, *numbers = cells
            openings = ('<td class="prose">' if cell.is_prose else "<td>" for cell in numbers)
            texts = [f"{opening}{_cell_html(cell)}</td>" for opening, cell in zip(openings, numbers, strict=True)]
            lines.append(f'<tr><th scope="row">{_cell_html(name)}</th>{"".join(texts)}</tr>')
    return "\n".join([*lines, "</tbody></table></div>"])


def _cell_html(cell: Cell) -> str:
    text = html.escape(cell.text)
    text = f"<b>{text}</b>" if cell.strong else text
    text = f'<a href="#{NAMES}">{text}</a>' if cell.is_name else text
    return f"{text}<small>{html.escape(cell.detail)}</small>" if cell.detail else text


def table_markdown(table: Table) -> str:
    """A pipe table under its caption."""
    lines = [
        f"*{markdown_text(table.caption)}*",
        "",
        f"| {' | '.join(markdown_text(name) for name in table.header)} |",
        f"|{' --- |' + ' ---: |' * (len(table.header) - 1)}",
    ]
    for heading, block in table.blocks:
        if heading:
            lines.append(f"| **{markdown_text(heading)}** |{' |' * (len(table.header) - 1)}")
        lines += [f"| {' | '.join(_cell_markdown(cell) for cell in cells)} |" for cells in block]
    return "\n".join(lines)


def _cell_markdown(cell: Cell) -> str:
    text = markdown_text(cell.text)
    text = f"**{text}**" if cell.strong else text
    return f"{text} {markdown_text(cell.detail)}" if cell.detail else text
