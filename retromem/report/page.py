"""The report folder: rows in, one self-contained page and its plain forms out."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from retrieval.atomic import new_folder
from retrieval.errors import UserError
from retromem.panels.points import points_to_csv
from retromem.report.compose import compose
from retromem.report.html_page import page_html
from retromem.report.markdown import report_markdown
from retromem.report.numerals import list_text
from retromem.report.published_section import PUBLISHED_COLUMNS
from retromem.report.run_facts import RunFacts
from retromem.rows import CapacityRow, Row, SmallestRow, rows_to_csv, to_csv

_CAPACITY_COLUMNS = [*(field.name for field in fields(CapacityRow)), "bits_per_param"]
_SMALLEST_COLUMNS = [*(field.name for field in fields(SmallestRow) if field.name != "tried"), "settings_tried"]


def write_report(rows: Sequence[Row], folder: Path, *, run: RunFacts) -> str:
    """Replace `folder` by index.html, report.md, its CSV files and figures/*.png, whole or not at all; the answer.

    results.csv, capacity.csv and smallest.csv hold the rows of memories, points.csv those of panels, published.csv
    numbers of others beside ours; what is empty is left out.
    Pure: the same rows and run give the same bytes.

    Raises:
        UserError: neither rows nor panels, or one study whose rows do not share one knowledge hash.
    """
    if not (rows or run.panels or run.published):
        raise UserError(f"no finished cell to report in {run.name!r}: the report needs at least one row or panel")
    _refuse_mixed(rows)
    content = compose(rows, run)
    with new_folder(folder) as new:
        (new / "figures").mkdir()
        for picture in content.pictures:
            (new / "figures" / f"{picture.name}.png").write_bytes(picture.png)
        (new / "index.html").write_text(page_html(content), encoding="utf-8")
        (new / "report.md").write_text(report_markdown(content), encoding="utf-8")
        if rows:
            (new / "results.csv").write_text(rows_to_csv(rows, run.settings), encoding="utf-8")
            (new / "capacity.csv").write_text(to_csv(run.capacities, _CAPACITY_COLUMNS), encoding="utf-8")
        if run.smallest:
            (new / "smallest.csv").write_text(to_csv(run.smallest, _SMALLEST_COLUMNS), encoding="utf-8")
        if run.published:
            (new / "published.csv").write_text(to_csv(run.published, PUBLISHED_COLUMNS), encoding="utf-8")
        if run.panels:
            points = {panel.name: panel.points for panel in run.panels}
            (new / "points.csv").write_text(points_to_csv(points), encoding="utf-8")
    return content.first.answer


def _refuse_mixed(rows: Sequence[Row]) -> None:
    """Weights and index of one comparison must have been given the same facts."""
    for study in dict.fromkeys(row.study for row in rows):
        memories: dict[str, dict[str, None]] = {}
        for row in rows:
            if row.study == study:
                memories.setdefault(row.knowledge, {})[row.memory] = None
        if len(memories) > 1:
            sets = [f"{knowledge} ({', '.join(names)})" for knowledge, names in memories.items()]
            raise UserError(
                f"study {study!r} mixes knowledge sets {list_text(sets)}: memories are compared on the same facts "
                "only, so run them again on one set or give each set a study of its own"
            )
