"""Panel: how many dimensions the codes of values should have."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from models.any_ffn import sized
from models.ffn_kinds import GatedConfig
from retromem.panels.panel_config import Encoded, PanelConfig, check_facts
from retromem.panels.point_spread import curve
from retromem.panels.points import Point
from retromem.panels.spread_text import NotMeasured, known_curve, of_each, sentences
from retromem.report.numerals import list_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage


@dataclass(frozen=True, kw_only=True)
class CodeDimensionConfig(PanelConfig):
    """SwiGLU FFNs of equal parameters, their frozen random value codes in few or many dimensions."""

    panel: Literal["code_dimension"] = "code_dimension"
    dim: int = 32
    """of the keys"""
    num_values: int = 32
    """drawn uniformly"""
    num_params: int = 4128
    """of each FFN, at most: fewer output columns buy more hidden units"""
    code_dims: tuple[int, ...] = (2, 3, 4, 8, 32)
    """of the value codes; each is searched for its capacity"""
    steps: int = 3000
    """full-batch steps of the capacities"""
    long_steps: int = 6000
    """of the one load that is tried at length, at `long_dim`"""
    long_dim: int = 3
    """of the value codes there"""
    long_bits_per_param: float = 3.05
    """the load"""
    noisy_bits_per_param: float = 2.0
    """the load at which keys are moved"""

    seconds_expected: ClassVar[float] = 160.0
    version: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for code_dim in sorted({*self.code_dims, self.long_dim}, reverse=True):
            # Says the smallest size where it does not fit, that of the most dimensions first.
            ffn = sized(GatedConfig(), self.num_params, self.dim, code_dim)
            lowest_load = min(self.long_bits_per_param, self.noisy_bits_per_param)
            num_facts = int(lowest_load * ffn.num_params(self.dim, code_dim) / math.log2(self.num_values))
            check_facts(num_facts, 2, "raise long_bits_per_param and noisy_bits_per_param, or num_params")

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.limits.code_dimension_points import code_dimension_points

        return code_dimension_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        by_dim = partial(Chart, x_label="dimensions of a value's code", x_scale="log")
        return PanelPage(
            title="How values are coded",
            answer=sentences(points, _answer),
            finding=sentences(points, _of_capacity, self._of_noise, self._at_length),
            explained=[
                f"SwiGLU, keys of {self.dim} dimensions, {self.num_values} values, {self.num_params:,} float32 "
                f"parameters at most, capacity at accuracy .99 after {self.steps:,} full-batch steps of Adam. The "
                "codes of the values are random unit vectors, frozen and stored nowhere; only their dimension changes.",
                "Every dimension of a code costs a weight for each hidden unit. Where a few numbers can tell the "
                "values apart, those weights do more as further units.",
                "The dashed lines, both for 32 dimensions and values, are the published guide line of ReLU FFNs (2.08) "
                "and the densest construction of this project, values as levels of one score, without gradient "
                "descent (3.6).",
                "Keys moved by a tenth of their length are asked at one load for all, "
                f"{significant_text(self.noisy_bits_per_param)} bits per parameter.",
            ],
            charts=[
                by_dim(title="Capacity", quantities=["bits_per_param"], y_label="bits per parameter"),
                by_dim(
                    title=f"Keys moved by a tenth, at {significant_text(self.noisy_bits_per_param)} bits per parameter",
                    quantities=["accuracy at key noise .1"],
                    y_label="right answers",
                    percent=True,
                ),
            ],
        )

    def _of_noise(self, points: Sequence[Point]) -> str:
        noisy = known_curve(points, "accuracy at key noise .1", "SwiGLU")
        densest, widest = _densest_and_widest(points)
        said = of_each(
            lambda dim: f"{percent_text(noisy[dim].median)} with codes in {dim:g} dimensions",
            [dim for dim in dict.fromkeys([densest, widest]) if dim in noisy],
        )
        return (
            f"At {significant_text(self.noisy_bits_per_param)} bits, with keys moved by .1, are right: "
            f"{list_text(list(said.values()))}."
        )

    def _at_length(self, points: Sequence[Point]) -> str:
        tried = [point for point in points if point.quantity == "accuracy at length"]
        if not tried:
            raise NotMeasured("accuracy at length")
        held = sum(point.y >= 0.99 for point in tried)
        seeds = "the one seed" if len(tried) == 1 else f"{len(tried)} seeds"
        return (
            f"Trained for {self.long_steps:,} steps in {self.long_dim} dimensions, "
            f"{significant_text(self.long_bits_per_param)} bits per parameter are held by {held} of {seeds}."
        )


def _densest_and_widest(points: Sequence[Point]) -> tuple[float, float]:
    density = known_curve(points, "bits_per_param", "SwiGLU")
    return max(density, key=lambda dim: density[dim].median), max(density)


def _answer(points: Sequence[Point]) -> str:
    density = curve(points, "bits_per_param", "SwiGLU")
    densest, widest = _densest_and_widest(points)
    said = (
        f"Value codes in {densest:g} dimensions let a parameter hold {significant_text(density[densest].median)} bits"
    )
    if densest == widest:
        others = {dim: spread.median for dim, spread in density.items() if dim != widest}
        beside = f", codes in fewer {significant_text(max(others.values()))} at best" if others else ""
        return f"{said}{beside}."
    return f"{said}, codes in {widest:g} dimensions {significant_text(density[widest].median)}."


def _of_capacity(points: Sequence[Point]) -> str:
    density = known_curve(points, "bits_per_param", "SwiGLU")
    said = [f"{significant_text(spread.median)} in {dim:g}" for dim, spread in density.items()]
    return f"At equal parameters value codes hold this many bits per parameter, by their dimensions: {list_text(said)}."
