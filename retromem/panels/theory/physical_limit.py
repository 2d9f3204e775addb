"""Panel: the bits that trained FFNs recall, beside the bits that their parameters are stored in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import curve, spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import known, known_curve, median_cell, medians_table, of_each, sentences, tables
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

    seconds_expected: ClassVar[float] = 45.0
    version: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.5 <= self.accuracy <= 1:
            raise ValueError(f"accuracy must lie between .5 and 1, so that a search for it ends, not {self.accuracy:g}")

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.theory.physical_limit_points import physical_capacity_points

        return physical_capacity_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        over_dims = partial(Chart, x_label="d (key dimension)", x_scale="log", y_scale="log")
        return PanelPage(
            title="Physical capacity: parameters times bits",
            answer=sentences(points, _answer),
            finding=sentences(points, _a_parameter, self._in_all),
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
                over_dims(title="Bits recalled, and bits stored", quantities=["bits"], y_label="bits"),
                over_dims(title="Per parameter", quantities=["bits_per_param"], y_label="bits per parameter"),
            ],
            tables=tables(points, _table),
        )

    def _in_all(self, points: Sequence[Point]) -> str:
        recalled = known_curve(points, "bits", f"{KINDS[0]}, float32")
        dim = max(recalled)
        num_patterns_bits = log2_all_patterns([round(4 * dim)])
        log2_excess = (
            num_patterns_bits + math.log2(math.log2(self.num_values)) - math.log2(32 * dense_ffn_params(round(dim)))
        )
        return (
            f"The ReLU FFN recalls {count_text(recalled[dim].median)} bits in all, where one of the "
            f"2^{num_patterns_bits} patterns of its units is named in {num_patterns_bits}; taken for a number of "
            f"facts, 2^{num_patterns_bits} would be 2^{log2_excess:.0f} times the bits that float32 weights are stored "
            "in."
        )


def _largest_dim(points: Sequence[Point]) -> float:
    every = of_each(lambda kind: max(known_curve(points, "bits_per_param", f"{kind}, float32")), KINDS)
    return max(every.values())


def _answer(points: Sequence[Point]) -> str:
    dim = _largest_dim(points)
    density = of_each(lambda kind: known(points, "bits_per_param", f"{kind}, float32", dim).median, KINDS)
    best = max(density, key=lambda kind: density[kind])
    share = known(points, "share_of_stored", f"{best}, float32", dim).median
    return (
        f"A trained parameter recalls {significant_text(density[best])} bits at best ({best}), "
        f"{percent_text(share)} of the 32 that it is stored in."
    )


def _a_parameter(points: Sequence[Point]) -> str:
    dim = _largest_dim(points)

    def said(kind: str) -> str:
        def in_precision(precision: str) -> str:
            density, share = (
                known(points, quantity, f"{kind}, {precision}", dim)
                for quantity in ("bits_per_param", "share_of_stored")
            )
            return (
                f"{significant_text(density.median)} in {precision} ({percent_text(share.median)} of the bits it is "
                "stored in)"
            )

        return f"{kind} {list_text(list(of_each(in_precision, PRECISIONS).values()))}"

    return f"At d = {dim:.0f} a parameter recalls, in bits: {'; '.join(of_each(said, KINDS).values())}."


def _table(points: Sequence[Point]) -> Table:
    every = [f"{kind}, {precision}" for kind in KINDS for precision in PRECISIONS]
    lines = []
    for dim in sorted({dim for series in every for dim in curve(points, "bits", series)}):
        num_params = dense_ffn_params(round(dim))
        line = [Cell(text=f"d = {dim:.0f}"), Cell(text=count_text(num_params))]
        line += [Cell(text=count_text(physical_bits(num_params, bits))) for bits in BITS_A_PARAM.values()]
        for series in every:
            bits, share = (spread_at(points, quantity, series, dim) for quantity in ("bits", "share_of_stored"))
            of_stored = percent_text(share.median) if share else ""
            line.append(replace(median_cell(bits, count_text), detail=of_stored))
        lines.append([*line, Cell(text=count_text(log2_all_patterns([round(4 * dim)])))])
    caption = "Bits recalled at capacity, with the share of the bits stored; log2 of the patterns beside them."
    header = ["", "8 d^2 parameters", "x 32 bits", "x 8 bits", *every, "log2 2^(4d)"]
    return medians_table(points, caption, header, lines)
