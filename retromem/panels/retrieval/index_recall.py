"""Panel: how much of the index survives its compression, asked in other words, and how does that fall as it grows?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from retrieval.vector_index import IndexSpec
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import series_of, spread_at
from retromem.panels.retrieval.rankers import HYBRID, LEXICAL, specs_among
from retromem.points import Point
from retromem.report.numerals import count_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.table_text import Cell, Table

RANKS = (1, 2, 5, 10)
NOISES = (0.1, 0.4)
"""|noise| / |key| of disturbed questions"""
_DRAWN = ("Flat", "RaBitQ", "LSH", "rot64-LSH", LEXICAL, HYBRID)


@dataclass(frozen=True, kw_only=True)
class IndexRecallConfig(PanelConfig):
    """recall@1, 2, 5 and 10 of the very fact that is asked for, by index, size and wording; cities and countries."""

    panel: Literal["index_recall"] = "index_recall"
    indexes: tuple[str, ...] = (
        "Flat",
        "SQ8",
        "SQ6",
        "SQ4",
        "PQ48np",
        "PQ48x4fs",
        "PQ96x4fs",
        "OPQ48_192,PQ48x4fs",
        "RaBitQ",
        "RaBitQ4",
        "LSH",
        "PCA128,SQ8",
        "rot64-SQ8",
        "rot64-LSH",
        "rot32-LSH",
        "rot64-RaBitQ",
        "IVF16,Flat",
        "IVF16,SQ8",
        "IVF16,PQ48x4fs",
        "HNSW16",
        "HNSW16,SQ8",
        "bm25",
        "hybrid",
    )
    """factory strings; rot64- before one is a seeded rotation to 64 dimensions; bm25; hybrid of that and Flat"""
    num_facts: tuple[int, ...] = (500, 1000, 2000, 4000)
    """nested prefixes of the set"""
    seeds: tuple[int, ...] = (0,)
    """of the shuffle of the set, and of the noise"""

    seconds_expected: ClassVar[float] = 90.0
    """of one seed, with keys in the cache"""

    def _whole(self, seed: int) -> KnowledgeSet:
        return build_knowledge(TextConfig(source="cities", pool=2, seed=seed)).prefix(max(self.num_facts))

    def index_specs(self, text_dim: int) -> list[tuple[IndexSpec, int]]:
        return specs_among(self.indexes, text_dim)

    def text_sets(self, seed: int) -> Sequence[KnowledgeSet]:
        whole = self._whole(seed)
        return [whole.prefix(num_facts) for num_facts in self.num_facts]  # a smaller set asks others of its questions

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.retrieval.index_recall_points import index_recall_points

        return index_recall_points(self, encoded(self._whole(seed)), seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        most = float(max(self.num_facts))
        asked = [phrasing for phrasing in _asked(points) if spread_at(points, f"recall_at_1, {phrasing}", "Flat", most)]
        return PanelPage(
            title="Recall of every index",
            answer=(
                "A smaller code finds the stored question again; asked in other words it loses more, and the more "
                "facts there are."
            ),
            finding=self._finding(points, asked, most),
            explained=[
                "Stored are the questions of cities in one wording (centred keys), by each index. Recall@k is the "
                "share of questions whose very own fact is among the k nearest: not its country, which other cities "
                "share. Asked in the very words (identical), in a wording that was written for other facts (seen), in "
                "one that was never written (heldout), by another name of the city (alias), and in the very words "
                f"with noise of {' and '.join(f'{noise:g}' for noise in NOISES)} of the length of the key.",
                "Flat is exact: what it misses, the encoder has lost. Everything below Flat is the price of the code. "
                "Bytes are those of the serialised index, codebooks and centroids included. bm25 ranks by shared "
                "words, hybrid fuses its ranking with Flat's by 1 / (60 + place); noise on a key is none on words.",
            ],
            charts=[
                Chart(
                    title=f"Recall@1, held out, {count_text(int(most))} facts",
                    quantities=["recall_by_bytes"],
                    x_label="bytes a fact",
                    y_label="recall@1",
                    x_scale="log",
                ),
                Chart(
                    title="Recall@1, held out, as the store grows",
                    quantities=["recall_at_1, heldout"],
                    x_label="facts",
                    y_label="recall@1",
                    x_scale="log",
                    series=[name for name in _DRAWN if name in self.indexes],
                ),
            ],
            tables=[self._table(points, asked, most)],
        )

    def _finding(self, points: Sequence[Point], asked: Sequence[str], most: float) -> str:
        exact = {phrasing: spread_at(points, f"recall_at_1, {phrasing}", "Flat", most) for phrasing in asked}
        said = ", ".join(f"{phrasing} {spread.median:.3f}" for phrasing, spread in exact.items() if spread)
        return f"Exact search among {most:,.0f} facts finds the very fact first: {said}."

    def _table(self, points: Sequence[Point], asked: Sequence[str], most: float) -> Table:
        lines = []
        for name in series_of(points, "bytes_a_fact"):
            size = spread_at(points, "bytes_a_fact", name, most)
            if size is None:
                continue
            cells = [Cell(text=name), Cell(text=significant_text(size.median))]
            for phrasing in asked:
                recalls = [spread_at(points, f"recall_at_{rank}, {phrasing}", name, most) for rank in RANKS]
                text = f"{recalls[0].median:.3f}" if recalls[0] else ""
                deeper = "/".join(f"{spread.median:.3f}"[1:] for spread in recalls[1:] if spread and spread.median < 1)
                cells.append(Cell(text=text, detail=f" {deeper}" if deeper else ""))
            lines.append(cells)
        return Table(
            caption=f"Recall@1 of the very fact among {most:,.0f}; small beside it: recall@2/5/10, where below 1.",
            header=["index", "bytes a fact", *asked],
            blocks=[("", lines)],
        )


def _asked(points: Sequence[Point]) -> list[str]:
    names = dict.fromkeys(point.quantity for point in points if point.quantity.startswith("recall_at_1, "))
    return [name.removeprefix("recall_at_1, ") for name in names]
