"""Panel: how many sparse features share a dimension, in the toy model of superposition."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import known_curve, sentences
from retromem.report.numerals import significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import num_seeds


@dataclass(frozen=True, kw_only=True)
class ToyFeaturesConfig(PanelConfig):
    """Sparse features in fewer dimensions, over feature probabilities (Elhage et al. 2022)."""

    panel: Literal["toy_features"] = "toy_features"
    num_features: int = 80
    """of the input"""
    dim: int = 20
    """hidden dimensions"""
    steps: int = 3000
    """of training"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of first weights and of inputs"""

    seconds_expected: ClassVar[float] = 30.0
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"seeds"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim >= self.num_features:
            raise ValueError(f"dim must be less than num_features, {self.num_features}, not {self.dim}")

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.theory.toy_features_points import toy_features_points

        return toy_features_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        over_probability = partial(Chart, x_label="feature probability", x_scale="log")
        return PanelPage(
            title="Superposition: the toy model",
            answer=sentences(points, _shared, _settled),
            finding=sentences(points, self._finding),
            explained=[
                "x' = relu(W'Wx + b) is trained to give back features that are present with probability p. Dimensions "
                "per feature is the hidden dimension over |W|^2. A feature's dimensionality is the share of a "
                "direction it has for itself: 1 alone, 1/2 with an antipode, less with more company.",
                "The formulas are the two published plateaus: 1 where features are dense, 1/2 where they are sparse. "
                "With every feature represented at length 1 it is hidden dimension over features; "
                "features longer than 1 push it below.",
                "This counts features of inputs. What it says of facts in the weights of an FFN is the next panel's "
                "question.",
            ],
            charts=[
                over_probability(
                    title="Dimensions per feature",
                    quantities=["dimensions_per_feature"],
                    y_label="dimensions per feature",
                ),
                over_probability(
                    title="Dimensionality of single features",
                    quantities=["feature_dimensionality"],
                    y_label="share of a direction of its own",
                ),
            ],
        )

    def _finding(self, points: Sequence[Point]) -> str:
        rarest, together = _at_rarest(points)
        dims = spread_at(points, "dimensions_per_feature", "trained", rarest)
        beside = f", and the hidden dimension over |W|^2 is {significant_text(dims.median)}" if dims else ""
        return (
            f"{self.num_features} sparse features in {self.dim} dimensions: at feature probability "
            f"{significant_text(rarest)} there are {significant_text(together)} features that are represented for each "
            f"dimension{beside}."
        )


def _at_rarest(points: Sequence[Point]) -> tuple[float, float]:
    """The lowest feature probability, and features represented for each dimension there."""
    together = known_curve(points, "features_per_dimension", "trained")
    rarest = min(together)
    return rarest, together[rarest].median


def _shared(points: Sequence[Point]) -> str:
    rarest, together = _at_rarest(points)
    how = "share dimensions" if together > 1 else "do not share dimensions"
    return (
        f"Sparse features {how}: at probability {significant_text(rarest)} {significant_text(together)} of them are "
        "represented for each dimension."
    )


def _settled(points: Sequence[Point]) -> str:
    plateau = spread_at(points, "plateau", "trained")
    if plateau is None:
        known_curve(points, "dimensions_per_feature", "trained")
        return "Dimensions per feature never settled where some features are left out."
    tried = num_seeds(points)
    where = f" in {plateau.num_seeds} of {tried} seeds" if plateau.num_seeds < tried else ""
    return (
        f"Dimensions per feature settled at {significant_text(plateau.median)}{where} (published: 1/2, antipodal "
        "pairs)."
    )
