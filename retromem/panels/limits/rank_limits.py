"""Panel: does low rank cost capacity? Asked by intervention: matrices of limited rank, and trained ones cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from models.any_ffn import sized
from models.ffn_kinds import DenseConfig, GatedConfig
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import curve, spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import against, known, known_curve, of_each, sentences, spread_cell, tables
from retromem.report.numerals import list_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import medians_text
from retromem.report.table_text import Cell, Table

FULL_RANK = "no limit"
ARMS = {
    "both": "both matrices limited",
    "in": "only the matrix in limited",
    "out": "only the matrix out limited",
}
GUIDE_LINE = "2.06 bits per free parameter, both limited"
CHANCE = "chance"
CUTS = {"effective rank": None, "3/4 of the rank": 0.75, "1/2 of the rank": 0.5, "1/4 of the rank": 0.25}
"""what is kept -> its share of the full rank; the effective one, another in each matrix, has no place on an axis"""
LOADS = (0.5, 0.95)
"""of what the FFN can hold"""


@dataclass(frozen=True, kw_only=True)
class RankLimitsConfig(PanelConfig):
    """Capacity with matrices of limited rank at equal parameters, and what truncation of trained ones loses."""

    panel: Literal["rank_limits"] = "rank_limits"
    dim: int = 16
    """of keys and codes"""
    num_params: int = 1024
    """of each FFN, at most"""
    num_values: int = 16
    """that a fact can have"""
    ranks: tuple[int, ...] = (2, 4, 8)
    """of the limited matrices; an FFN with the same parameters must have at least as many hidden units"""
    steps: int = 3000
    """of each training, at most"""
    resolution: float = 0.05
    """of the searches for the capacity, relative"""

    seconds_expected: ClassVar[float] = 60.0
    version: ClassVar[int] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.ranks) > self.dim:
            raise ValueError(f"ranks must lie between 1 and dim, which is {self.dim}, not {self.ranks}")
        # One hidden unit between two products.
        smallest = 2 * max(self.ranks) * (self.dim + 1)
        if smallest > self.num_params:
            raise ValueError(f"num_params must be {smallest:,} or more for rank {max(self.ranks)}")
        # A gated unit is the largest; this says the smallest size where it does not fit.
        sized(self.cut_kinds["swiglu"], self.num_params, self.dim, self.dim)

    @property
    def cut_kinds(self) -> dict[str, DenseConfig | GatedConfig]:
        """Kinds whose trained matrices are truncated."""
        return {"relu": DenseConfig(kind="relu"), "swiglu": GatedConfig(kind="swiglu")}

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.limits.rank_limits_points import rank_limits_points

        return rank_limits_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        return PanelPage(
            title="Correlated parameters: rank as a cause",
            answer=sentences(points, _full, _at_best),
            finding=sentences(points, _of_full, self._limited, _of_free, self._cut),
            explained=[
                f"Limited: ReLU FFNs learn random keys in {self.dim} dimensions, each with one of {self.num_values} "
                f"values, in at most {self.steps:,} steps on all facts. A matrix of rank r is a product of two thin "
                f"ones, trained together; hidden units are as many as about {self.num_params:,} parameters allow, so "
                "lower rank means a wider layer. Capacity is the largest number of facts at accuracy .99, searched to "
                f"{percent_text(self.resolution)}.",
                "A product of rank r has r x r numbers less to choose than it has parameters, since any invertible r x "
                "r matrix can be moved from one factor to the other. The dashed line is the published 2.06 bits for "
                "each of those that remain: what is held if the number of free parameters were all that counts. "
                "Products of full rank are the FFN without limit, written with more parameters of which as many are "
                "free: counted by the free ones, they show what training products costs by itself.",
                f"The two sides differ in what they are asked for: keys fill all {self.dim} dimensions, but "
                f"{self.num_values} values can be told apart in two, each in a direction of its own, so that a matrix "
                "out of rank 2 forbids no answer and leaves its parameters to more hidden units.",
                "Cut: trained FFNs at 50 % and 95 % of their capacity, all matrices replaced by the nearest ones of "
                "lower rank (Eckart and Young), without training again. The reference is Gaussian noise with the "
                "length, matrix by matrix, of what was cut: the damage of any change of that size. Bits of cut "
                "FFNs are the demand less the list of corrections to wrong answers; capacities are facts times the "
                "bits of a fact.",
            ],
            charts=[
                Chart(
                    title="Capacity with limited rank, equal parameters",
                    quantities=["bits_per_param"],
                    x_label=f"rank of the limited matrices, {self.dim} at most",
                    y_label="bits per parameter at accuracy .99",
                    x_scale="log",
                    series=[FULL_RANK, *ARMS.values(), GUIDE_LINE],
                ),
                Chart(
                    title="Accuracy of trained FFNs once cut",
                    quantities=["accuracy_cut"],
                    x_label="rank kept, of the full one",
                    y_label="accuracy",
                    series=[*self._all_cut, CHANCE],
                    percent=True,
                ),
            ],
            tables=tables(points, self._cut_table),
        )

    def cut_series(self, kind: str, load: float) -> str:
        return f"{kind}, {percent_text(load)} load"

    def _limited(self, points: Sequence[Point]) -> str:
        full = next(iter(curve(points, "bits_per_param", FULL_RANK).values()), None)

        def said(name: str) -> str:
            limited = known_curve(points, "bits_per_param", name)
            lowest, best = min(limited), max(limited, key=lambda rank: limited[rank].median)
            compared = against(limited[best], full, resolution=self.resolution) if full else ""
            beside = f" (against no limit: {compared})" if compared else ""
            at_best = f"{significant_text(limited[best].median)} at best, at rank {best:.0f}{beside}"
            if lowest == best:
                return f"{name}: {at_best}"
            return f"{name}: {significant_text(limited[lowest].median)} at rank {lowest:.0f} and {at_best}"

        return f"With {'; '.join(of_each(said, ARMS.values()).values())}."

    def _cut(self, points: Sequence[Point]) -> str:
        def said(series: str) -> str:
            cut = known(points, "accuracy_cut", series)
            noise = spread_at(points, "accuracy_noise", series)
            beside = f" (noise of that size {percent_text(noise.median)})" if noise else ""
            return f"{series}: {percent_text(cut.median)}{beside}"

        told = list_text(list(of_each(said, self._all_cut).values()))
        return f"Cut to their effective rank, trained matrices keep this accuracy: {told}."

    @property
    def _all_cut(self) -> list[str]:
        return [self.cut_series(kind, load) for load in LOADS for kind in self.cut_kinds]

    def _cut_table(self, points: Sequence[Point]) -> Table:
        columns = {
            "accuracy_cut": percent_text,
            "accuracy_noise": percent_text,
            "energy_cut": percent_text,
            "bits_per_param_cut": significant_text,
        }

        def block(series: str) -> list[list[Cell]]:
            accuracy, bits = (spread_at(points, of, series) for of in ("accuracy_uncut", "bits_per_param_uncut"))
            lines = [[Cell(text="not cut"), spread_cell(accuracy, percent_text), Cell(), Cell(), spread_cell(bits)]]
            for name, share in CUTS.items():
                kept = spread_at(points, "rank_kept", series) if share is None else None
                cells = [spread_cell(spread_at(points, of, series, share), text) for of, text in columns.items()]
                lines.append([Cell(text=f"{name} (mean {significant_text(kept.median)})" if kept else name), *cells])
            return lines

        return Table(
            caption=f"Trained FFNs whose matrices were cut to a lower rank. {medians_text(points)}",
            header=["", "accuracy", "with noise of that size", "sum of squares cut away", "bits per parameter"],
            blocks=[(series, block(series)) for series in self._all_cut],
        )


def _full_bits(points: Sequence[Point]) -> str:
    """The same at every rank."""
    return significant_text(next(iter(known_curve(points, "bits_per_param", FULL_RANK).values())).median)


def _full(points: Sequence[Point]) -> str:
    return f"At equal parameters an FFN holds {_full_bits(points)} bits per parameter."


def _at_best(points: Sequence[Point]) -> str:
    best = of_each(
        lambda name: max(spread.median for spread in known_curve(points, "bits_per_param", name).values()),
        ARMS.values(),
    )
    said = list_text([f"{significant_text(bits)} with {name}" for name, bits in best.items()])
    return f"With low rank an FFN holds, at best, {said}."


def _of_full(points: Sequence[Point]) -> str:
    product = spread_at(points, "bits_per_free_param", FULL_RANK)
    beside = f" (products of full rank: {significant_text(product.median)} by free parameters)" if product else ""
    return f"At equal parameters an FFN without limit holds {_full_bits(points)} bits per parameter{beside}."


def _of_free(points: Sequence[Point]) -> str:
    by_free = known_curve(points, "bits_per_param", GUIDE_LINE)
    lowest = min(by_free)
    return (
        f"Free parameters alone would give {significant_text(by_free[lowest].median)} with both at rank {lowest:.0f}."
    )
