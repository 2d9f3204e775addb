"""The report as Markdown: the same content, figures linked."""

from retromem.report.content import Block, Content, Points, Terms
from retromem.report.drawing import Picture
from retromem.report.table_text import markdown_text, table_markdown


def report_markdown(content: Content) -> str:
    """The text of report.md."""
    parts = [
        f"# {markdown_text(content.title)}",
        markdown_text(content.question),
        *(f"**{markdown_text(line)}**" for line in content.first.answer.split("\n")),
    ]
    first = content.first
    parts += [markdown_text(text) for text in (first.more, first.basis, content.warning) if text]
    parts += [_block(chart) for chart in first.charts]
    parts += [markdown_text(first.charts_caption)] if first.charts_caption else []
    parts += [_block(first.table)] if first.table is not None else []
    for section in content.sections:
        parts += [f"## {markdown_text(section.title)}", *(_block(block) for block in section.blocks)]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    match block:
        case Picture():
            return f"![{markdown_text(block.alt)}](figures/{block.name}.png)\n\n{markdown_text(block.caption)}".strip()
        case Terms():
            return "\n".join(f"- **{markdown_text(word)}**: {markdown_text(text)}" for word, text in block.pairs)
        case Points():
            return "\n".join(f"- {markdown_text(text)}" for text in block.texts)
        case _:
            return table_markdown(block)
