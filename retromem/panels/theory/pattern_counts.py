"""Panel: what 2^(d_ff) counts, the bounds below it, and the regions and patterns that are there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import curve, spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import known, median_cell, medians_table, of_each, sentences, spread_cell, tables
from retromem.report.numerals import count_text, list_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import Spread, medians_text
from retromem.report.table_text import Cell, Table
from retromem.theory.pattern_bounds import affine_regions, central_regions

STATES = ("initial", "trained")
KEYS = {"stored": "between stored keys", "same_value": "between two of the same value", "fresh": "between fresh keys"}
"""where segments run"""
TWO_LAYERS = "two layers, random, counted"
BIAS_DEVIATION = 0.5
"""standard deviation of the biases of those"""


@dataclass(frozen=True, kw_only=True)
class ActivationPatternsConfig(PanelConfig):
    """Patterns and regions of one ReLU layer over its width, and of a ReGLU of as many parameters."""

    panel: Literal["activation_patterns"] = "activation_patterns"
    dims: tuple[int, ...] = (2, 4, 16)
    """d, of keys and outputs; the ReGLU is measured at the largest"""
    widths: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    """d_ff of the ReLU FFN"""
    bits_per_param: tuple[float, ...] = (0.25, 0.8, 1.8)
    """load of the trained FFNs, one for each of `dims`: what they recall near their capacity, which falls with d"""
    num_values: int = 16
    """drawn uniformly, one for each key"""
    num_segments: int = 200
    """between two stored keys, and as many between two keys that were never stored"""
    steps: int = 3000
    """of each training, at most"""

    seconds_expected: ClassVar[float] = 40.0
    version: ClassVar[int] = 2
    may_repeat: ClassVar[frozenset[str]] = frozenset({"bits_per_param"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.bits_per_param) != len(self.dims):
            raise ValueError(f"bits_per_param needs a load for each of dims, {self.dims}, not {self.bits_per_param}")
        if min(self.dims) < 2:
            raise ValueError(f"dims must be 2 or more, as regions are counted in a plane, not {list(self.dims)}")
        if min(self.widths) < 2:
            raise ValueError(f"widths must be 2 or more, the parameters of one ReGLU unit, not {list(self.widths)}")
        dim, bits_per_param = max(zip(self.dims, self.bits_per_param, strict=True))
        facts = max(3, int(bits_per_param * 2 * dim * max(self.widths) / math.log2(self.num_values)))
        # Two facts of one value are compared; where fewer than four such pairs are expected, there may be none.
        most = facts * (facts - 1) // 8
        if self.num_values > most:
            raise ValueError(
                f"num_values must be {most:,} or less, so that facts share values, not {self.num_values:,}"
            )

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.theory.pattern_counts_points import activation_patterns_points

        return activation_patterns_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        dim = max(self.dims)
        loads = [f"{load:g} (d = {dim})" for load, dim in zip(self.bits_per_param, self.dims, strict=True)]
        return PanelPage(
            title="Activation patterns: what 2^(d_ff) counts",
            answer=sentences(points, self._answer),
            finding=sentences(points, self._reachable, self._counted, self._folded, self._steered),
            explained=[
                "2^(d_ff), 2^(4 n_embd) at the usual width, counts the ways in which the units of a layer could be on "
                "or off. It is an upper bound that no layer reaches once d_ff > d: its boundaries are d_ff hyperplanes "
                "in d dimensions, and Zaslavsky counted the cells that they make, each one pattern: for d_ff "
                "far above d about d_ff^d / d!, a power of the width and no exponential.",
                "It does not count facts. Two keys in one region can have different answers, and a pattern of its own "
                "makes no fact recalled: the weights that must tell the answers apart are shared by all regions. "
                "Counts hold for ReLU and for a ReGLU's gate. SwiGLU, GELU and SiLU switch nothing off: they have no "
                "regions at all, and store facts nevertheless.",
                f"Counted: one layer without biases, at initialisation and trained on random facts, "
                f"{list_text(loads)} bits per parameter. Distinct patterns over the stored keys; "
                "exact regions in a square of side 2 in the plane through three stored keys (for d = 2, the whole "
                f"plane); exact regions on {count_text(self.num_segments)} segments between two stored keys, between "
                "two of the same value, and between two keys that were never stored. A random unit without bias tells "
                "half of the pairs of random keys apart: 1 + d_ff / 2 regions on a segment.",
                "Grey lines: the bounds of one layer, and of two layers of d_ff / 2 with biases: the most that any can "
                "have (layerwise), and what some network has by folding (Montufar). Hanin and Rolnick: the order of "
                "what is expected of random weights in a unit cube, constant 1, whatever the depth. Two inputs are a "
                "plane, where the regions of a whole network can be counted: those of two random layers of d_ff / 2 "
                f"(He-normal weights, biases of deviation {BIAS_DEVIATION:g}, in a square of side 2) stand beside the "
                "bounds of two layers at d = 2.",
                "The gate of a ReGLU is what switches: its sign pattern is counted. At equal parameters it has 2/3 as "
                "many units, and so 2/3 as many boundaries. Were the gate to steer its regions, training would change "
                "how many boundaries lie between stored keys, or between facts of one value, and not between fresh "
                "ones. The segments of one row are the same before and after.",
            ],
            charts=[
                Chart(
                    title=f"Patterns and regions at d = {dim}",
                    quantities=[f"log2_count_d{dim}"],
                    x_label="d_ff (ReLU units)",
                    y_label="log2 of the count",
                    x_scale="log",
                    y_scale="log",
                ),
                *(
                    [
                        Chart(
                            title="Two layers at d = 2",
                            quantities=["log2_count_d2"],
                            x_label="d_ff, in two layers of half",
                            y_label="log2 of the regions",
                            x_scale="log",
                            series=[TWO_LAYERS, "Montufar, two layers", "layerwise, two layers", "Hanin and Rolnick"],
                        )
                    ]
                    if 2 in self.dims
                    else []
                ),
                Chart(
                    title="Regions between stored keys",
                    quantities=["segment_regions_per_1000_params"],
                    x_label="d_ff of the ReLU FFN",
                    y_label="regions per 1,000 parameters",
                    x_scale="log",
                    series=[f"{kind}, {what}" for kind in ("ReLU", "ReGLU") for what in ("trained", "random units")],
                ),
            ],
            tables=tables(points, self._counts_table, self._gate_table),
        )

    def _at(self, points: Sequence[Point], quantity: str, series: str) -> Spread:
        """At the largest width."""
        return known(points, quantity, series, float(max(self.widths)))

    def _answer(self, points: Sequence[Point]) -> str:
        dim, width = max(self.dims), max(self.widths)
        facts = self._at(points, f"facts_d{dim}", "ReLU").median
        distinct = self._at(points, f"distinct_d{dim}", "ReLU, trained").median
        right = spread_at(points, f"accuracy_d{dim}", "ReLU", float(width))
        beside = f" ({percent_text(right.median)} are right)" if right else ""
        return (
            f"2^{width} counts the on/off patterns of {width} units, not facts: {count_text(facts)} facts were written"
            f"{beside}, and they show {count_text(distinct)} patterns."
        )

    def _reachable(self, points: Sequence[Point]) -> str:
        dim, width = max(self.dims), max(self.widths)
        bound = self._at(points, f"log2_count_d{dim}", "Zaslavsky, no biases").median
        return (
            f"Of the 2^{width} on/off patterns of {width} units, {dim} inputs can reach 2^{bound:.0f} at most "
            "(Zaslavsky)."
        )

    def _counted(self, points: Sequence[Point]) -> str:
        dim = max(self.dims)
        facts = self._at(points, f"facts_d{dim}", "ReLU").median
        distinct, in_plane = (
            self._at(points, f"{quantity}_d{dim}", "ReLU, trained").median for quantity in ("distinct", "plane_regions")
        )
        return (
            f"{count_text(facts)} written facts show {count_text(distinct)} of them once trained, and a plane through "
            f"three of them {count_text(in_plane)} regions."
        )

    def _folded(self, points: Sequence[Point]) -> str:
        """Random layers beside what folding could do; left out where no plane is a whole input space."""
        found, folded, most = (
            self._at(points, "log2_count_d2", series).median
            for series in (TWO_LAYERS, "Montufar, two layers", "layerwise, two layers")
        )
        return (
            f"Two random layers of {max(self.widths) // 2} units have {count_text(2**found)} regions in a plane; some "
            f"network of this shape has {count_text(2**folded)} (Montufar), none more than {count_text(2**most)}."
        )

    def _steered(self, points: Sequence[Point]) -> str:
        """What training does to the boundaries between keys."""

        def said(kind: str) -> str:
            def moved(keys: str) -> tuple[float, float]:
                before, after = (
                    self._at(points, f"crossings_per_unit_{keys}", f"{kind}, {state}").median for state in STATES
                )
                return before, after

            found = of_each(moved, KEYS)
            told = [
                f"{significant_text(before)} and {significant_text(after)} {KEYS[keys]}"
                for keys, (before, after) in found.items()
            ]
            largest = max(abs(after - before) for before, after in found.values())
            return f"{kind} {list_text(told)}, {significant_text(largest)} apart at most"

        told = "; in ".join(of_each(said, ("ReLU", "ReGLU")).values())
        return f"Before and after training this share of boundaries is crossed, .500 for random units: in {told}."

    def _counts_table(self, points: Sequence[Point]) -> Table:
        blocks = []
        for dim in self.dims:
            lines = []
            for width in curve(points, f"facts_d{dim}", "ReLU"):
                units = round(width)
                at_most = central_regions(units, 2) if dim == 2 else affine_regions(units, 2)
                line = [
                    Cell(text=f"d_ff = {units}"),
                    median_cell(spread_at(points, f"facts_d{dim}", "ReLU", width), count_text),
                    median_cell(spread_at(points, f"accuracy_d{dim}", "ReLU", width), percent_text),
                ]
                for quantity in ("distinct", "alone", "plane_regions", "segment_regions"):
                    before, after = (
                        spread_at(points, f"{quantity}_d{dim}", f"ReLU, {state}", width) for state in STATES
                    )
                    initially = f"initially {_count(before.median)}" if before else ""
                    line.append(replace(median_cell(after, _count), detail=initially))
                lines.append([*line, Cell(text=count_text(at_most)), Cell(text=_count(1 + units / 2))])
            blocks.append((f"d = {dim}", lines))
        return Table(
            caption=f"Counts of ReLU FFNs, trained and at initialisation. {medians_text(points)}",
            header=[
                "",
                "facts",
                "right",
                "patterns of the facts",
                "facts with a pattern of their own",
                "regions in a plane",
                "regions on a segment",
                "most in a plane",
                "random units on a segment",
            ],
            blocks=blocks,
        )

    def _gate_table(self, points: Sequence[Point]) -> Table:
        lines = []
        for kind in ("ReLU", "ReGLU"):
            for state in STATES:
                columns = ["segment_regions_per_1000_params", "plane_regions_per_1000_params"]
                columns += [f"crossings_per_unit_{keys}" for keys in KEYS]
                series, widest = f"{kind}, {state}", float(max(self.widths))
                numbers = [spread_cell(spread_at(points, quantity, series, widest)) for quantity in columns]
                if any(cell.text != "–" for cell in numbers):
                    units = median_cell(spread_at(points, "units", kind, widest), count_text)
                    lines.append([Cell(text=series), units, *numbers])
        header = [
            "",
            "units that switch",
            "regions on a segment per 1,000 parameters",
            "regions in a plane per 1,000 parameters",
            *(f"crossings per unit {where}" for where in KEYS.values()),
        ]
        caption = f"ReGLU beside ReLU at equal parameters, d = {max(self.dims)}, d_ff = {max(self.widths)}."
        return medians_table(points, caption, header, lines)


def _count(number: float) -> str:
    return count_text(number) if number == round(number) else f"{number:,.1f}"
