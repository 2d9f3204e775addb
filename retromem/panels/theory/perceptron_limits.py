"""Panel: what the classical bounds count, beside random labels that perceptrons and FFNs were given."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from retromem.panels.panel_config import Encoded, PanelConfig, check_facts
from retromem.panels.point_spread import spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import known, known_curve, of_each, sentences, spread_cell, tables
from retromem.report.numerals import count_text, list_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import medians_text
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

    seconds_expected: ClassVar[float] = 40.0
    version: ClassVar[int] = 2

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
            answer=sentences(points, partial(_answer, dim=last)),
            finding=sentences(
                points, self._perceptrons, self._beside_cover, self._ffns, self._memorised, self._a_stored_bit
            ),
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
            tables=tables(points, self._table),
        )

    def _perceptrons(self, points: Sequence[Point]) -> str:
        """Where half of the dichotomies are realised, of perceptrons that were given some."""

        def said(n: int) -> str:
            known_curve(points, "share_realised", f"n = {n}, linear program")
            half = spread_at(points, LABELS, f"perceptron, n = {n}: half realised")
            return f"{significant_text(half.median)} (n = {n})" if half else f"beyond the loads tried (n = {n})"

        told = list_text(list(of_each(said, self.inputs).values()))
        return f"Half of the random dichotomies can be realised at {told} points a weight; Cover: 2."

    def _beside_cover(self, points: Sequence[Point]) -> str:
        def off(n: int) -> float:
            found = known_curve(points, "share_realised", f"n = {n}, linear program")
            formula = known_curve(points, "share_realised", f"n = {n}, Cover")
            return max(
                of_each(lambda x: abs(found[x].median - formula[x].median), found.keys() & formula.keys()).values()
            )

        error = math.sqrt(0.25 / self.num_dichotomies)
        furthest = max(of_each(off, self.inputs).values())
        return (
            f"Over all loads the share realised lies within {100 * furthest:.1f} points of Cover's (standard error of "
            f"one seed at the half: {100 * error:.1f})."
        )

    def _ffns(self, points: Sequence[Point]) -> str:
        def said(dim: int) -> str:
            exact = known(points, LABELS, f"ReLU, d = {dim}, {CRITERIA[0]}")
            most = spread_at(points, LABELS, f"ReLU, d = {dim}, {CRITERIA[1]}")
            beside = f" ({significant_text(most.median)} if 99 % right will do)" if most else ""
            return f"{significant_text(exact.median)} at d = {dim}{beside}"

        last = max(self.dims)
        told = list_text(list(of_each(said, self.dims).values()))
        upper = spread_at(points, LABELS, f"{VC_UPPER}, d = {last}")
        beside = f" and {significant_text(upper.median)} of the VC bound at d = {last}" if upper else ""
        return f"Trained ReLU FFNs hold, in labels a parameter, {told}, beside 2 of a perceptron{beside}."

    def _memorised(self, points: Sequence[Point]) -> str:
        few, few_bits, few_per_bit = (
            known(points, quantity, f"{MEMORISATION}, d = {max(self.dims)}").median
            for quantity in (LABELS, WEIGHT_BITS, PER_BIT)
        )
        return (
            f"With sqrt(N) parameters {significant_text(few)} are possible, in weights of {count_text(few_bits)} bits: "
            f"{significant_text(few_per_bit)} labels a bit."
        )

    def _a_stored_bit(self, points: Sequence[Point]) -> str:
        written = {CRITERIA[0]: "float32", CRITERIA[2]: "int8"}
        per_bit = of_each(lambda how: known(points, PER_BIT, f"ReLU, d = {max(self.dims)}, {how}"), written)
        said = [f"{significant_text(spread.median)} in {written[how]}" for how, spread in per_bit.items()]
        return f"The trained FFN holds this many labels a stored bit: {list_text(said)}."

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
                *(spread_cell(spread_at(points, quantity, name)) for quantity in (LABELS, WEIGHT_BITS, PER_BIT)),
            ]
            for name, what in names.items()
        ]
        return Table(
            caption=f"What each counts: labels of one bit, a parameter and a stored bit. {medians_text(points)}",
            header=["", "labels a parameter", "bits per parameter is written in", "labels a stored bit"],
            blocks=[("", lines)],
            long_names=True,
        )


def _answer(points: Sequence[Point], dim: int) -> str:
    held = known(points, LABELS, f"ReLU, d = {dim}, {CRITERIA[0]}").median
    upper = spread_at(points, LABELS, f"{VC_UPPER}, d = {dim}")
    beside = f"; the VC bound, an order of magnitude, allows {significant_text(upper.median)}" if upper else ""
    return (
        f"A trained ReLU FFN holds {significant_text(held)} random labels a parameter (d = {dim}), where a "
        f"perceptron holds 2{beside}."
    )
