"""Panel: do the facts that an FFN stores grow in proportion to its hidden units?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

from models.ffn_kinds import DenseConfig, GatedConfig
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import curve, series_of, spread_at
from retromem.points import Point
from retromem.report.numerals import count_text, list_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.table_text import Cell, Table

KINDS: Mapping[str, DenseConfig | GatedConfig] = {
    "ReLU": DenseConfig(kind="relu"),
    "GELU": DenseConfig(kind="gelu"),
    "SwiGLU": GatedConfig(kind="swiglu"),
    "bilinear": GatedConfig(kind="bilinear"),
}


def units_of(kind: str, width: int, dim: int) -> int:
    """Hidden units of a kind where a dense one has `width`."""
    ffn = KINDS[kind].resized(width)
    return ffn.units(dim) if isinstance(ffn, DenseConfig) else ffn.units(dim, dim)


@dataclass(frozen=True, kw_only=True)
class Slope:
    """Of log facts on log hidden units, one straight line through the points of all seeds."""

    estimate: float
    low: float
    """of the 95 % interval"""
    high: float

    @property
    def text(self) -> str:
        return f"{self.estimate:.2f} ({self.low:.2f} to {self.high:.2f})"


def slope_of(points: Sequence[Point], series: str, *, from_units: float) -> Slope | None:
    """Least squares over every seed and every width from so many units on, with the t interval of its residuals.

    None below three points. Where nothing was stored there is no logarithm: such a point is left out.
    """
    import numpy as np
    from scipy.stats import linregress, t

    own = [(point.x, point.y) for point in points if (point.quantity, point.series) == ("facts", series)]
    kept = [(x, y) for x, y in own if x is not None and x >= from_units and y > 0]
    if len({x for x, _ in kept}) < 2 or len(kept) < 3:
        return None
    log_units, log_facts = np.log(np.array(kept)).T
    fit = linregress(log_units, log_facts)
    half = float(t.ppf(0.975, len(log_units) - 2)) * float(fit.stderr)
    return Slope(estimate=float(fit.slope), low=float(fit.slope) - half, high=float(fit.slope) + half)


@dataclass(frozen=True, kw_only=True)
class CapacitySlopeConfig(PanelConfig):
    """Capacity of FFN kinds over their hidden units, at a fixed dimension of keys and codes."""

    panel: Literal["capacity_slope"] = "capacity_slope"
    dim: int = 16
    """of keys and value codes"""
    num_values: int = 16
    """drawn uniformly"""
    widths: tuple[int, ...] = (8, 16, 32, 64)
    """hidden units of dense kinds; gated kinds get as many as the same parameters allow"""
    resolution: float = 0.03
    """of the search for the capacity, relative"""
    steps: int = 3000
    """of each training"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of keys, labels and weights"""

    seconds_expected: ClassVar[float] = 100.0
    """of one seed"""

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.theory.capacity_slope_points import capacity_slope_points

        return capacity_slope_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        kinds = series_of(points, "bits_per_param")
        slopes = {}
        for kind in kinds:
            slope = slope_of(points, kind, from_units=self._narrowest_fitted(kind))
            if slope is not None:
                slopes[kind] = slope
        return PanelPage(
            title="Capacity against hidden units",
            answer=self._answer(slopes),
            finding=self._finding(points, slopes),
            explained=[
                f"The most facts answered with accuracy .99, keys random in d = {self.dim}, {self.num_values} values "
                f"drawn uniformly, {count_text(self.steps)} full-batch steps of Adam, searched "
                f"to {100 * self.resolution:g} %. Hidden units are d_ff; gated kinds have the parameters of the dense "
                "ones and therefore two thirds of their units.",
                "If every unit holds its share of facts whatever stands beside it, capacity is proportional to d_ff: "
                "slope 1 on logarithmic axes. One dashed line goes with slope 1 through ReLU at "
                "d_ff = d (first seed), the other is the published 2.08 bits a parameter (ReLU, 32 classes, Nichani et "
                "al. 2025).",
                "The slope is one least-squares line through the points of all seeds and of the widths from "
                f"{self.dim} on, its 95 % interval that of the residuals (t distribution). Narrower layers are shown "
                "and left out: where units are few, some keys excite hardly any unit of ReLU and cannot be told apart. "
                "Seeds at one width deviate from the line in the same direction, so where the points bend the interval "
                "is too narrow: the table gives the slope of every single step.",
                "Only d_ff grows here, and d does not. A bilinear layer computes quadratic forms of the key, and "
                f"{count_text(self.dim * (self.dim + 1) // 2 * self.dim)} numbers describe every such map from d to d: "
                "however many units it has, it must level off.",
            ],
            charts=[
                Chart(
                    title="Facts stored",
                    quantities=["facts"],
                    x_label="hidden units (d_ff)",
                    y_label="facts at accuracy .99",
                    x_scale="log",
                    y_scale="log",
                ),
                Chart(
                    title="Bits a parameter: flat where the slope is 1",
                    quantities=["bits_per_param"],
                    x_label="hidden units (d_ff)",
                    y_label="bits a parameter",
                    x_scale="log",
                    series=kinds,
                ),
            ],
            tables=[self._table(points, slopes)] if slopes else [],
        )

    def _narrowest_fitted(self, kind: str) -> float:
        """Units of the first width that is not below d; gated kinds have fewer of them at that width."""
        wide_enough = [width for width in self.widths if width >= self.dim]
        return float(units_of(kind, min(wide_enough), self.dim)) if wide_enough else math.inf

    def _answer(self, slopes: dict[str, Slope]) -> str:
        words = {"proportional": "in proportion to", "less": "more slowly than", "more": "faster than"}
        said = [f"{words[how]} hidden units for {list_text(kinds)}" for how, kinds in _beside_1(slopes).items()]
        return f"The facts that an FFN holds grow {', '.join(said)}." if said else "Too few points for a slope."

    def _finding(self, points: Sequence[Point], slopes: dict[str, Slope]) -> str:
        if not slopes:
            return "Too few points for a slope."
        words = {"proportional": "holds 1", "less": "lies below 1", "more": "lies above 1"}
        said = [f"{words[how]} for {', '.join(kinds)}" for how, kinds in _beside_1(slopes).items()]
        listed = ", ".join(f"{kind} {slope.text}" for kind, slope in slopes.items())
        steps = {step: name for kind in slopes for name, step in self._steps(points, kind) if step is not None}
        return (
            f"Slope of log facts on log hidden units from d_ff = d = {self.dim} on, predicted 1: {listed}; the 95 % "
            f"interval {'; '.join(said)}. Single steps between widths run from {min(steps):.2f} ({steps[min(steps)]}) "
            f"to {max(steps):.2f} ({steps[max(steps)]})."
        )

    def _steps(self, points: Sequence[Point], kind: str) -> list[tuple[str, float | None]]:
        """Slope of the medians between one width and the next, with its name; None where nothing was stored."""
        return [
            (
                f"{kind}, {x:g} to {next_x:g} units",
                math.log(next_y.median / y.median) / math.log(next_x / x) if y.median and next_y.median else None,
            )
            for (x, y), (next_x, next_y) in pairwise(curve(points, "facts", kind).items())
        ]

    def _table(self, points: Sequence[Point], slopes: dict[str, Slope]) -> Table:
        steps = [f"width {low} to {high}" for low, high in pairwise(sorted(self.widths))]
        lines = []
        for kind, slope in slopes.items():
            bits = spread_at(points, "bits_per_param", kind, max(curve(points, "bits_per_param", kind)))
            assert bits is not None, "a slope has points"
            cells = [
                Cell(text=kind),
                Cell(text=f"{slope.estimate:.2f}", detail=f" {slope.low:.2f} to {slope.high:.2f}"),
            ]
            cells += [Cell(text="" if step is None else f"{step:.2f}") for _, step in self._steps(points, kind)]
            lines.append([*cells, Cell(text=significant_text(bits.median))])
        return Table(
            caption="Slopes of log facts on log hidden units: one line through all seeds and the widths "
            f"from d = {self.dim} on, with its 95 % "
            "interval, then step by step between the medians. Widths are those of the dense kinds. Predicted: 1.",
            header=["kind", "slope", *steps, f"bits a parameter at width {max(self.widths)}"],
            blocks=[("", lines)],
        )


def _beside_1(slopes: dict[str, Slope]) -> dict[str, list[str]]:
    """Kinds by where their interval lies; nothing where no kind does."""
    found: dict[str, list[str]] = {"proportional": [], "less": [], "more": []}
    for kind, slope in slopes.items():
        how = "less" if slope.high < 1 else "more" if slope.low > 1 else "proportional"
        found[how].append(kind)
    return {how: kinds for how, kinds in found.items() if kinds}
