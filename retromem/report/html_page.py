"""What a report says, as HTML. Every text is escaped here or in its table, once."""

import html
import re
from collections.abc import Sequence

from retromem.report.content import Block, Content, Points, Section, Terms
from retromem.report.drawing import Picture
from retromem.report.glossary import GLOSSARY, NAMES_OF_MEMORIES
from retromem.report.table_text import NAMES, table_html

_LINKED = ("smallest memory", "as written", "paraphrased", "storage", "twin")
"""words of the first screen that lead to the glossary, where the page has one"""
_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 1.2rem 1.5rem 4rem; color: #1d1d1f; background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.25rem; margin: 0; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; }
.question { color: #5b5b60; margin: 0 0 .8rem; }
.answer { border-left: 5px solid #0072b2; padding: .1rem 0 .1rem 1rem; margin: 0 0 1rem; }
.answer p { margin: 0 0 .4rem; }
.answer .main { font-size: 1.35rem; line-height: 1.35; font-weight: 600; }
.answer .basis, figcaption, .caption, small { color: #5b5b60; font-size: .85rem; }
.warning { background: #fff4d6; padding: .5rem .8rem; border-radius: 4px; }
figure { margin: 0 0 1.4rem; }
figure > div, .scroll { overflow-x: auto; }
figure svg { display: block; width: 100%; height: auto; }
.charts { display: flex; flex-wrap: wrap; gap: 0 1rem; }
.charts figure { flex: 1 1 340px; margin-bottom: .4rem; }
figure svg text { font-family: inherit !important; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; margin-bottom: 1rem; }
.caption { margin: 0 0 .4rem; }
th, td { padding: .28rem .45rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #ececee; }
thead th { vertical-align: bottom; border-bottom: 2px solid #b9b9be; white-space: normal; line-height: 1.25; }
th:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
tbody th { font-weight: 400; }
.long-names tbody th { white-space: normal; min-width: 16rem; }
.prose { white-space: normal; text-align: left; min-width: 14rem; }
.group th { font-weight: 600; padding-top: .8rem; color: #33333a; }
.answer a, th a { color: inherit; text-decoration: underline dotted #9a9aa0; }
small { display: block; font-size: .72rem; line-height: 1.1; }
dl { display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; gap: .35rem 1.2rem; margin: 0; }
dt { font-weight: 600; overflow-wrap: anywhere; max-width: 22rem; }
dd { margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; font-size: 1.05rem; margin: 1.2rem 0 .6rem; color: #33333a; }
@media (max-width: 640px) { body { padding: .8rem; } .answer .main { font-size: 1.15rem; } dl { display: block; }
  .scroll::before { content: "wide table: scroll sideways \\2192"; color: #5b5b60; font-size: .75rem; } }
""".strip()


def page_html(content: Content) -> str:
    """One self-contained page: no script, nothing to fetch."""
    escape = html.escape
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(content.title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>",
        f'<h1>{escape(content.title)}</h1>\n<p class="question">{escape(content.question)}</p>',
        '<div class="answer">',
    ]
    first, words = content.first, _LINKED if _has_glossary(content) else ()
    parts += [f'<p class="main">{_linked(_prose(line), words)}</p>' for line in first.answer.split("\n")]
    parts += [f"<p>{_prose(first.more)}</p>"] if first.more else []
    parts += [f'<p class="basis">{_linked(_prose(first.basis), words)}</p>'] if first.basis else []
    parts.append("</div>")
    parts += [f'<p class="warning">{escape(content.warning)}</p>'] if content.warning else []
    parts += [f'<div class="charts">{"".join(map(_block_html, first.charts))}</div>'] if first.charts else []
    parts += [f'<p class="caption">{escape(first.charts_caption)}</p>'] if first.charts_caption else []
    parts += [_block_html(first.table)] if first.table is not None else []
    parts += [_section_html(section) for section in content.sections]
    return "\n".join([*parts, "</body>\n</html>\n"])


def _has_glossary(content: Content) -> bool:
    return any(
        isinstance(block, Terms) and block.pairs is GLOSSARY for part in content.sections for block in part.blocks
    )


def _linked(prose: str, words: Sequence[str]) -> str:
    """The first time that each of the words stands in escaped text leads to what the glossary says of it."""
    for word in words:
        link = rf'<a href="#{_slug(word)}">\1</a>'
        prose = re.sub(rf"\b({word})\b", link, prose, count=1, flags=re.IGNORECASE)
    return prose


def _prose(text: str) -> str:
    """Escaped, and no line breaks between a number and its unit."""
    return re.sub(r"(\d) (%|[kMG]?B\b|facts\b|bits\b)", "\\1\u00a0\\2", html.escape(text))


def _section_html(section: Section) -> str:
    blocks = "\n".join(_block_html(block) for block in section.blocks)
    if section.folded:
        return f"<details><summary>{html.escape(section.title)}</summary>\n{blocks}\n</details>"
    return f"<section><h2>{html.escape(section.title)}</h2>\n{blocks}\n</section>"


def _anchor(word: str) -> str:
    return f' id="{_slug(word)}"' if word in dict(GLOSSARY) else ""


def _slug(word: str) -> str:
    return NAMES if word == NAMES_OF_MEMORIES else f"word-{re.sub(r'[^a-z]+', '-', word.lower())}"


def _block_html(block: Block) -> str:
    escape = html.escape
    match block:
        case Picture():
            svg = block.svg.replace("<svg", f'<svg role="img" aria-label="{escape(block.alt)}"', 1)
            caption = f"<figcaption>{escape(block.caption)}</figcaption>" if block.caption else ""
            return f"<figure><div>{svg}</div>{caption}</figure>"
        case Terms():
            pairs = (f"<dt{_anchor(word)}>{escape(word)}</dt><dd>{escape(text)}</dd>" for word, text in block.pairs)
            return f"<dl>{''.join(pairs)}</dl>"
        case Points():
            return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in block.texts)}</ul>"
        case _:
            return table_html(block)
