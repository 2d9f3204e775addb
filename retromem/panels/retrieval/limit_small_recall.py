"""Panel: LIMIT-small. Does one vector a text say which 45 things a person likes, and does a word, if it is another?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from retrieval.vector_index import IndexSpec
from retromem.knowledge.limit_small import FILES, LimitSmall, limit_small
from retromem.panels.panel_config import Encoded, PanelConfig, PlainTexts
from retromem.panels.point_spread import spread_at
from retromem.panels.points import Point
from retromem.panels.retrieval.rankers import HYBRID, LEXICAL, specs_among, vectors_and_words
from retromem.panels.spread_text import by_name, grid, known, median_cell, of_each, sentences, tables
from retromem.report.numerals import list_text, percent_text
from retromem.report.panel_page import PanelPage
from retromem.report.table_text import Cell, Table

ALL, WRITTEN, OTHER = "all questions", "things with another name, as written", "the same things, by their other name"
RANKS = (2, 10)


@dataclass(frozen=True, kw_only=True)
class LimitSmallConfig(PanelConfig):
    """The published texts and questions; and those about things that have another name, asked by it."""

    panel: Literal["limit_small"] = "limit_small"
    folder: str = "limit-small"
    """with `corpus.jsonl`, `queries.jsonl` and `qrels.jsonl`, as published (CC BY 4.0, not shipped)"""
    rankers: tuple[str, ...] = ("Flat", "SQ4", "RaBitQ", LEXICAL, HYBRID)
    """factory strings, bm25, hybrid"""
    seeds: tuple[int, ...] = (0,)
    """nothing is drawn but what an index draws"""

    version: ClassVar[int] = 5
    seconds_expected: ClassVar[float] = 5.0

    @cached_property
    def conditions(self) -> dict[str, LimitSmall]:
        """How it is asked."""
        whole = limit_small(Path(self.folder))
        written, other = whole.under_other_names()
        return {ALL: whole, WRITTEN: written, OTHER: other}

    def files_read(self) -> dict[str, list[Path]]:
        return {"folder": [Path(self.folder) / name for name in FILES]}

    def index_specs(self, text_dim: int) -> list[tuple[IndexSpec, int]]:
        return specs_among(self.rankers, text_dim)

    def plain_texts(self, seed: int) -> PlainTexts:
        asked = [question for data in self.conditions.values() for question in data.questions]
        return PlainTexts(queries=list(dict.fromkeys(asked)), documents=self.conditions[ALL].texts)

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.retrieval.limit_small_points import limit_small_points

        return limit_small_points(self, encoded, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        return PanelPage(
            title="LIMIT-small: 45 things in one vector",
            answer=sentences(points, self._found, self._renamed),
            finding=sentences(points, self._finding),
            explained=[
                "46 texts, each `X likes ...` and 45 things; 1,000 questions `Who likes ...?`, each answered by two of "
                "the texts (Weller et al. 2025). The data is theirs and is read from the folder that the config names.",
                "The other names are ours, for the things that have one without a word in common: what is lost by "
                "words then is what a vocabulary mismatch costs. recall@2 of drawing two texts at random is 4.3 %.",
            ],
            tables=tables(points, self._table),
        )

    def _of_both(self, points: Sequence[Point], *conditions: str) -> dict[str, list[str]]:
        """What one vector a text finds, and what words do, where both conditions were asked; by their names here."""

        def shares(name: str) -> list[str]:
            return [percent_text(known(points, "recall_at_2", name, asked=asked).median) for asked in conditions]

        found = of_each(shares, self.rankers)
        called = {LEXICAL: f"words ({LEXICAL})", HYBRID: f"both ({HYBRID})"}
        return {called.get(name, f"one vector a text ({name})"): found[name] for name in vectors_and_words(list(found))}

    def _found(self, points: Sequence[Point]) -> str:
        said = [f"{share} by {what}" for what, (share,) in self._of_both(points, ALL).items()]
        return f"Of the texts that name the thing asked for, {list_text(said)} are found among the first two."

    def _renamed(self, points: Sequence[Point]) -> str:
        said = [
            f"{new} instead of {old} by {what}" for what, (old, new) in self._of_both(points, WRITTEN, OTHER).items()
        ]
        return f"Asked for by another name than the one written, {list_text(said)}."

    def _finding(self, points: Sequence[Point]) -> str:
        def said(name: str) -> str:
            shares = of_each(
                lambda asked: f"{percent_text(known(points, 'recall_at_2', name, asked=asked).median)} {asked}",
                (ALL, WRITTEN, OTHER),
            )
            return f"{name} {', '.join(shares.values())}"

        return f"Recall@2: {'; '.join(of_each(said, self.rankers).values())}."

    def _table(self, points: Sequence[Point]) -> Table:
        def cell(name: str, column: tuple[int, str]) -> Cell:
            rank, condition = column
            return median_cell(spread_at(points, f"recall_at_{rank}", name, asked=condition), percent_text)

        asked = {ALL: "all", WRITTEN: "as written", OTHER: "other name"}
        columns = {f"recall@{rank}, {name}": (rank, condition) for rank in RANKS for condition, name in asked.items()}
        return grid(points, f"{ALL}; {WRITTEN}; {OTHER}.", "ranked by", by_name(self.rankers), columns, cell)
