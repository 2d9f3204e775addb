"""Two runs side by side: which settings differ, and which numbers differ by more than their seeds scatter."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from retrieval.errors import UserError
from retromem.configuration import RESOLVED, read_config
from retromem.report.numerals import count_text, significant_text
from retromem.report.table_text import Cell, Table, table_markdown
from retromem.rows import Row
from retromem.run.report_run import RunResults, read_plan, read_results

_COMPARED = ("accuracy", "bits_ce", "bits_argmax", "storage_bytes", "maintain_bytes", "sigma90", "flip90")
"""columns of rows; times are the machine's, and it is another one in each run"""
_SURE = 0.995
"""quantile of Student's t: a difference of that size comes by chance once in a hundred comparisons"""
_NOT_OF_THE_RESULT = ("title", "question", "seconds_expected")


@dataclass(frozen=True)
class _What:
    """One number that a run measures, but for the seed."""

    where: str
    """study or panel"""
    whose: str
    """memory or series"""
    of: str
    """facts, phrasing, place on the axis"""
    quantity: str


@dataclass
class Difference:
    """One number in two runs."""

    before: dict[int | None, float] = field(default_factory=dict)
    """by seed"""
    after: dict[int | None, float] = field(default_factory=dict)

    @property
    def change(self) -> float:
        """Of the medians."""
        return median(self.after.values()) - median(self.before.values())

    @property
    def beyond_noise(self) -> bool | None:
        """Whether the paired differences of common seeds are further from 0 than chance; None: one seed cannot say."""
        both = [self.after[seed] - self.before[seed] for seed in self.before.keys() & self.after.keys()]
        if len(both) < 2:
            return None
        from scipy.stats import t

        return bool(abs(fmean(both)) > float(t.ppf(_SURE, len(both) - 1)) * stdev(both) / len(both) ** 0.5)


def diff_runs(first: Path, second: Path) -> str:
    """What changed from one run folder to another, as text. UserError where they have no number in common."""
    found = _differences(*(read_results(run, read_plan(run)["cells"]) for run in (first, second)))
    settings = [_flat(read_config(run / RESOLVED)) for run in (first, second)]
    common = {what: one for what, one in found.items() if one.before and one.after}
    if not common:
        raise UserError(f"{first} and {second}: no row and no point of the one is in the other; name runs of one study")
    names = [run.resolve().name for run in (first, second)]
    changed = {what: one for what, one in common.items() if one.change}
    real = {what: one for what, one in changed.items() if one.beyond_noise}
    unsure = {what: one for what, one in changed.items() if one.beyond_noise is None}
    told = (
        f"{count_text(len(common))} numbers in both: {count_text(len(common) - len(changed))} the same, "
        f"{count_text(len(real))} changed beyond noise, {count_text(len(changed) - len(real) - len(unsure))} within it"
    )
    told += f", {count_text(len(unsure))} of one seed, whose noise nobody knows" if unsure else ""
    parts = [_settings_table(settings[0], settings[1], names), told + "."]
    facts = [set(read_plan(run).get("knowledge_hashes", {})) for run in (first, second)]
    if not facts[0] & facts[1] and any(facts):
        parts.append("The two runs are about different facts: what differs may be the facts'.")
    parts += [_table("Beyond noise", real, names)] if real else []
    parts += [_table("Of one seed", unsure, names)] if unsure else []
    only_first, only_second = (
        [what for what, one in found.items() if not getattr(one, other)] for other in ("after", "before")
    )
    in_both = {(what.where, what.whose) for what in common}
    for name, alone in zip(names, (only_first, only_second), strict=True):
        whose = dict.fromkeys(
            f"{what.where}: {what.whose}" for what in alone if (what.where, what.whose) not in in_both
        )
        if whose:
            parts.append(f"Only in {name} (`called:` gives one memory one name): {', '.join(whose)}.")
    return "\n\n".join(parts)


def _differences(before: RunResults, after: RunResults) -> dict[_What, Difference]:
    found: dict[_What, Difference] = {}
    for side, results in (("before", before), ("after", after)):
        for what, seed, number in _numbers(results):
            getattr(found.setdefault(what, Difference()), side)[seed] = number
    return found


def _numbers(results: RunResults) -> Iterator[tuple[_What, int | None, float]]:
    """What, seed and value of every number."""
    for row in results.rows:
        for column in _COMPARED:
            number = getattr(row, column)
            if number is not None:
                yield _What(row.study, row.memory, _asked(row), column), row.seed, float(number)
    for found in results.smallest:
        goal = f"{found.num_facts} facts, {found.tau:g} {found.phrasing}{' (twin)' if found.twin else ''}"
        if found.storage_bytes is not None:
            yield _What(found.study, found.memory, goal, "smallest_bytes"), found.seed, float(found.storage_bytes)
    for capacity in results.capacities:
        goal = f"{capacity.tau:g} {capacity.phrasing}{' (twin)' if capacity.twin else ''}"
        yield _What(capacity.study, capacity.memory, goal, "capacity_facts"), capacity.seed, float(capacity.num_facts)
    for cell, point in results.points:
        panel = cell.rsplit("-s", 1)[0]
        place = "" if point.x is None else f"{point.x:g}"
        yield _What(panel, point.name, place, point.quantity), point.seed, point.y


def _asked(row: Row) -> str:
    """Facts and questions of a row, and what else tells it from others of its memory."""
    marks = [
        *(["twin"] if row.twin else []),
        *([row.role] if row.role != "arm" else []),
        *([f"smallest for {row.smallest_tau:g} {row.smallest_for}"] if row.smallest_for else []),
    ]
    return f"{row.num_facts} facts, {row.phrasing or 'unasked'}" + (f" ({', '.join(marks)})" if marks else "")


def _flat(value: Any, path: str = "") -> dict[str, str]:
    """`a.0.b` -> text, of every setting."""
    if isinstance(value, Mapping):
        children = [(str(key), child) for key, child in value.items()]
    elif isinstance(value, list) and any(isinstance(one, Mapping | list) for one in value):
        children = [(str(place), child) for place, child in enumerate(value)]
    else:
        return {} if path in _NOT_OF_THE_RESULT else {path: str(value)}
    return {
        name: text for key, child in children for name, text in _flat(child, f"{path}.{key}" if path else key).items()
    }


def _settings_table(before: Mapping[str, str], after: Mapping[str, str], names: Sequence[str]) -> str:
    paths = [path for path in dict.fromkeys([*before, *after]) if before.get(path) != after.get(path)]
    if not paths:
        return "The settings are the same."
    lines = [[Cell(text=path), Cell(text=before.get(path, "–")), Cell(text=after.get(path, "–"))] for path in paths]
    return table_markdown(Table(caption="Settings that differ.", header=["setting", *names], blocks=[("", lines)]))


def _table(caption: str, differences: Mapping[_What, Difference], names: Sequence[str]) -> str:
    lines = [
        [
            Cell(text=f"{what.where}: {what.whose}"),
            Cell(text=what.of),
            Cell(text=what.quantity),
            Cell(text=significant_text(median(one.before.values()))),
            Cell(text=significant_text(median(one.after.values()))),
            Cell(text=("+" if one.change > 0 else "") + significant_text(one.change)),
        ]
        for what, one in differences.items()
    ]
    header = ["memory or series", "of", "number", *names, "change"]
    return table_markdown(Table(caption=f"{caption}; medians over seeds.", header=header, blocks=[("", lines)]))
