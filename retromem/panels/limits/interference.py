"""Panel: what writing more facts does to those already written, and whether sparse routing protects them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import numpy as np

from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.panels.limits.key_choice import KeyChoiceConfig, cities_asked_for
from retromem.panels.panel_config import Encoded
from retromem.panels.point_spread import series_of, spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import known, median_cell, of_each, sentences, tables
from retromem.report.numerals import list_text, percent_text, range_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import Spread, medians_text
from retromem.report.table_text import Cell, Table

DIM, NUM_VALUES = 16, 16
_MOST_BITS = 2.5
"""a parameter, more than any kind stores of random keys"""
INDEX = "index"
CHANCE = "chance"

_COLUMNS = {
    "facts_a_group": ("facts a group", significant_text),
    "accuracy_alone": ("A, written alone", percent_text),
    "accuracy_beside": ("A, written together with B", percent_text),
    "accuracy_after": ("A, once B was written after it", percent_text),
    "bits_lost": ("bits lost a fact of A", significant_text),
    "accuracy_rewritten": ("A, once B was rewritten", percent_text),
    "cosine_at_start": ("gradient cosine at initial weights", significant_text),
    "purity": ("routing purity", percent_text),
    "purity_permuted": ("the same, groups permuted", percent_text),
    "slots_used": ("slots in use", percent_text),
}
"""quantity -> its column, and how it is written"""


@dataclass(frozen=True, kw_only=True)
class InterferenceConfig(KeyChoiceConfig):
    """Two groups of facts, one written after the other and both together, into kinds of equal parameters."""

    panel: Literal["interference"] = "interference"
    keys: Literal["random", "cities", "shaped", "relations"] = "random"  # type: ignore[assignment]  # one more
    """of the facts: `random` ones, an encoder's of questions about `cities`, Gaussian ones `shaped` like those, with
    their mean and covariance, or an encoder's where A are the countries and B the time zones of the same cities"""
    num_params: int = 2048
    """of every kind, at most"""
    load: float = 0.9
    """facts of both groups together, over what the kind stores of such keys at accuracy .99"""
    offsets: tuple[float, ...] = (0.0, 1.0)
    """lengths of a group's common direction, relative to a key's own; 0: nothing in a key tells its group"""
    steps: int = 3000
    """of each training, at most"""

    seconds_expected: ClassVar[float] = 60.0
    version: ClassVar[int] = 3
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"seeds", "offsets"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_params < 512:
            raise ValueError(f"num_params must be 512 or more, not {self.num_params}")
        if self.load < 0.05:
            raise ValueError(f"load must be .05 or more, so that a group has a few facts, not {self.load:g}")

    @property
    def num_keys(self) -> int:
        """Of both groups, whatever the kind."""
        return math.ceil(self.load * _MOST_BITS * self.num_params / math.log2(NUM_VALUES))

    def text_sets(self, seed: int) -> Sequence[KnowledgeSet]:
        """Of two relations half as many each, of the same cities in the same order."""
        if self.keys != "relations":
            return super().text_sets(seed)
        countries, zones = cities_asked_for("cities"), cities_asked_for("city_timezones")
        _, first_N, second_N = np.intersect1d(countries.subjects, zones.subjects, return_indices=True)
        order_N = np.argsort(first_N)
        return self._first_cities(
            math.ceil(self.num_keys / 2),
            replace(countries, rows_N=countries.rows_N[first_N[order_N]]),
            replace(zones, rows_N=zones.rows_N[second_N[order_N]]),
        )

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.limits.interference_points import interference_points

        return interference_points(self, seed, self.chosen_keys(DIM, seed, encoded))

    def page(self, points: Sequence[Point]) -> PanelPage:
        apart = max(self.offsets)
        whose = ", the countries and the time zones of the same cities" if self.keys == "relations" else ""
        unmoved = "nothing is added" if whose else "nothing in a key tells its group"
        by_direction = partial(Chart, x_label="group direction, lengths of a key")
        return PanelPage(
            title=self.titled("Interference: what new facts do to old ones"),
            answer=sentences(points, partial(_answer, offset=apart)),
            finding=sentences(
                points, *(partial(tell, offset=apart) for tell in (_once_written, _once_rewritten, _purities))
            ),
            explained=[
                f"Two disjoint groups of facts, A and B{whose}: {self.key_name} in {DIM} dimensions plus "
                f"{significant_text(apart)} times the group's own direction, normalised (0 times: {unmoved}), and "
                f"{NUM_VALUES} values that both groups share. Every kind has at most {self.num_params:,} parameters "
                f"and gets as many facts as make both groups together {percent_text(self.load)} of what it stored of "
                "random keys at 2,048 parameters: that they fit shows in the column of both written together.",
                f"In turn: A is written (Adam, full batch, until it is stored, at most {self.steps:,} steps), then B "
                "alone. Beside: A and B are written together; routing and gradients are those of this training. "
                "Rewritten: after that the facts of B get new values, and B alone is written once more.",
                "References: guessing is right once in 16. An index, which holds keys and values themselves and "
                "answers by the nearest key, has nothing to forget; that is computed here, not assumed. The cosine "
                "between the gradients of the loss on A and on B stands beside that of two random parts of the same "
                "sizes: near the end of a training the gradients of any two parts cancel. Purity is the share of a "
                "slot's facts that come from its main group; by chance it is more than half, hence the groups "
                "permuted.",
                *self.explained_keys(DIM),
                "Forgetting here is that of plain training on new facts alone. Rehearsal of old facts, freezing and "
                "penalties on change are not tried, and no kind was told which group a fact belongs to.",
            ],
            charts=[
                by_direction(
                    title="A, after B was written",
                    quantities=["accuracy_after"],
                    y_label="facts of A right",
                    percent=True,
                ),
                by_direction(
                    title="Gradients, in training both",
                    quantities=["cosine", "cosine_permuted"],
                    y_label="cosine",
                    names={"cosine": "A with B", "cosine_permuted": "groups permuted"},
                ),
            ],
            tables=tables(points, partial(_table, offsets=self.offsets)),
        )


def _answer(points: Sequence[Point], offset: float) -> str:
    after = _kept(points, "accuracy_after", offset)
    shares = range_text([spread.median for spread in _trained(after).values()], percent_text)
    guessing = f", where guessing gives {percent_text(after[CHANCE].median)}" if CHANCE in after else ""
    index = f"{',' if guessing else ''} and {percent_text(after[INDEX].median)} in an index" if INDEX in after else ""
    return f"New facts, written alone, leave {shares} of the old ones right in FFNs{guessing}{index}."


def _once_written(points: Sequence[Point], offset: float) -> str:
    after = _kept(points, "accuracy_after", offset)
    beside = "".join(
        f", {whose} {percent_text(after[series].median)}"
        for series, whose in ((CHANCE, "by chance"), (INDEX, "of the index"))
        if series in after
    )
    return f"Once B was written after A, {_range(after)} of A is still right{beside}{_least(after)}."


def _once_rewritten(points: Sequence[Point], offset: float) -> str:
    kept = _kept(points, "accuracy_rewritten", offset)
    return f"Where both were written together and B was then rewritten, {_range(kept)} of A is right{_least(kept)}."


def _range(kept: Mapping[str, Spread]) -> str:
    """From the kind that keeps least to the one that keeps most."""
    ranked = list(_trained(kept))
    ends = dict.fromkeys([ranked[-1], ranked[0]])
    return " to ".join(f"{percent_text(kept[name].median)} ({name})" for name in ends)


def _purities(points: Sequence[Point], offset: float) -> str:
    def said(series: str) -> str:
        own, permuted = (known(points, quantity, series, offset) for quantity in ("purity", "purity_permuted"))
        return f"{percent_text(own.median)} in {series} (permuted {percent_text(permuted.median)})"

    parts = list(of_each(said, series_of(points, "purity")).values())
    return f"Routing sends to a slot facts of its main group in {list_text(parts)} of cases."


def _kept(points: Sequence[Point], quantity: str, offset: float) -> dict[str, Spread]:
    return of_each(lambda series: known(points, quantity, series, offset), series_of(points, quantity))


def _trained(kept: Mapping[str, Spread]) -> dict[str, Spread]:
    """Those that are trained, from the one that keeps most."""
    trained = of_each(lambda series: kept[series], [series for series in kept if series not in (CHANCE, INDEX)])
    return dict(sorted(trained.items(), key=lambda item: -item[1].median))


def _least(kept: Mapping[str, Spread]) -> str:
    """Who forgets least of those trained, if the seeds agree."""
    first, *others = _trained(kept)
    if not others:
        return ""
    second = others[0]
    if kept[first].low > kept[second].high:
        return f" ({first} forgets least)"
    if kept[first].num_seeds == 1:
        return f" (no difference between {first} and {second})"
    return f" (the spread over seeds covers the difference between {first} and {second})"


def _table(points: Sequence[Point], offsets: Sequence[float]) -> Table:
    def line(kind: str, offset: float) -> list[Cell]:
        cells = [median_cell(spread_at(points, of, kind, offset), text) for of, (_, text) in _COLUMNS.items()]
        return [Cell(text=kind), *cells]

    kinds = [series for series in series_of(points, "accuracy_after") if series != CHANCE]
    return Table(
        caption="Accuracy on A, what was lost, and how routing follows the groups. " + medians_text(points),
        header=["", *(name for name, _ in _COLUMNS.values())],
        blocks=[
            (f"groups {significant_text(offset)} apart", [line(kind, offset) for kind in kinds]) for offset in offsets
        ],
    )
