"""Panel: how many facts can exact search tell apart, when their subjects differ in little?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from retrieval.vector_index import IndexSpec
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.near_duplicates import NearDuplicatesConfig, SubjectKind, near_duplicates_set
from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.point_spread import curve, spread_at
from retromem.panels.retrieval.rankers import HYBRID, LEXICAL, specs_among
from retromem.points import Point
from retromem.report.numerals import count_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.table_text import Cell, Table

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

    seconds_expected: ClassVar[float] = 60.0
    """of one seed, with keys in the cache"""

    def __post_init__(self) -> None:
        super().__post_init__()
        for kind in self.kinds:
            for crowd in self.crowds:
                self._set_config(kind, crowd, 0)  # a ValueError for what cannot be drawn

    @property
    def kinds(self) -> tuple[SubjectKind, ...]:
        return ("names", "numbers")

    def sets(self, seed: int) -> dict[str, list[KnowledgeSet]]:
        """By what stands together: sets of rising size, nested."""
        found = {}
        for kind in self.kinds:
            for crowd in self.crowds:
                whole = near_duplicates_set(self._set_config(kind, crowd, seed))
                found[series_name(kind, crowd)] = [whole.prefix(num_facts) for num_facts in self.num_facts]
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
        series = [series_name(kind, crowd) for kind in self.kinds for crowd in self.crowds]
        return PanelPage(
            title="Facts that are hard to tell apart",
            answer=self._answer(points),
            finding=self._finding(points),
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
                    quantities=["recall_at_1, Flat"],
                    x_label="facts",
                    y_label="recall@1",
                    x_scale="log",
                    series=series,
                )
            ],
            tables=[self._table(points, series), self._recalls(points, series)],
        )

    def _answer(self, points: Sequence[Point]) -> str:
        said = []
        for name in self.rankers:
            if name not in ("Flat", LEXICAL):
                continue
            held = [
                f"{series} {facts_held(points, name, series)}"
                for kind in self.kinds
                for series in dict.fromkeys(series_name(kind, crowd) for crowd in (min(self.crowds), max(self.crowds)))
            ]
            said.append(f"{'exact search' if name == 'Flat' else 'BM25'} ({'; '.join(held)})")
        return f"Facts until recall in new words falls below {ENOUGH:g}: {', '.join(said)}."

    def _finding(self, points: Sequence[Point]) -> str:
        said = []
        for kind in self.kinds:
            held = [f"{crowd}: {facts_held(points, 'Flat', series_name(kind, crowd))}" for crowd in self.crowds]
            said.append(f"{kind} in crowds of " + ", ".join(held))
        return f"Facts that exact search keeps at {ENOUGH:g} in new words, " + "; ".join(said) + "."

    def _table(self, points: Sequence[Point], series: Sequence[str]) -> Table:
        lines = [
            [Cell(text=name), *(Cell(text=facts_held(points, ranker, name)) for ranker in self.rankers)]
            for name in series
        ]
        return Table(
            caption=f"Facts whose very own chunk is found first for {ENOUGH:.0%} of the questions, in new words.",
            header=["subjects", *self.rankers],
            blocks=[("", lines)],
        )

    def _recalls(self, points: Sequence[Point], series: Sequence[str]) -> Table:
        most = float(max(self.num_facts))
        lines = []
        for name in series:
            spreads = [spread_at(points, f"recall_at_1, {ranker}", name, most) for ranker in self.rankers]
            lines.append(
                [Cell(text=name), *(Cell(text=f"{spread.median:.3f}" if spread else "") for spread in spreads)]
            )
        return Table(
            caption=f"Recall@1 in new words among {count_text(int(most))} facts.",
            header=["subjects", *self.rankers],
            blocks=[("", lines)],
        )


def series_name(kind: SubjectKind, crowd: int) -> str:
    """What stands together."""
    return f"{kind}, alone" if crowd == 1 else f"{kind}, {crowd} together"


def facts_held(points: Sequence[Point], ranker: str, series: str) -> str:
    """The most facts at which the recall is `ENOUGH`, from the medians at the sizes measured."""
    medians = {size: spread.median for size, spread in curve(points, f"recall_at_1, {ranker}", series).items()}
    if not medians:
        return ""
    held = [size for size, recall in medians.items() if recall >= ENOUGH]
    if not held:
        return f"< {min(medians):,.0f}"
    last = max(held)
    beyond = [size for size in medians if size > last]
    if not beyond:
        return f"> {last:,.0f}"
    share = (medians[last] - ENOUGH) / (medians[last] - medians[beyond[0]])
    return f"{last * (beyond[0] / last) ** share:,.0f}"
