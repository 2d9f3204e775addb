"""Panel: hidden units read as key-value memories. Is a neuron a fact, and are its axes better than any others?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from models.any_ffn import sized
from models.ffn_kinds import GatedConfig
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import series_of, spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import NotMeasured, known, lines, median_cell, of_each, sentences, tables
from retromem.report.numerals import count_text, list_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import medians_text, num_seeds
from retromem.report.table_text import Cell, Table

_LEAST_BITS = 1.1
"""a parameter, of k winners: the others hold more"""
_IN_GROUPS = ", keys in groups"
_READ_FROM = {"own": "units", "rotated": "rotated units", "permuted": "permuted labels"}
_BESIDE = {"rotated": "rotated", "permuted": "labels permuted"}


def series_name(kind: str, load: float) -> str:
    """A kind at a share of its capacity."""
    return f"{kind}, {percent_text(load)} load"


def grouped_name(kind: str) -> str:
    """A kind that was written with keys in groups."""
    return kind + _IN_GROUPS


@dataclass(frozen=True, kw_only=True)
class NeuronsConfig(PanelConfig):
    """Triggers, values and ablation of the units of trained FFNs, beside rotated units and permuted labels."""

    panel: Literal["neurons"] = "neurons"
    dim: int = 16
    """of keys and value codes"""
    num_params: int = 1024
    """of every kind"""
    num_values: int = 16
    """drawn uniformly; also the number of groups of keys"""
    loads: tuple[float, ...] = (0.5, 0.95)
    """facts written, as shares of the capacity that was searched for; keys in groups are written at the first"""
    triggers: int = 10
    """facts of the highest activations, a unit"""
    rotations: int = 20
    """random ones of the hidden layer"""
    permutations: int = 50
    """of the labels over the facts"""
    steps: int = 3000
    """of each training"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of keys, labels, weights, rotations and permutations"""

    seconds_expected: ClassVar[float] = 31.0
    version: ClassVar[int] = 2
    """of one seed"""
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"seeds"})

    def __post_init__(self) -> None:
        super().__post_init__()
        # A gated unit is the largest of all kinds; this says the smallest size where it does not fit.
        sized(GatedConfig(kind="swiglu"), self.num_params, self.dim, self.dim)
        facts = int(min(self.loads) * _LEAST_BITS * self.num_params / math.log2(self.num_values))
        if self.triggers > facts:
            raise ValueError(
                f"triggers must be no more than the facts written at the lowest load, about {facts}, not "
                f"{self.triggers}; more num_params or a higher load give more"
            )

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.theory.neurons_points import neurons_points

        return neurons_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        every = series_of(points, "rank_own")
        grouped = [name for name in every if name.endswith(_IN_GROUPS)]
        series = [name for name in every if name not in grouped]
        return PanelPage(
            title="Hidden units as key-value memories",
            answer=sentences(points, partial(self._answer, series=series)),
            finding=sentences(
                points,
                partial(self._of_basis, series=series),
                partial(_widest_gap, series=series),
                partial(_of_values, series=self._at_first_load(series)),
                partial(_of_groups, series=grouped),
                partial(_of_units, series=series),
            ),
            explained=[
                f"FFNs of {count_text(self.num_params)} parameters, d = {self.dim}, were trained on random unit keys "
                f"with one of {self.num_values} values each ({count_text(self.steps)} full-batch steps of Adam), at "
                "shares of the capacity that each kind reached at accuracy .99. A unit is read as Geva et al. (2021) "
                f"do: its key are the {self.triggers} facts that excite it most, its value is the row of w_out scored "
                "by the value codes. Units of SwiGLU count once for each sign. The k winners are 10 % of the units.",
                "Agreement is the mean of 1 / rank that the row of w_out gives to the values of the triggers. Purity "
                "is the share of the most common value, or group, among them. Each stands beside two references: the "
                "labels permuted over the facts, and the same facts read from random rotations of the hidden layer, "
                "which leave every answer as it was.",
                "Units of k winners can have fewer triggers than rotated units, and few triggers are pure by chance: "
                "read their purity against permuted labels. Beating permuted labels says that the layer stores the "
                "facts, as rotated units may as well. Only what is read better from the units than from all rotations "
                "speaks for a privileged basis.",
                "An answer hangs on a unit if it changes when this unit alone is set to zero. A lookup table with a "
                "unit for each fact would have 1. For keys in groups every key is a group's centre plus noise of the "
                "same length; values are still drawn at random, so only the groups can be seen in the triggers.",
                "This says nothing of features of language: random keys have no features that a unit could stand for.",
            ],
            charts=[
                Chart(
                    title="Agreement with w_out",
                    quantities=["rank_own", "rank_rotated", "rank_permuted"],
                    y_label="mean 1 / rank",
                    series=series,
                    names=_names("rank"),
                ),
                Chart(
                    title="Triggers alike: value, or group",
                    quantities=["purity_own", "purity_rotated", "purity_permuted"],
                    y_label="share of the commonest",
                    series=[*self._at_first_load(series), *grouped],
                    names=_names("purity"),
                ),
                Chart(
                    title="Units per answer",
                    quantities=["deciding_own", "deciding_rotated"],
                    y_label="units a fact",
                    series=series,
                    names=_names("deciding"),
                ),
            ],
            tables=tables(points, partial(_table, series=[*series, *grouped])),
        )

    def _at_first_load(self, series: Sequence[str]) -> list[str]:
        return [name for name in series if name.endswith(series_name("", self.loads[0]))]

    def _winners(self, points: Sequence[Point], series: Sequence[str]) -> str:
        """Kinds whose units are read better than every rotation: how often, and which."""
        wins: dict[str, list[list[bool]]] = {}
        for name, won in of_each(partial(_wins, points), series).items():
            wins.setdefault(name.rpartition(", ")[0], []).append(won)
        seeds = " and seeds" if num_seeds(points) > 1 else ""
        found: dict[str, list[str]] = {f"at all loads{seeds}": [], "at some": [], "at none": []}
        always, some, none = found
        for kind, loads in wins.items():
            every = [won for of_load in loads for won in of_load]
            found[always if all(every) else some if any(every) else none].append(kind)
        return ", ".join(f"{how} for {list_text(kinds)}" for how, kinds in found.items() if kinds)

    def _answer(self, points: Sequence[Point], series: Sequence[str]) -> str:
        return (
            "Units say more of what is stored than the directions of every random rotation of their layer: "
            f"{self._winners(points, series)}."
        )

    def _of_basis(self, points: Sequence[Point], series: Sequence[str]) -> str:
        return (
            "Is there a privileged basis? Units say what their triggers answer better than every one of "
            f"{self.rotations} random rotations of the layer {self._winners(points, series)}."
        )


def _widest_gap(points: Sequence[Point], series: Sequence[str]) -> str:
    gaps = of_each(lambda name: _gap(points, "rank", name, "rotated"), series)
    widest = max(gaps, key=lambda name: gaps[name])
    return f"The widest gap is a mean 1 / rank of {_three(points, 'rank', widest)}, {widest}."


def _of_values(points: Sequence[Point], series: Sequence[str]) -> str:
    return f"Triggers share a value in a share of at most {_purest(points, series)}."


def _of_groups(points: Sequence[Point], series: Sequence[str]) -> str:
    return f"Triggers share a group of keys in a share of at most {_purest(points, series)}."


def _of_units(points: Sequence[Point], series: Sequence[str]) -> str:
    hangs = of_each(lambda name: known(points, "deciding_own", name).median, series)
    ends = dict.fromkeys(pick(hangs, key=lambda name: hangs[name]) for pick in (min, max))
    said = " to ".join(f"{significant_text(hangs[name])} ({name})" for name in ends)
    return f"An answer hangs on {said} units, where a unit for each fact would be 1."


def _purest(points: Sequence[Point], series: Sequence[str]) -> str:
    gaps = of_each(lambda name: _gap(points, "purity", name, "permuted"), series)
    best = max(gaps, key=lambda name: gaps[name])
    return f"{_three(points, 'purity', best)}, {best}"


def _gap(points: Sequence[Point], read_out: str, series: str, reference: str) -> float:
    """Between the units and a reference, of the medians."""
    own, other = (known(points, f"{read_out}_{source}", series).median for source in ("own", reference))
    return own - other


def _names(read_out: str) -> dict[str, str]:
    return {f"{read_out}_{source}": name for source, name in _READ_FROM.items()}


def _three(points: Sequence[Point], read_out: str, series: str) -> str:
    own = significant_text(known(points, f"{read_out}_own", series).median)
    beside = lines(
        lambda source: f"{_BESIDE[source]} {significant_text(known(points, f'{read_out}_{source}', series).median)}",
        _BESIDE,
    )
    return f"{own} ({', '.join(beside)})"


def _wins(points: Sequence[Point], series: str) -> list[bool]:
    """Of every seed, whether the units are read better than every rotation."""
    own, highest = (
        {point.seed: point.y for point in points if (point.quantity, point.series) == (f"rank_{source}", series)}
        for source in ("own", "rotated_highest")
    )
    # A seed that failed has no points.
    if not own.keys() & highest.keys():
        raise NotMeasured(f"units and rotated units of {series}")
    return [own[seed] > highest[seed] for seed in own.keys() & highest.keys()]


def _table(points: Sequence[Point], series: Sequence[str]) -> Table:
    columns = [("facts", count_text), ("accuracy", percent_text)]
    columns += [(f"top_{source}", percent_text) for source in _READ_FROM]
    rows = [
        [Cell(text=name), *(median_cell(spread_at(points, quantity, name), text) for quantity, text in columns)]
        for name in series
    ]
    return Table(
        caption="What was written, and the share of units whose row of w_out scores the value of their first trigger "
        f"highest. {medians_text(points)}",
        header=["", "facts", "accuracy", "first trigger's value on top", "rotated", "labels permuted"],
        blocks=[("", rows)],
    )
