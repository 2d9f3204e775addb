"""Panel: the bits that trained FFNs recall, beside the bits that their parameters are stored in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import curve, spread_at
from retromem.panels.spread_text import known
from retromem.points import Point
from retromem.report.numerals import count_text, list_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.table_text import Cell, Table
from retromem.theory.pattern_bounds import log2_all_patterns
from retromem.theory.physical_capacity import dense_ffn_params, physical_bits

KINDS = ("ReLU", "SwiGLU")
PRECISIONS: tuple[Literal["float32", "int8"], ...] = ("float32", "int8")
BITS_A_PARAM = {"float32": 32.0, "int8": 8.0}


@dataclass(frozen=True, kw_only=True)
class PhysicalCapacityConfig(PanelConfig):
    """Capacity in bits of ReLU and SwiGLU FFNs of 8 d^2 parameters, as float32 and rounded to int8."""

    panel: Literal["physical_capacity"] = "physical_capacity"
    dims: tuple[int, ...] = (4, 8, 16)
    """d, of keys and outputs; the dense FFN has 4 d hidden units, the gated one as many as make it no larger"""
    num_values: int = 16
    """drawn uniformly, one for each key"""
    accuracy: float = 0.99
    """share of the facts that counts as stored"""
    resolution: float = 0.02
    """of the search for the most facts, relative"""
    steps: int = 3000
    """of each training, at most"""
    seeds: tuple[int, ...] = (0, 1, 2)

    seconds_expected: ClassVar[float] = 45.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.5 <= self.accuracy <= 1:
            raise ValueError(f"accuracy must lie between .5 and 1, so that a search for it ends, not {self.accuracy:g}")

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.theory.physical_limit_points import physical_capacity_points

        return physical_capacity_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        return PanelPage(
            title="Physical capacity: parameters times bits",
            answer=self._answer(points),
            finding=self._finding(points),
            explained=[
                f"An FFN d - 4d - d without biases has 8 d^2 parameters; the SwiGLU has no more. Random unit keys, one "
                f"of {self.num_values} random values each ({significant_text(math.log2(self.num_values))} bits a "
                f"fact), full-batch Adam, {count_text(self.steps)} steps at most. The capacity is the largest number "
                f"of facts of which {percent_text(self.accuracy)} are answered right, found to within "
                f"{percent_text(self.resolution)}; in bits it is that number times the bits of a fact.",
                "No memory recalls more bits than it is stored in: 32 a parameter in float32, 8 in int8. The int8 "
                "weights are the same ones, rounded once trained, not trained to be rounded. Their scales, a float16 "
                "a column, are charged in the share of the stored bits, not in the line of 8 d^2 x 8 bits.",
                "2^(4d), the number often quoted, counts how many ways 4d units can be on or off. It is no number of "
                "facts: naming one pattern takes 4d bits, which grow with d where the parameters grow with d^2.",
                "The physical limit is a bound for any way of writing. That a trained FFN stays below it says nothing "
                "of how much of the gap another training could close.",
            ],
            charts=[
                Chart(
                    title="Bits recalled, and bits stored",
                    quantities=["bits"],
                    x_label="d (key dimension)",
                    y_label="bits",
                    x_scale="log",
                    y_scale="log",
                ),
                Chart(
                    title="Per parameter",
                    quantities=["bits_per_param"],
                    x_label="d (key dimension)",
                    y_label="bits a parameter",
                    x_scale="log",
                    y_scale="log",
                ),
            ],
            tables=[self._table(points)],
        )

    def _answer(self, points: Sequence[Point]) -> str:
        dim = max(curve(points, "bits", f"{KINDS[0]}, float32"))
        density = {kind: known(points, "bits_per_param", f"{kind}, float32", dim).median for kind in KINDS}
        best = max(density, key=lambda kind: density[kind])
        share = known(points, "share_of_stored", f"{best}, float32", dim).median
        return (
            f"A trained parameter recalls {significant_text(density[best])} bits at best ({best}), "
            f"{percent_text(share)} of the 32 that it is stored in."
        )

    def _finding(self, points: Sequence[Point]) -> str:
        dim = max(curve(points, "bits", f"{KINDS[0]}, float32"))
        held = []
        for kind in KINDS:
            bits, of_stored = [], []
            for precision in PRECISIONS:
                density = spread_at(points, "bits_per_param", f"{kind}, {precision}", dim)
                share = spread_at(points, "share_of_stored", f"{kind}, {precision}", dim)
                assert density and share
                bits.append(f"{significant_text(density.median)} in {precision}")
                of_stored.append(percent_text(share.median))
            held.append(f"{kind} {list_text(bits)}, {list_text(of_stored)} of the bits it is stored in")
        recalled = spread_at(points, "bits", f"{KINDS[0]}, float32", dim)
        assert recalled
        num_patterns_bits = log2_all_patterns([round(4 * dim)])
        log2_excess = (
            num_patterns_bits + math.log2(math.log2(self.num_values)) - math.log2(32 * dense_ffn_params(round(dim)))
        )
        return (
            f"At d = {dim:.0f} a parameter recalls, in bits: {'; '.join(held)}. The ReLU FFN recalls "
            f"{count_text(recalled.median)} bits in all, where one of the 2^{num_patterns_bits} patterns of its units "
            f"is named in {num_patterns_bits}; taken for a number of facts, 2^{num_patterns_bits} would be "
            f"2^{log2_excess:.0f} times the bits that float32 weights are stored in."
        )

    def _table(self, points: Sequence[Point]) -> Table:
        lines = []
        for dim in curve(points, "bits", f"{KINDS[0]}, float32"):
            num_params = dense_ffn_params(round(dim))
            line = [Cell(text=f"d = {dim:.0f}"), Cell(text=count_text(num_params))]
            line += [Cell(text=count_text(physical_bits(num_params, bits))) for bits in BITS_A_PARAM.values()]
            for series in (f"{kind}, {precision}" for kind in KINDS for precision in PRECISIONS):
                bits, share = spread_at(points, "bits", series, dim), spread_at(points, "share_of_stored", series, dim)
                assert bits and share
                line.append(Cell(text=count_text(bits.median), detail=percent_text(share.median)))
            lines.append([*line, Cell(text=count_text(log2_all_patterns([round(4 * dim)])))])
        return Table(
            caption="Bits recalled at capacity, with the share of the bits stored; log2 of the patterns beside them",
            header=[
                "",
                "8 d^2 parameters",
                "x 32 bits",
                "x 8 bits",
                *(f"{kind}, {precision}" for kind in KINDS for precision in PRECISIONS),
                "log2 2^(4d)",
            ],
            blocks=[("", lines)],
        )
