"""Panel: how much of the index survives its compression, asked in other words, and how does that fall as it grows?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

from retrieval.vector_index import IndexSpec
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import series_of, spread_at
from retromem.panels.points import Point
from retromem.panels.retrieval.rankers import HYBRID, LEXICAL, specs_among, vectors_and_words
from retromem.panels.spread_text import (
    known,
    known_curve,
    least_and_most,
    lines,
    median_cell,
    medians_table,
    of_each,
    sentences,
    tables,
)
from retromem.report.numerals import count_text, list_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.table_text import Cell, Table

RANKS = (1, 2, 5, 10)
NOISES = (0.1, 0.4)
"""|noise| / |key| of disturbed questions"""
EXACT = "Flat"
_SAID = {"identical": "of the questions as written", "heldout": "of those paraphrased"}
_DRAWN = (EXACT, "RaBitQ", "LSH", "rot64-LSH", LEXICAL, HYBRID)


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

    version: ClassVar[int] = 6
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

    @property
    def _ranked_by(self) -> str:
        told = {
            EXACT: "Flat is exact: what it misses, the encoder has lost, and what another index of vectors misses "
            "beyond that is the price of its code.",
            LEXICAL: "bm25 ranks by shared words; noise on a key is none on them.",
            HYBRID: "hybrid fuses the ranking of bm25 with that of Flat by 1 / (60 + place).",
        }
        said = [text for name, text in told.items() if name in self.indexes]
        return " ".join(["Bytes are those of the stored index, codebooks and centroids included.", *said])

    def page(self, points: Sequence[Point]) -> PanelPage:
        return PanelPage(
            title="Recall of every index",
            answer=sentences(points, _of_smallest, _in_new_words),
            finding=sentences(points, _of_exact, _from_least_to_most),
            explained=[
                "Stored are the questions of cities in one wording (centred keys), by each index. Recall@k is the "
                "share of questions whose very own fact is among the k nearest: not its country, which other cities "
                "share. Asked in the very words (identical), in a wording that was written for other facts (seen), in "
                "one that was never written (heldout), by another name of the city (alias), and in the very words "
                f"with noise of {' and '.join(f'{noise:g}' for noise in NOISES)} of the length of the key.",
                self._ranked_by,
            ],
            charts=[
                Chart(
                    title=f"Recall@1, held out, {count_text(max(self.num_facts))} facts",
                    quantities=["recall_by_bytes"],
                    x_label="bytes a fact",
                    y_label="recall@1",
                    x_scale="log",
                ),
                Chart(
                    title="Recall@1, held out, as the store grows",
                    quantities=["recall_at_1"],
                    labels={"asked": "heldout"},
                    x_label="facts",
                    y_label="recall@1",
                    x_scale="log",
                    series=[name for name in _DRAWN if name in self.indexes],
                ),
            ],
            tables=tables(points, _table),
        )


def _largest(points: Sequence[Point], quantity: str = "bytes_a_fact", **labels: str) -> float:
    """The most facts of which some index has this."""
    names = series_of(points, quantity, **labels)
    return max(of_each(lambda name: max(known_curve(points, quantity, name, **labels)), names).values())


def _found(points: Sequence[Point], name: str, num_facts: float) -> str:
    """The share of its own facts that an index finds first, in each way to ask that the answer is about."""
    shares = of_each(
        lambda phrasing: percent_text(known(points, "recall_at_1", name, num_facts, asked=phrasing).median), _SAID
    )
    return list_text([f"{share} {_SAID[phrasing]}" for phrasing, share in shares.items()])


def _of_smallest(points: Sequence[Point]) -> str:
    """What the smallest code of vectors finds, beside exact search."""
    most = _largest(points)
    sizes = of_each(
        lambda name: known(points, "bytes_a_fact", name, most).median,
        [name for name in series_of(points, "bytes_a_fact") if name not in (LEXICAL, HYBRID)],
    )
    smallest = min(sizes, key=lambda name: sizes[name])
    said = (
        f"Among {count_text(most)} facts the smallest code tried, {smallest} of {significant_text(sizes[smallest])} "
        f"bytes a fact, finds the very fact first in {_found(points, smallest, most)}"
    )
    if EXACT in sizes and smallest != EXACT:
        said += f"; exact search, of {significant_text(sizes[EXACT])}, in {_found(points, EXACT, most)}"
    return f"{said}."


def _in_new_words(points: Sequence[Point]) -> str:
    """As the store grows."""
    recall, ends = partial(known, points, "recall_at_1", asked="heldout"), {}
    for name in vectors_and_words(series_of(points, "recall_at_1", asked="heldout")):
        recalls = known_curve(points, "recall_at_1", name, asked="heldout")
        if len(recalls) > 1:
            ends[name] = min(recalls), max(recalls)
    said = of_each(
        lambda name: " and ".join(
            f"{percent_text(recall(name, num_facts).median)} among {count_text(num_facts)}" for num_facts in ends[name]
        ),
        ends,
    )
    told = "; ".join(f"{found} by {name}" for name, found in said.items())
    return f"On paraphrases the very fact comes first in {told}."


def _of_exact(points: Sequence[Point]) -> str:
    most = _largest(points)
    exact = of_each(lambda phrasing: known(points, "recall_at_1", EXACT, most, asked=phrasing), _asked(points))
    said = ", ".join(f"{phrasing} {spread.median:.3f}" for phrasing, spread in exact.items())
    return f"Exact search among {count_text(most)} facts finds the very fact first: {said}."


def _from_least_to_most(points: Sequence[Point]) -> str:
    most = _largest(points, "recall_at_1", asked="heldout")
    names = series_of(points, "recall_at_1", asked="heldout")
    found = of_each(lambda name: known(points, "recall_at_1", name, most, asked="heldout").median, names)
    said = " to ".join(f"{found[name]:.3f} ({name})" for name in least_and_most(found))
    return f"In words that were never written indexes find {said} of them first."


def _table(points: Sequence[Point]) -> Table:
    most, asked = _largest(points), _asked(points)

    def line(name: str) -> list[Cell]:
        cells = [Cell(text=name), Cell(text=significant_text(known(points, "bytes_a_fact", name, most).median))]
        for phrasing in asked:
            first, *deeper = (spread_at(points, f"recall_at_{rank}", name, most, asked=phrasing) for rank in RANKS)
            beyond = "/".join(f"{spread.median:.3f}"[1:] for spread in deeper if spread and spread.median < 1)
            cells.append(replace(median_cell(first, "{:.3f}".format), detail=f" {beyond}" if beyond else ""))
        return cells

    caption = f"Recall@1 of the very fact among {count_text(most)}; small beside it: recall@2/5/10, where below 1."
    rows = lines(line, series_of(points, "bytes_a_fact"))
    return medians_table(points, caption, ["index", "bytes a fact", *asked], rows)


def _asked(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(point.labels["asked"] for point in points if point.quantity == "recall_at_1"))
