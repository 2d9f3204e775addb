"""Published numbers beside ours: one table, as a page, as Markdown and as CSV."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from retrieval.atomic import new_folder
from retromem.report.content import Content, FirstScreen, Points, Section, Terms
from retromem.report.html_page import page_html
from retromem.report.markdown import report_markdown
from retromem.report.numerals import count_text, seconds_text
from retromem.report.table_text import Cell, Table
from retromem.rows import ReproducedRow, to_csv

_FIRST = ["source", "setting", "published", "ours", "ratio", "passes"]
_COLUMNS = [*_FIRST, *(field.name for field in fields(ReproducedRow) if field.name not in _FIRST)]
"""of results.csv: those that matter first"""


def write_reproduction(rows: Sequence[ReproducedRow], folder: Path, *, method: Mapping[str, str]) -> None:
    """Replace `folder` by index.html, report.md and results.csv, whole or not at all."""
    content = _compose(rows, method)
    with new_folder(folder) as new:
        (new / "index.html").write_text(page_html(content), encoding="utf-8")
        (new / "report.md").write_text(report_markdown(content), encoding="utf-8")
        (new / "results.csv").write_text(to_csv(rows, _COLUMNS), encoding="utf-8")


def _compose(rows: Sequence[ReproducedRow], method: Mapping[str, str]) -> Content:
    passed = sum(row.passes for row in rows)
    failed = [row for row in rows if not row.passes]
    reasons = [(f"{row.source}, {row.setting}", row.reason) for row in failed if row.reason]
    out = f"{len(failed)} of {len(rows)} numbers are out of their bands." if failed else ""
    sections = [
        Section(title="Published and ours", blocks=[_table(rows)]),
        Section(title="What passes", blocks=[Points(texts=_READING)]),
        Section(title="Numbers that could not be had", blocks=[Terms(pairs=reasons)]),
        Section(title="Method", blocks=[Terms(pairs=list(method.items()))]),
    ]
    return Content(
        title="Published numbers, measured again",
        question="Do the models and measures of this project give what others have published in the same settings?",
        first=FirstScreen(
            answer=f"{passed} of {len(rows)} published numbers are reproduced.",
            basis="Each row trains or counts anew, in the setting it names; nothing is copied from an earlier run.",
        ),
        warning=out,
        sections=[section for section in sections if section.title[:7] != "Numbers" or reasons],
    )


_READING = [
    "A row passes when our number lies in the band beside it. The bands were fixed before the numbers were known.",
    "Capacities come from a bisection whose last interval is a quarter of the tolerance or less.",
    "Two settings were changed after a first look: the learning rate of Nichani's linear memory to the published one, "
    "and that of the trial's single matrix to .03, where the trial's .01 gives .85 in place of 1.0 (docs/log.md).",
    "Where a search ends at a twentieth above the published number, ours is what is stored at least.",
    "Published settings differ in how they aggregate: a row names its seeds, and best of 3 where that was the rule.",
]


def _table(rows: Sequence[ReproducedRow]) -> Table:
    blocks = []
    for source in dict.fromkeys(row.source for row in rows):
        lines = [
            [
                Cell(text=row.setting, detail=row.unit),
                Cell(text=_number(row.published)),
                Cell(text=_number(row.ours), strong=True),
                Cell(text=_number(row.ratio)),
                Cell(text=_band(row)),
                Cell(text="yes" if row.passes else "NO", strong=not row.passes),
                Cell(text=seconds_text(row.seconds)),
            ]
            for row in rows
            if row.source == source
        ]
        blocks.append((source, lines))
    header = ["setting", "published", "ours", "ratio", "band", "passes", "time"]
    return Table(
        caption="Our number against the published one, by source.", header=header, blocks=blocks, long_names=True
    )


def _number(number: float | None) -> str:
    if number is None:
        return ""
    return count_text(round(number)) if number >= 100 else f"{number:.3g}"


def _band(row: ReproducedRow) -> str:
    if math.isinf(row.high):
        return f"{_number(row.low)} or more"
    return f"{_number(row.high)} or less" if row.low < 0 else f"{_number(row.low)} to {_number(row.high)}"
