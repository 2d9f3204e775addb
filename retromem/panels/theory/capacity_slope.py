"""Panel: do the facts that an FFN stores grow in proportion to its hidden units?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from typing import ClassVar, Literal, get_args

from models.any_ffn import AnyFFNConfig, sized
from models.expert_kinds import ExpertsConfig
from models.ffn_kinds import DenseConfig, GatedConfig, TopKConfig
from models.memory_kinds import ProductKeysConfig
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import curve, series_of, spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import NotMeasured, median_cell, of_each, sentences, tables
from retromem.report.numerals import count_text, list_text, range_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.table_text import Cell, Table

Kind = Literal[
    "ReLU",
    "GELU",
    "SiLU",
    "SwiGLU",
    "GeGLU",
    "ReGLU",
    "GLU",
    "bilinear",
    "k winners",
    "4 experts",
    "product keys",
]
KINDS: Mapping[Kind, AnyFFNConfig] = {
    "ReLU": DenseConfig(kind="relu"),
    "GELU": DenseConfig(kind="gelu"),
    "SiLU": DenseConfig(kind="silu"),
    "SwiGLU": GatedConfig(kind="swiglu"),
    "GeGLU": GatedConfig(kind="geglu"),
    "ReGLU": GatedConfig(kind="reglu"),
    "GLU": GatedConfig(kind="glu"),
    "bilinear": GatedConfig(kind="bilinear"),
    "k winners": TopKConfig(active_share=0.25),
    "4 experts": ExpertsConfig(experts=4, top_k=1),
    "product keys": ProductKeysConfig(heads=4),
}
_DRAWN = ("ReLU", "SwiGLU", "bilinear", "k winners", "4 experts", "product keys")
"""in the charts, where eleven curves would hide each other; the table has all"""


@cache
def ffn_of(kind: Kind, width: int, dim: int) -> AnyFFNConfig | None:
    """The largest of this kind with no more parameters than a dense FFN of this width; None where none is so small."""
    try:
        return sized(KINDS[kind], width * 2 * dim, dim, dim)
    except ValueError:
        return None


def units_of(ffn: AnyFFNConfig, dim: int) -> int:
    """Hidden units of all experts together; of product keys, the slots."""
    match ffn:
        case GatedConfig():
            return ffn.units(dim, dim)
        case ExpertsConfig():
            return ffn.experts * ffn.units(dim)
        case ProductKeysConfig():
            return ffn.num_slots
        case DenseConfig() | TopKConfig():
            return ffn.units(dim)
    raise AssertionError(f"{ffn} has no hidden units to count")


@dataclass(frozen=True, kw_only=True)
class Slope:
    """Of log facts on log hidden units, one straight line through the points of all seeds."""

    estimate: float
    low: float
    """of the 95 % interval"""
    high: float

    @property
    def interval(self) -> str:
        return range_text([self.low, self.high], "{:.2f}".format)


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
    # Points on one level line leave no residuals, of which the fit knows no error.
    half = 0.0 if math.isnan(fit.stderr) else float(t.ppf(0.975, len(log_units) - 2)) * float(fit.stderr)
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
    """hidden units of dense kinds; the others get as many as the same parameters allow"""
    kinds: tuple[Kind, ...] = get_args(Kind)
    """each with a slope of its own"""
    resolution: float = 0.03
    """of the search for the capacity, relative"""
    steps: int = 3000
    """of each training"""

    seconds_expected: ClassVar[float] = 1000.0
    version: ClassVar[int] = 3
    """of one seed"""

    def __post_init__(self) -> None:
        super().__post_init__()
        widest = max(self.widths)
        if all(ffn_of(kind, widest, self.dim) is None for kind in self.kinds):
            for kind in self.kinds:
                sized(KINDS[kind], widest * 2 * self.dim, self.dim, self.dim)  # says its smallest size

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.theory.capacity_slope_points import capacity_slope_points

        return capacity_slope_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        drawn = [kind for kind in self.kinds if kind in _DRAWN]
        over_units = partial(Chart, x_label="hidden units (d_ff)", x_scale="log")
        return PanelPage(
            title="Capacity against hidden units",
            answer=sentences(points, self._answer),
            finding=sentences(points, self._finding, self._of_steps),
            explained=[
                f"The most facts answered with accuracy .99, keys random in d = {self.dim}, {self.num_values} values "
                f"drawn uniformly, {count_text(self.steps)} full-batch steps of Adam, searched "
                f"to {100 * self.resolution:g} %. Hidden units are d_ff; every kind has the parameters of the dense "
                "ones at most, so gated kinds have two thirds of their units. Units of experts are counted over all "
                "of them; for product keys the slots are counted, whose queries and sub-keys cost parameters before "
                "the first slot: too many for the narrowest sizes.",
                "If every unit holds its share of facts whatever stands beside it, capacity is proportional to d_ff: "
                "slope 1 on logarithmic axes. The charts show six kinds at most, the table all. One dashed line goes "
                "with slope 1 through ReLU at d_ff = d (first seed), the other is the published 2.08 bits per "
                "parameter (ReLU, 32 classes, Nichani et al. 2025).",
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
                over_units(
                    title="Facts stored",
                    quantities=["facts"],
                    y_label="facts at accuracy .99",
                    y_scale="log",
                    series=[*drawn, *(series for series in series_of(points, "facts") if series not in self.kinds)],
                ),
                over_units(
                    title="Bits per parameter: flat where the slope is 1",
                    quantities=["bits_per_param"],
                    y_label="bits per parameter",
                    series=drawn,
                ),
            ],
            tables=tables(points, self._table),
        )

    def _narrowest_fitted(self, kind: Kind) -> float:
        """Units of the first width that is not below d; gated kinds have fewer of them at that width."""
        wide_enough = [width for width in self.widths if width >= self.dim]
        return min((units for width in wide_enough if (units := self._units(kind, width))), default=math.inf)

    def _slopes(self, points: Sequence[Point]) -> dict[Kind, Slope]:
        """NotMeasured where no kind has points enough."""

        def slope(kind: Kind) -> Slope:
            found = slope_of(points, kind, from_units=self._narrowest_fitted(kind))
            if found is None:
                raise NotMeasured("points enough for a slope")
            return found

        return of_each(slope, self.kinds)

    def _answer(self, points: Sequence[Point]) -> str:
        words = {"proportional": "in proportion to", "less": "more slowly than", "more": "faster than"}
        beside_1 = _beside_1(self._slopes(points))
        said = [f"{words[how]} hidden units for {list_text(kinds)}" for how, kinds in beside_1.items()]
        return f"The facts that an FFN holds grow {', '.join(said)}."

    def _finding(self, points: Sequence[Point]) -> str:
        slopes = self._slopes(points)
        words = {"proportional": "holds 1", "less": "lies below 1", "more": "lies above 1"}
        said = [f"{words[how]} for {', '.join(kinds)}" for how, kinds in _beside_1(slopes).items()]
        listed = ", ".join(f"{kind} {slope.estimate:.2f} ({slope.interval})" for kind, slope in slopes.items())
        return (
            f"Slope of log facts on log hidden units from d_ff = d = {self.dim} on, predicted 1: {listed}; the 95 % "
            f"interval {'; '.join(said)}."
        )

    def _of_steps(self, points: Sequence[Point]) -> str:
        steps = {
            step: name for kind in self._slopes(points) for name, step in self._steps(points, kind) if step is not None
        }
        if not steps:
            raise NotMeasured("two widths of one kind")
        said = " to ".join(f"{step:.2f} ({steps[step]})" for step in dict.fromkeys([min(steps), max(steps)]))
        return f"Single steps between widths: {said}."

    def _steps(self, points: Sequence[Point], kind: Kind) -> list[tuple[str, float | None]]:
        """Slope of the medians between one width and the next, with its name; None where nothing was stored, or where
        the kind has no FFN that small."""
        facts, steps = curve(points, "facts", kind), []
        for low, high in pairwise(sorted(self.widths)):
            x, next_x = self._units(kind, low), self._units(kind, high)
            y, next_y = facts.get(x), facts.get(next_x)
            slope = None
            if y is not None and next_y is not None and y.median and next_y.median and x < next_x:
                slope = math.log(next_y.median / y.median) / math.log(next_x / x)
            steps.append((f"{kind}, {x:g} to {next_x:g} units", slope))
        return steps

    def _units(self, kind: Kind, width: int) -> float:
        """Units of the kind where a dense one has this width; 0 where it has no FFN that small."""
        ffn = ffn_of(kind, width, self.dim)
        return 0.0 if ffn is None else float(units_of(ffn, self.dim))

    def _table(self, points: Sequence[Point]) -> Table:
        steps = [f"width {low} to {high}" for low, high in pairwise(sorted(self.widths))]
        widest = max(self.widths)
        lines = []
        for kind, slope in self._slopes(points).items():
            cells = [
                Cell(text=kind),
                Cell(text=f"{slope.estimate:.2f}", detail=f" {slope.interval}"),
            ]
            cells += [Cell(text="" if step is None else f"{step:.2f}") for _, step in self._steps(points, kind)]
            lines.append([*cells, median_cell(spread_at(points, "bits_per_param", kind, self._units(kind, widest)))])
        return Table(
            caption="Slopes of log facts on log hidden units: one line through all points of the widths "
            f"from d = {self.dim} on, with its 95 % "
            "interval, then step by step between the medians. Widths are those of the dense kinds. Predicted: 1.",
            header=["kind", "slope", *steps, f"bits per parameter at width {widest}"],
            blocks=[("", lines)],
        )


def _beside_1(slopes: dict[Kind, Slope]) -> dict[str, list[Kind]]:
    """Kinds by where their interval lies; nothing where no kind does."""
    found: dict[str, list[Kind]] = {"proportional": [], "less": [], "more": []}
    for kind, slope in slopes.items():
        how = "less" if slope.high < 1 else "more" if slope.low > 1 else "proportional"
        found[how].append(kind)
    return {how: kinds for how, kinds in found.items() if kinds}
