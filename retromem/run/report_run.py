"""The report of a run, from its folder alone: the plan, and what each cell has left."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from retrieval.errors import UserError
from retromem.configuration import build, is_of_others
from retromem.measure.capacity import read_off
from retromem.panels.any_panel import AnyPanelConfig
from retromem.panels.panel_config import PanelConfig
from retromem.panels.points import Point, point_from_json
from retromem.panels.published.published_panel import PublishedPanel
from retromem.report.numerals import count_text, range_text
from retromem.report.page import write_report
from retromem.report.panel_page import Panel
from retromem.report.run_facts import RunFacts
from retromem.rows import TAU, CapacityRow, LawBroken, ReproducedRow, Row, SmallestRow, row_from_json
from retromem.run.row_settings import settings_that_differ
from retromem.run.run_cell import ERROR, read_result
from retromem.run.sweep_page import sweep_panels

PLAN = "plan.json"
Panels = Mapping[str, PanelConfig]
"""by name"""
_NONE: Panels = MappingProxyType({})
_UNREADABLE = (KeyError, TypeError, LawBroken)
"""what a result of another version, or one that was changed, ends in"""


@dataclass(frozen=True, kw_only=True)
class RunResults:
    """What the cells of a run have left."""

    rows: list[Row] = field(default_factory=list)
    identities: list[Mapping[str, Any]] = field(default_factory=list)
    """all settings of the cell of each row"""
    cells_of: dict[str, list[str]] = field(default_factory=lambda: {"rows": [], "capacities": []})
    """the cell of each row, and of each capacity"""
    capacities: list[CapacityRow] = field(default_factory=list)
    smallest: list[SmallestRow] = field(default_factory=list)
    points: list[tuple[str, Point]] = field(default_factory=list)
    """(cell, point)"""
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    made_by: dict[str, set[str]] = field(default_factory=dict)
    """versions, commits, machines and days of the results"""
    seconds: dict[str, float] = field(default_factory=dict)
    """that each cell took"""

    def add(self, cell: str, result: Mapping[str, Any]) -> None:
        """All of one result, or, where it is not as this version writes them, nothing."""
        rows = [row_from_json(row) for row in result["rows"]]
        points = [(cell, point_from_json(point)) for point in result.get("points", [])]
        capacity = result["capacity"] and CapacityRow(**result["capacity"])
        smallest = result["smallest"] and _smallest_from_json(result["smallest"])
        for key, value in result["made_by"].items():
            self.made_by.setdefault(key, set()).add(value)
        self.seconds[cell] = result.get("seconds", 0.0)
        self.rows.extend(rows)
        self.identities.extend([result["identity"]] * len(rows))
        self.cells_of["rows"].extend([cell] * len(rows))
        self.cells_of["capacities"].extend([cell] if capacity else [])
        self.points.extend(points)
        self.capacities.extend([capacity] if capacity else [])
        self.smallest.extend([smallest] if smallest else [])


def _smallest_from_json(record: Mapping[str, Any]) -> SmallestRow:
    return SmallestRow(**{**record, "tried": tuple((setting, size, share) for setting, size, share in record["tried"])})


def read_plan(run: Path) -> dict[str, Any]:
    """UserError where the folder is none of a run."""
    try:
        record = json.loads((run / PLAN).read_text())
    except FileNotFoundError:
        raise UserError(
            f"{run}: is no run folder, for {PLAN} is missing; runs lie in runs/<name>, written by `make report`"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{run / PLAN}: cannot be read ({error}); run the experiment again") from None
    if not isinstance(record, dict) or "cells" not in record:
        raise UserError(f"{run / PLAN}: is no plan of a run; runs lie in runs/<name>, written by `make report`")
    return record


def is_finished(cell_folder: Path) -> bool:
    """Whether it holds a result that this version can read."""
    result = read_result(cell_folder)
    if result is None or result["status"] == "refused":
        return result is not None
    try:
        RunResults().add("", result)
    except _UNREADABLE:
        return False
    return True


def read_results(run: Path, cells: Sequence[str]) -> RunResults:
    results = RunResults()
    for cell in cells:
        result = read_result(run / "cells" / cell)
        if result is None:
            error_file = run / "cells" / cell / ERROR
            if error_file.exists():
                results.problems.append((cell, "failed", error_file.read_text().strip().splitlines()[-1]))
            else:
                results.problems.append((cell, "not run", "no result yet; the same command goes on from here"))
        elif result["status"] == "refused":
            results.problems.append((cell, "refused", result["reason"]))
        else:
            try:
                results.add(cell, result)
            except _UNREADABLE as error:
                reason = f"its result is of another version, or was changed ({error}); run it again"
                results.problems.append((cell, "not read", reason))
    return results


def panels_of(record: Mapping[str, Any], results: RunResults, panels: Panels = _NONE) -> list[Panel]:
    """The panels that have points, but for those of published numbers."""
    found = []
    for name, config, cells in _configs(record, panels):
        # A formula is the same for every seed.
        points = list(dict.fromkeys(point for cell, point in results.points if cell in cells))
        if points and not isinstance(config, PublishedPanel):
            try:
                found.append(Panel(name=name, page=config.page(points), points=points))
            except Exception as error:  # of a user's panel: the others have theirs
                if not is_of_others(config):
                    raise
                results.problems.append((name, "failed", f"its page cannot be made ({type(error).__name__}: {error})"))
    return found


def published_of(record: Mapping[str, Any], results: RunResults, panels: Panels = _NONE) -> list[ReproducedRow]:
    """Published numbers beside ours."""
    rows = []
    for _, config, cells in _configs(record, panels):
        if isinstance(config, PublishedPanel):
            # Of some of its seeds a number would be another one.
            reasons = [reason for cell, _, reason in results.problems if cell in cells]
            seconds = sum(results.seconds.get(cell, 0.0) for cell in cells)
            points = [point for cell, point in results.points if cell in cells]
            rows.append(config.row(points, seconds=seconds, reason=" ".join(dict.fromkeys(reasons))))
    return rows


def _configs(record: Mapping[str, Any], known: Panels) -> Iterator[tuple[str, PanelConfig, Sequence[str]]]:
    """Name, config and cells of each panel, as the plan says. One of a class of the user's is left out where it is not
    known: a plan names no class."""
    for name, its in record.get("panels", {}).items():
        if name not in known and ":" in its["config"]["panel"]:
            continue
        config = known.get(name) or build(_OnePanel, {"panel": its["config"]}, source=PLAN).panel
        yield name, config, its["cells"]


@dataclass(frozen=True, kw_only=True)
class _OnePanel:
    panel: AnyPanelConfig


def report_run(run: Path, folder: Path, *, say: Callable[[str], None] | None = None, panels: Panels = _NONE) -> Path:
    """Write the report of a run folder from its results alone; `say` is told its answer, line by line.

    `panels`: those of the config, where it is at hand: a plan names no class of the user's.
    """
    record = read_plan(run)
    results = read_results(run, record["cells"])
    # What a set is called is no part of a cell's identity: it is called as the plan calls it.
    names = record.get("knowledge_names", {})
    rows = [replace(row, knowledge_name=names.get(row.study, row.knowledge_name)) for row in results.rows]
    capacities, problems = results.capacities, results.problems
    sweeps = record.get("sweeps", {})
    if not rows and not results.points:
        first = f" ({problems[0][0]}: {problems[0][2]})" if problems else ""
        raise UserError(f"{run}: no cell has a result{first}")
    num_before, shown = len(problems), panels_of(record, results, panels)
    method = {**record["method"], **_made_by(results), **_budgets(rows)}
    # Of a row of a sweep: the value of what is swept.
    swept = {study: {f"sweep.{part['axis']}": str(part["value"])} for study, part in sweeps.items()}
    answer = write_report(
        rows,
        folder,
        run=RunFacts(
            name=record["name"],
            title=record["title"],
            question=record["question"],
            capacities=[*capacities, *_capacities_read_off(rows, capacities)],
            smallest=results.smallest,
            settings=[
                own | swept.get(row.study, {})
                for row, own in zip(rows, settings_that_differ(results.identities), strict=True)
            ],
            swept=frozenset(sweeps),
            panels=[*sweep_panels(sweeps, *_placed(record, results)), *shown],
            published=published_of(record, results, panels),
            problems=problems,
            notes=[*record["notes"], *_warnings(rows), *_not_shown(record, panels)],
            unsearched=record.get("unsearched", []),
            dropped=record["dropped"],
            method={name: text for name, text in method.items() if text},
            limits=_limits(rows),
        ),
    )
    if say is not None:
        for name, _, reason in problems[num_before:]:
            say(f"  FAILED {name}: {reason}")
        for line in answer.split("\n"):
            say(line)
    return folder


def _not_shown(record: Mapping[str, Any], known: Panels) -> list[str]:
    """Panels of classes of the user's, whose page only the config can give."""
    return [
        f"The panel {name} is left out: it is of {its['config']['panel']}, which a kept plan may not import; run its "
        "config again (nothing is measured anew)."
        for name, its in record.get("panels", {}).items()
        if name not in known and ":" in its["config"]["panel"]
    ]


def _placed(
    record: Mapping[str, Any], results: RunResults
) -> tuple[list[tuple[str, Row]], list[tuple[str, CapacityRow]]]:
    """Rows and capacities of sweeps, each with the place of its memory in its study."""
    places = record.get("places", {})
    of_rows, of_capacities = ([places.get(cell) for cell in cells] for cells in results.cells_of.values())
    return (
        [(place, row) for place, row in zip(of_rows, results.rows, strict=True) if place],
        [(place, row) for place, row in zip(of_capacities, results.capacities, strict=True) if place],
    )


def _capacities_read_off(rows: Sequence[Row], searched: Sequence[CapacityRow]) -> list[CapacityRow]:
    """Of the studies in which no capacity was searched for."""
    others = [row for row in rows if row.study not in {capacity.study for capacity in searched} and not row.halves]
    return [
        *read_off(others, tau=TAU["identical"], phrasing="identical"),
        *read_off(others, tau=TAU["heldout"], phrasing="heldout"),
    ]


def _made_by(results: RunResults) -> dict[str, str]:
    """Of the results themselves, which may be of several days."""
    return {key: " and ".join(sorted(values)) for key, values in results.made_by.items()}


def _budgets(rows: Sequence[Row]) -> dict[str, str]:
    trained = [row for row in rows if row.optimizer_steps]
    if not trained:
        return {}
    steps = [row.optimizer_steps or 0 for row in trained]
    shown = [row.exposures or 0.0 for row in trained]
    stopped = len({(r.study, r.memory, r.num_facts, r.seed, r.twin) for r in trained if r.succeeded is False})
    return {
        "training": f"{range_text(steps, count_text)} optimiser steps, {range_text(shown, count_text)} exposures a "
        f"fact; {stopped} trainings ended by their cap in seconds",
        "precision of the weights": ", ".join(sorted({row.precision for row in trained if row.precision})),
    }


def _warnings(rows: Sequence[Row]) -> list[str]:
    weights = [row for row in rows if row.side == "parametric" and row.role == "arm" and row.phrasing == "identical"]
    notes = []
    for study in sorted({row.study for row in weights}):
        own = [row for row in weights if row.study == study]
        largest = max(row.num_facts for row in own)
        best = max((row.accuracy for row in own if row.num_facts == largest and row.accuracy is not None), default=1.0)
        if best < 0.9:
            notes.append(
                f"{study}: at {largest:,} facts no FFN tried answers more than {best:.0%} of the written questions; "
                "a wider one, or more optimiser steps, may."
            )
    return notes


def _limits(rows: Sequence[Row]) -> list[str]:
    limits = []
    if any(row.shared_bytes for row in rows):
        limits.append("One encoder serves every memory of a study: what it cannot tell apart, none can.")
    if any(row.side in ("parametric", "paired") for row in rows):
        limits.append("FFNs are trained by themselves on frozen keys; no transformer stands around them.")
    if rows:
        limits.append("Times are of the machine named above, one thread a process, with other cells running beside.")
    if any(row.twin for row in rows):
        limits.append("On the real values the encoder knows some answers already; claims are made on the twin.")
    if len({row.memory for row in rows if row.family == "paired" and row.role == "arm"}) == 1:
        limits.append("The pair is run at one width; its curve is not part of this report.")
    return limits
