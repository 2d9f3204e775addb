"""Panel: hidden units read as key-value memories. Is a neuron a fact, and are its axes better than any others?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from models.any_ffn import sized
from models.ffn_kinds import GatedConfig
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import lines_of
from retromem.panels.points import Point
from retromem.panels.spread_text import (
    NotMeasured,
    grid_of_lines,
    known,
    least_and_most,
    lines,
    of_each,
    sentences,
    tables,
)
from retromem.report.numerals import count_text, list_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import num_seeds
from retromem.report.table_text import Table

_LEAST_BITS = 1.1
"""a parameter, of k winners: the others hold more"""
RANDOM, GROUPED = "random keys", "keys in groups"
_READ_FROM = {"own": "units", "rotated": "rotated units", "permuted": "permuted labels"}
_BESIDE = {"rotated": "rotated", "permuted": "labels permuted"}


def written_to(load: float) -> str:
    """How a share of the capacity is called."""
    return f"{percent_text(load)} load"


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
    version: ClassVar[int] = 3
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
        return PanelPage(
            title="Hidden units as key-value memories",
            answer=sentences(points, self._answer),
            finding=sentences(points, self._of_basis, _widest_gap, self._of_values, _of_groups, _of_units),
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
                    labels={"keys": RANDOM},
                    names=_names("rank"),
                ),
                Chart(
                    title="Triggers alike: value, or group",
                    quantities=["purity_own", "purity_rotated", "purity_permuted"],
                    y_label="share of the commonest",
                    labels={"written": written_to(self.loads[0])},
                    names=_names("purity"),
                ),
                Chart(
                    title="Units per answer",
                    quantities=["deciding_own", "deciding_rotated"],
                    y_label="units a fact",
                    labels={"keys": RANDOM},
                    names=_names("deciding"),
                ),
            ],
            tables=tables(points, _table),
        )

    def _winners(self, points: Sequence[Point]) -> str:
        """Kinds whose units are read better than every rotation: how often, and which."""
        wins: dict[str, list[bool]] = {}
        for of, won in of_each(partial(_wins, points), lines_of(points, "rank_own", keys=RANDOM)).items():
            wins.setdefault(of.series, []).extend(won)
        seeds = " and seeds" if num_seeds(points) > 1 else ""
        found: dict[str, list[str]] = {f"at all loads{seeds}": [], "at some": [], "at none": []}
        always, some, none = found
        for kind, every in wins.items():
            found[always if all(every) else some if any(every) else none].append(kind)
        return ", ".join(f"{how} for {list_text(kinds)}" for how, kinds in found.items() if kinds)

    def _answer(self, points: Sequence[Point]) -> str:
        return (
            "Units say more of what is stored than the directions of every random rotation of their layer: "
            f"{self._winners(points)}."
        )

    def _of_basis(self, points: Sequence[Point]) -> str:
        return (
            "Is there a privileged basis? Units say what their triggers answer better than every one of "
            f"{self.rotations} random rotations of the layer {self._winners(points)}."
        )

    def _of_values(self, points: Sequence[Point]) -> str:
        at_first = {"keys": RANDOM, "written": written_to(self.loads[0])}
        return f"Triggers share a value in a share of at most {_purest(points, **at_first)}."


def _of_groups(points: Sequence[Point]) -> str:
    return f"Triggers share a group of keys in a share of at most {_purest(points, keys=GROUPED)}."


def _widest_gap(points: Sequence[Point]) -> str:
    gaps = of_each(lambda of: _gap(points, "rank", of, "rotated"), lines_of(points, "rank_own", keys=RANDOM))
    widest = max(gaps, key=lambda of: gaps[of])
    return f"The widest gap is a mean 1 / rank of {_three(points, 'rank', widest)}, {_told(widest)}."


def _of_units(points: Sequence[Point]) -> str:
    units = lines_of(points, "deciding_own", keys=RANDOM)
    hangs = of_each(lambda of: known(points, "deciding_own", of.series, **of.labels).median, units)
    said = " to ".join(f"{significant_text(hangs[of])} ({_told(of)})" for of in least_and_most(hangs))
    return f"An answer hangs on {said} units, where a unit for each fact would be 1."


def _purest(points: Sequence[Point], **labels: str) -> str:
    gaps = of_each(lambda of: _gap(points, "purity", of, "permuted"), lines_of(points, "purity_own", **labels))
    best = max(gaps, key=lambda of: gaps[of])
    return f"{_three(points, 'purity', best)}, {_told(best)}"


def _told(of: Point) -> str:
    return f"{of.series}, {of.labels['written']}"


def _gap(points: Sequence[Point], read_out: str, of: Point, reference: str) -> float:
    """Between the units and a reference, of the medians."""
    own, other = (known(points, f"{read_out}_{source}", of.series, **of.labels).median for source in ("own", reference))
    return own - other


def _names(read_out: str) -> dict[str, str]:
    return {f"{read_out}_{source}": name for source, name in _READ_FROM.items()}


def _three(points: Sequence[Point], read_out: str, of: Point) -> str:
    def said(source: str) -> str:
        return significant_text(known(points, f"{read_out}_{source}", of.series, **of.labels).median)

    return f"{said('own')} ({', '.join(lines(lambda source: f'{_BESIDE[source]} {said(source)}', _BESIDE))})"


def _wins(points: Sequence[Point], of: Point) -> list[bool]:
    """Of every seed, whether the units are read better than every rotation."""
    own, highest = (
        {point.seed: point.y for point in points if point.quantity == f"rank_{source}" and point.name == of.name}
        for source in ("own", "rotated_highest")
    )
    # A seed that failed has no points.
    if not own.keys() & highest.keys():
        raise NotMeasured(f"units and rotated units of {of.name}")
    return [own[seed] > highest[seed] for seed in own.keys() & highest.keys()]


def _table(points: Sequence[Point]) -> Table:
    columns = {
        "facts": ("facts", count_text),
        "accuracy": ("accuracy", percent_text),
        "first trigger's value on top": ("top_own", percent_text),
        "rotated": ("top_rotated", percent_text),
        "labels permuted": ("top_permuted", percent_text),
    }
    caption = (
        "What was written, and the share of units whose row of w_out scores the value of their first trigger highest."
    )
    return grid_of_lines(points, caption, "rank_own", columns)
