"""Panel: what the classical bounds count, beside random labels that perceptrons and FFNs were given."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from retromem.panels.panel_config import Encoded, PanelConfig, check_facts
from retromem.panels.point_spread import spread_at
from retromem.points import Point
from retromem.report.numerals import count_text, list_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import Spread
from retromem.report.table_text import Cell, Table

CRITERIA = ("all right", "99 % right", "99 % right, int8")
"""of the FFN's labels"""
MEMORISATION = "sqrt(N) parameters"
COVER = "perceptron: Cover, Gardner"
BINARY = "perceptron of ±1 weights: Krauth, Mézard"
VC_LOWER, VC_UPPER = "VC lower bound", "VC upper bound"
LABELS, WEIGHT_BITS, PER_BIT = "labels_per_param", "bits_a_param_is_written_in", "labels_per_stored_bit"


@dataclass(frozen=True, kw_only=True)
class ClassicalBoundsConfig(PanelConfig):
    """Random dichotomies by linear programming beside Cover's count, and bounds beside FFNs with two values."""

    panel: Literal["classical_bounds"] = "classical_bounds"
    inputs: tuple[int, ...] = (10, 50)
    """n, weights of the perceptrons"""
    loads: tuple[float, ...] = (0.5, 1.0, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.6, 3.0, 3.5)
    """N / n, points a weight"""
    num_dichotomies: int = 300
    """drawn for each n and load"""
    dims: tuple[int, ...] = (8, 16)
    """d, of the keys of the ReLU FFNs"""
    width: int = 64
    """their hidden units; one output tells the two values apart"""
    resolution: float = 0.03
    """of the search for the most labels, relative"""
    steps: int = 3000
    """of each training, at most"""
    seeds: tuple[int, ...] = (0, 1, 2)

    seconds_expected: ClassVar[float] = 40.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if list(self.loads) != sorted(self.loads):
            raise ValueError(f"loads must rise, not {list(self.loads)}: where half is realised is read between two")
        check_facts(round(min(self.loads) * min(self.inputs)), 1, "raise loads or inputs")

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.theory.perceptron_limits_points import classical_bounds_points

        return classical_bounds_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        last = max(self.dims)
        return PanelPage(
            title="Classical bounds: Cover, Gardner, VC, memorisation",
            answer=self._answer(points, last),
            finding=f"{self._perceptrons(points)} {self._ffns(points)}",
            explained=[
                "Perceptrons: N normal points in n dimensions, each of two labels with a coin; whether some hyperplane "
                "through 0 has every point on its side is decided exactly, by linear programming. Cover counts the "
                "dichotomies for which it can be; at N = 2n it is half of them at every n, and the step there grows "
                "steeper with n. One bit a label: 2 bits a weight, of weights that are real numbers.",
                f"FFNs: ReLU, d - {self.width} - 1 without biases, unit keys with one of two random labels, full-batch "
                f"Adam, {count_text(self.steps)} steps at most, by search to {percent_text(self.resolution)}. All "
                "right is Cover's criterion; 99 % right is the other panels'.",
                "VC dimension counts the largest set of points, chosen as one likes, on which every labelling can be "
                "realised, again with real weights. Random labels of random points ask for less, and training finds "
                "less. Upper and lower bound are orders of magnitude: their constants are set to 1.",
                "Memorisation with sqrt(N) parameters is proven for deep networks whose weights are as long as they "
                "are few: sqrt(N log2 N) parameters of sqrt(N / log2 N) log2 N bits, N log2 N bits in all. Counted in "
                "bits it is linear again in the labels, but for the logarithm, and no memory holds more than one "
                "label a stored bit. Constants 1.",
                "None of these bounds says what gradient descent reaches, or how robust it is.",
            ],
            charts=[
                Chart(
                    title="Random dichotomies realised",
                    quantities=["share_realised"],
                    x_label="points a weight, N / n",
                    y_label="share of dichotomies",
                    percent=True,
                ),
                Chart(
                    title=f"Labels a parameter (d = {last})",
                    quantities=[LABELS],
                    y_label="labels a parameter",
                    y_scale="log",
                    series=[
                        *(f"perceptron, n = {n}: half realised" for n in self.inputs),
                        COVER,
                        *(f"ReLU, d = {last}, {criterion}" for criterion in CRITERIA[:2]),
                        *(f"{bound}, d = {last}" for bound in (VC_LOWER, VC_UPPER, MEMORISATION)),
                    ],
                ),
            ],
            tables=[self._table(points)],
        )

    def _answer(self, points: Sequence[Point], dim: int) -> str:
        held = _of(points, LABELS, f"ReLU, d = {dim}, {CRITERIA[0]}").median
        upper = _of(points, LABELS, f"{VC_UPPER}, d = {dim}").median
        return (
            f"A trained ReLU FFN holds {significant_text(held)} random labels a parameter (d = {dim}), where a "
            f"perceptron holds 2; the VC bound, an order of magnitude, allows {significant_text(upper)}."
        )

    def _perceptrons(self, points: Sequence[Point]) -> str:
        said = []
        for n in self.inputs:
            half = spread_at(points, LABELS, f"perceptron, n = {n}: half realised")
            said.append(f"{significant_text(half.median)} (n = {n})" if half else f"beyond the loads tried (n = {n})")
        furthest = 0.0
        for n in self.inputs:
            for load in self.loads:
                found = spread_at(points, "share_realised", f"n = {n}, linear program", load)
                formula = spread_at(points, "share_realised", f"n = {n}, Cover", load)
                assert found and formula
                furthest = max(furthest, abs(found.median - formula.median))
        error = math.sqrt(0.25 / self.num_dichotomies)
        return (
            f"Half of the random dichotomies can be realised at {list_text(said)} points a weight; Cover: 2. Over all "
            f"loads the share realised lies within {100 * furthest:.1f} points of Cover's (standard error of one seed "
            f"at the half: {100 * error:.1f})."
        )

    def _ffns(self, points: Sequence[Point]) -> str:
        said = []
        for dim in self.dims:
            exact, most = (spread_at(points, LABELS, f"ReLU, d = {dim}, {criterion}") for criterion in CRITERIA[:2])
            assert exact and most
            said.append(
                f"{significant_text(exact.median)} at d = {dim} ({significant_text(most.median)} if 99 % right will do)"
            )
        last = max(self.dims)
        upper = _of(points, LABELS, f"{VC_UPPER}, d = {last}").median
        few, few_bits, few_per_bit = (
            _of(points, quantity, f"{MEMORISATION}, d = {last}").median for quantity in (LABELS, WEIGHT_BITS, PER_BIT)
        )
        per_bit = _of(points, PER_BIT, f"ReLU, d = {last}, {CRITERIA[0]}").median
        in_int8 = _of(points, PER_BIT, f"ReLU, d = {last}, {CRITERIA[2]}").median
        return (
            f"Trained ReLU FFNs hold, in labels a parameter, {list_text(said)}, beside 2 of a perceptron and "
            f"{significant_text(upper)} of the VC bound at d = {last}. With sqrt(N) parameters {significant_text(few)} "
            f"are possible, in weights of {count_text(few_bits)} bits: {significant_text(few_per_bit)} labels a bit, "
            f"beside {significant_text(per_bit)} of the trained FFN in float32 and {significant_text(in_int8)} in int8."
        )

    def _table(self, points: Sequence[Point]) -> Table:
        counts = {
            COVER: "random labels of random points, half of the dichotomies",
            BINARY: "the same with weights of one bit; no rule reaches more",
            VC_LOWER: "W L log2(W / L): the largest set with every labelling realised, at least; constant 1",
            VC_UPPER: "W L log2 W: the same, at most; constant 1",
            MEMORISATION: "any labels of any separated points, some deep network (Vardi et al.); constant 1",
            "any memory, at most": "a label is one bit",
        }
        measured = [
            *(f"perceptron, n = {n}: half realised" for n in self.inputs),
            *(f"ReLU, d = {dim}, {criterion}" for dim in self.dims for criterion in CRITERIA),
        ]
        names = dict.fromkeys(measured, "")
        for bound, what in counts.items():
            own = [f"{bound}, d = {dim}" for dim in self.dims]
            names |= dict.fromkeys(own if bound in (VC_LOWER, VC_UPPER, MEMORISATION) else [bound], what)
        lines = [
            [
                Cell(text=name, detail=what),
                *(_number(spread_at(points, quantity, name)) for quantity in (LABELS, WEIGHT_BITS, PER_BIT)),
            ]
            for name, what in names.items()
        ]
        return Table(
            caption="What each counts: labels of one bit, a parameter and a stored bit",
            header=["", "labels a parameter", "bits a parameter is written in", "labels a stored bit"],
            blocks=[("", lines)],
            long_names=True,
        )


def _of(points: Sequence[Point], quantity: str, series: str) -> Spread:
    found = spread_at(points, quantity, series)
    assert found is not None, (quantity, series)
    return found


def _number(spread: Spread | None) -> Cell:
    if spread is None:
        return Cell()
    several = spread.low < spread.high
    detail = f"{significant_text(spread.low)} to {significant_text(spread.high)}" if several else ""
    return Cell(text=significant_text(spread.median), detail=detail)
