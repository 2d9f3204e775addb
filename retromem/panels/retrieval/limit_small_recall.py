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
from retromem.panels.retrieval.rankers import HYBRID, LEXICAL, specs_among
from retromem.points import Point
from retromem.report.numerals import percent_text
from retromem.report.panel_page import PanelPage
from retromem.report.table_text import Cell, Table

ALL, WRITTEN, OTHER = "all questions", "things with another name, as written", "the same things, by their other name"


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
            answer=(
                "A vector of a text loses most of the single things it names; words find every one, as long as they "
                "are the same words."
            ),
            finding=self._finding(points),
            explained=[
                "46 texts, each `X likes ...` and 45 things; 1,000 questions `Who likes ...?`, each answered by two of "
                "the texts (Weller et al. 2025). The data is theirs and is read from the folder that the config names.",
                "The other names are ours, for the things that have one without a word in common: what is lost by "
                "words then is what a vocabulary mismatch costs. recall@2 of drawing two texts at random is 4.3 %.",
            ],
            charts=[],
            tables=[self._table(points)],
        )

    def _finding(self, points: Sequence[Point]) -> str:
        said = []
        for name in self.rankers:
            found = [spread_at(points, f"recall_at_2, {name}", condition) for condition in (ALL, WRITTEN, OTHER)]
            said.append(f"{name} {', '.join(percent_text(spread.median) for spread in found if spread)}")
        return f"recall@2 ({ALL}; {WRITTEN}; {OTHER}): {'; '.join(said)}."

    def _table(self, points: Sequence[Point]) -> Table:
        lines = []
        for name in self.rankers:
            cells = [Cell(text=name)]
            for number in (2, 10):
                for condition in (ALL, WRITTEN, OTHER):
                    spread = spread_at(points, f"recall_at_{number}, {name}", condition)
                    cells.append(Cell(text=percent_text(spread.median) if spread else ""))
            lines.append(cells)
        asked = ("all", "as written", "other name")
        return Table(
            caption=f"{ALL}; {WRITTEN}; {OTHER}.",
            header=["ranked by", *(f"recall@{number}, {how}" for number in (2, 10) for how in asked)],
            blocks=[("", lines)],
        )
