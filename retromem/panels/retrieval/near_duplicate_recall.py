"""Panel: how many facts can exact search tell apart, when their subjects differ in little?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from retrieval.vector_index import IndexSpec
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.near_duplicates import NearDuplicatesConfig, SubjectKind, near_duplicates_set
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import spread_at
from retromem.panels.points import Point
from retromem.panels.retrieval.rankers import HYBRID, LEXICAL, specs_among, vectors_and_words
from retromem.panels.spread_text import by_name, grid, known_curve, lines, median_cell, of_each, sentences, tables
from retromem.report.numerals import count_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.table_text import Cell, Table

KINDS: tuple[SubjectKind, ...] = ("names", "numbers")
ENOUGH = 0.95
"""recall@1 that must be kept"""


@dataclass(frozen=True, kw_only=True)
class NearDuplicatesPanelConfig(PanelConfig):
    """recall@1 in words that were never written, by how many subjects stand together and how many facts there are."""

    panel: Literal["near_duplicates"] = "near_duplicates"
    crowds: tuple[int, ...] = (1, 16, 256)
    """subjects that share a family name, or whose numbers follow one another"""
    num_facts: tuple[int, ...] = (128, 256, 512, 1024, 2048, 4096, 8192)
    """nested prefixes, whole crowds as far as they go"""
    rankers: tuple[str, ...] = ("Flat", "RaBitQ", "LSH", LEXICAL, HYBRID)
    """factory strings, bm25, hybrid"""
    seeds: tuple[int, ...] = (0,)
    """of the subjects and of the dealing of their values"""

    version: ClassVar[int] = 5
    seconds_expected: ClassVar[float] = 60.0
    """of one seed, with keys in the cache"""

    def __post_init__(self) -> None:
        super().__post_init__()
        for kind, crowd in self._series.values():
            self._set_config(kind, crowd, 0)  # a ValueError for what cannot be drawn

    @property
    def _series(self) -> dict[str, tuple[SubjectKind, int]]:
        """What stands together, by its name."""
        return {series_name(kind, crowd): (kind, crowd) for kind in KINDS for crowd in self.crowds}

    def sets(self, seed: int) -> dict[str, list[KnowledgeSet]]:
        """By what stands together: sets of rising size, nested."""
        found = {}
        for series, (kind, crowd) in self._series.items():
            whole = near_duplicates_set(self._set_config(kind, crowd, seed))
            found[series] = [whole.prefix(num_facts) for num_facts in self.num_facts]
        return found

    def _set_config(self, kind: SubjectKind, crowd: int, seed: int) -> NearDuplicatesConfig:
        return NearDuplicatesConfig(kind=kind, crowd=crowd, num_facts=max(self.num_facts), seed=seed)

    def index_specs(self, text_dim: int) -> list[tuple[IndexSpec, int]]:
        return specs_among(self.rankers, text_dim)

    def text_sets(self, seed: int) -> Sequence[KnowledgeSet]:
        return [part for parts in self.sets(seed).values() for part in parts]

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.retrieval.near_duplicate_recall_points import near_duplicates_points

        return near_duplicates_points(self, encoded, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        return PanelPage(
            title="Facts that are hard to tell apart",
            answer=sentences(points, self._answer),
            finding=sentences(points, self._finding),
            explained=[
                "Invented people with an employer, and samples with a depot; one fact each. The dial is the crowd: how "
                "many people share a family name, or how many samples have numbers that follow one another. A crowd "
                "lies together in the set, so that it is as large in a part as in the whole.",
                "Asked in a wording that was never written; recall@1 is the share of questions whose very own fact is "
                f"the nearest. The table says how many facts keep it at {ENOUGH:g}, drawn straight between the sizes "
                "measured, on a logarithmic scale; `>` where the largest size still does, `<` where the smallest does "
                "not.",
            ],
            charts=[
                Chart(
                    title="Recall@1 of exact search, held out",
                    quantities=["recall_at_1"],
                    labels={"ranker": "Flat"},
                    x_label="facts",
                    y_label="recall@1",
                    x_scale="log",
                    series=list(self._series),
                )
            ],
            tables=tables(points, self._table, self._recalls),
        )

    def _answer(self, points: Sequence[Point]) -> str:
        ends = [name for name, (_, crowd) in self._series.items() if crowd in (min(self.crowds), max(self.crowds))]
        measured = list(of_each(lambda name: self._held(points, name, self._series), self.rankers))
        said = of_each(lambda name: self._held(points, name, ends), vectors_and_words(measured))
        called = {"Flat": "exact search", LEXICAL: "BM25"}
        listed = [
            f"{called.get(name, name)} ({'; '.join(f'{series} {held}' for series, held in found.items())})"
            for name, found in said.items()
        ]
        return f"Facts until recall on paraphrases falls below {ENOUGH:g}: {', '.join(listed)}."

    def _held(self, points: Sequence[Point], name: str, series: Iterable[str]) -> dict[str, str]:
        return of_each(lambda one: facts_held(points, name, one), series)

    def _finding(self, points: Sequence[Point]) -> str:
        ranker = next(iter(of_each(lambda name: self._held(points, name, self._series), self.rankers)))
        by_kind: dict[str, list[str]] = {}
        for name, held in self._held(points, ranker, self._series).items():
            kind, crowd = self._series[name]
            by_kind.setdefault(kind, []).append(f"{crowd}: {held}")
        said = "; ".join(f"{kind} in crowds of {', '.join(held)}" for kind, held in by_kind.items())
        how = "exact search" if ranker == "Flat" else ranker
        return f"Facts that {how} keeps at {ENOUGH:g} paraphrased, {said}."

    def _table(self, points: Sequence[Point]) -> Table:
        def cell(name: str, ranker: str) -> Cell:
            return next(iter(lines(lambda one: Cell(text=facts_held(points, ranker, one)), [name])), Cell(text="–"))

        caption = f"Facts whose very own chunk is found first for {ENOUGH:.0%} of the questions, paraphrased."
        return grid(points, caption, "subjects", by_name(self._series), by_name(self.rankers), cell)

    def _recalls(self, points: Sequence[Point]) -> Table:
        def cell(name: str, ranker: str) -> Cell:
            return median_cell(spread_at(points, "recall_at_1", name, most, ranker=ranker), "{:.3f}".format)

        most = max((point.x for point in points if point.x is not None), default=0.0)
        caption = f"Recall@1 on paraphrases among {count_text(most)} facts."
        return grid(points, caption, "subjects", by_name(self._series), by_name(self.rankers), cell)


def series_name(kind: SubjectKind, crowd: int) -> str:
    """What stands together."""
    return f"{kind}, alone" if crowd == 1 else f"{kind}, {crowd} together"


def facts_held(points: Sequence[Point], ranker: str, series: str) -> str:
    """The most facts at which the recall is `ENOUGH`, from the medians at the sizes measured."""
    recalls = known_curve(points, "recall_at_1", series, ranker=ranker)
    medians = {size: spread.median for size, spread in recalls.items()}
    held = [size for size, recall in medians.items() if recall >= ENOUGH]
    if not held:
        return f"< {min(medians):,.0f}"
    last = max(held)
    beyond = [size for size in medians if size > last]
    if not beyond:
        return f"> {last:,.0f}"
    share = (medians[last] - ENOUGH) / (medians[last] - medians[beyond[0]])
    return f"{last * (beyond[0] / last) ** share:,.0f}"
