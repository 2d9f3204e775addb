"""Panel: how many documents can vectors of d dimensions rank in every combination?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import comb
from typing import ClassVar, Literal

from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import curve
from retromem.panels.points import Point
from retromem.panels.spread_text import known_curve, of_each, sentences
from retromem.report.numerals import list_text, significant_text
from retromem.report.panel_page import Chart, PanelPage

TRAINED, CUBIC = "free embeddings, trained", "published cubic"
FORMATS = ("float64", "float32", "float16")


@dataclass(frozen=True, kw_only=True)
class EmbeddingLimitsConfig(PanelConfig):
    """Free embeddings by training beside a closed form in 2 k dimensions, in several number formats; k = 2."""

    panel: Literal["embedding_limits"] = "embedding_limits"
    dims: tuple[int, ...] = (2, 3, 4, 5)
    """of the trained vectors; 8 takes minutes"""
    trainings: int = 8
    """at least half of which must solve a number of documents for it to count"""
    steps: int = 100_000
    """of each training, at most"""
    num_documents: tuple[int, ...] = (10, 24, 46, 100, 300)
    """on the moment curve, in d = 4"""
    seeds: tuple[int, ...] = (0,)
    """of first vectors: each seed has trainings of its own"""

    seconds_expected: ClassVar[float] = 240.0
    """of one seed"""
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"seeds"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.num_documents) < 3:
            raise ValueError(f"num_documents must be 3 or more, not {min(self.num_documents)}: pairs need a third")

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.retrieval.embedding_limits_points import embedding_limits_points

        return embedding_limits_points(self, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        of_curve = partial(Chart, x_label="documents", x_scale="log")
        return PanelPage(
            title="What dimensions of an embedding can rank",
            answer=sentences(points, _trained, _closed_form),
            finding=sentences(points, _by_dimension, _by_format, _gap),
            explained=[
                "Every pair of N documents is the answer of one query: can the two be its nearest? Free embeddings "
                "have no encoder: queries and documents are vectors, trained directly (InfoNCE at temperature .1 over "
                "all documents, Adam; Weller et al. 2025). Charted is the largest N that at least half of "
                f"{self.trainings} trainings solve, beside the cubic that was fitted to the same experiment; it is no "
                "guide below d = 8.",
                "The moment curve is a closed form in d = 4: document i is (t, t^2, t^3, t^4) at a Chebyshev point t, "
                "and the query of a pair is minus the polynomial that touches 0 at both. Every pair is then ranked "
                "first, whatever N (arXiv 2601.20844): geometry sets no limit. But the gap to the next document "
                "shrinks with N, and once it is below what a number format can tell, pairs are lost: tried are "
                f"{list_text([f'{num:,}' for num in sorted(self.num_documents)])} documents.",
            ],
            charts=[
                Chart(
                    title="Documents in every pair",
                    quantities=["documents"],
                    x_label="dimensions",
                    y_label="documents",
                    y_scale="log",
                ),
                of_curve(
                    title="Curve, d = 4: pairs lost", quantities=["share_of_pairs_lost"], y_label="share of pairs lost"
                ),
                of_curve(
                    title="Curve, d = 4: gap", quantities=["margin"], y_label="gap of inner products", y_scale="log"
                ),
            ],
        )


def _trained(points: Sequence[Point]) -> str:
    trained = known_curve(points, "documents", TRAINED)
    dim = min(trained, key=lambda dim: (abs(dim - 4), dim))
    return f"By training, vectors of {dim:g} dimensions rank every pair of {trained[dim].median:g} documents."


def _closed_form(points: Sequence[Point]) -> str:
    held = of_each(lambda name: _most_held(points, name), FORMATS)
    said = list_text([f"{most} in {name}" for name, most in held.items()])
    return f"By a closed form, vectors of 4 dimensions rank every pair of {said}."


def _by_dimension(points: Sequence[Point]) -> str:
    cubic, said = curve(points, "documents", CUBIC), []
    for dim, spread in known_curve(points, "documents", TRAINED).items():
        beside = f" (cubic {cubic[dim].median:.1f})" if dim in cubic else ""
        said.append(f"{spread.median:g} at d = {dim:g}{beside}")
    return f"Trained free embeddings rank every pair of {', '.join(said)} documents."


def _by_format(points: Sequence[Point]) -> str:
    held = of_each(lambda name: _most_held(points, name), FORMATS)
    said = ", ".join(f"{name} {most}" for name, most in held.items())
    return f"The closed form in d = 4 ranks every pair of as many documents as were tried in {said}."


def _gap(points: Sequence[Point]) -> str:
    gaps = known_curve(points, "margin", "moment curve")
    most = max(gaps)
    return (
        f"At {most:,.0f} documents ({comb(int(most), 2):,} pairs) its smallest gap is "
        f"{significant_text(gaps[most].median)}."
    )


def _most_held(points: Sequence[Point], number_format: str) -> str:
    """The most documents no pair of which is lost."""
    lost = known_curve(points, "share_of_pairs_lost", number_format)
    whole = [num for num, spread in lost.items() if spread.median == 0]
    return f"{max(whole):,.0f}" if whole else f"fewer than {min(lost):g}"
