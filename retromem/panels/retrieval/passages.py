"""Panel: facts hidden in documents. How long should a passage be, and how much else may stand around a fact?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from retrieval.splitting import Passage, SplitConfig, split_documents
from retrieval.vector_index import IndexSpec
from retromem.knowledge.hidden_facts import HiddenFacts, hide
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.panels.panel_config import Encoded, PanelConfig, PlainTexts
from retromem.panels.point_spread import spread_at
from retromem.panels.retrieval.rankers import HYBRID, LEXICAL, specs_among
from retromem.points import Point
from retromem.report.numerals import count_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.table_text import Cell, Table

READ = (1, 5)
"""passages that a reader is given"""


@dataclass(frozen=True, kw_only=True)
class PassagesConfig(PanelConfig):
    """Countries of cities, values permuted, stated in documents among sentences about other things."""

    panel: Literal["passages"] = "passages"
    num_facts: int = 1000
    """each stated once"""
    facts_per_document: int = 10
    """that stand in one document, in any order"""
    distractors: tuple[int, ...] = (0, 2, 8)
    """other sentences for each fact"""
    sizes: tuple[int, ...] = (1, 3, 10)
    """sentences a passage"""
    overlap_of_three: bool = True
    """passages of 3 sentences that share 1 with the next, too"""
    rankers: tuple[str, ...] = ("Flat", "RaBitQ", LEXICAL, HYBRID)
    """factory strings, bm25, hybrid"""
    num_asked: int = 500
    """questions, in words that stand in no document"""
    seeds: tuple[int, ...] = (0,)
    """of the dealing of the countries and of the order of the sentences"""

    seconds_expected: ClassVar[float] = 60.0
    """of one seed, with keys in the cache"""
    may_be_zero: ClassVar[frozenset[str]] = PanelConfig.may_be_zero | {"distractors"}

    @cached_property
    def splits(self) -> list[SplitConfig]:
        """How documents are cut."""
        shared = [SplitConfig(size=3, overlap=1)] if self.overlap_of_three else []
        return [*(SplitConfig(size=size) for size in self.sizes), *shared]

    def knowledge(self, seed: int) -> KnowledgeSet:
        """The facts."""
        whole = build_knowledge(TextConfig(source="cities", num_written=1, pool=1))
        return whole.twin(seed=seed).prefix(self.num_facts)

    def hidden(self, seed: int) -> dict[int, tuple[HiddenFacts, dict[str, list[Passage]]]]:
        """Distractors -> the documents, and their passages by how they are cut."""
        found = {}
        for distractors in self.distractors:
            documents = hide(
                self.knowledge(seed),
                facts_per_document=self.facts_per_document,
                distractors_per_fact=distractors,
                seed=seed,
            )
            cuts = {split.label: split_documents(documents.documents, split) for split in self.splits}
            found[distractors] = documents, cuts
        return found

    def index_specs(self, text_dim: int) -> list[tuple[IndexSpec, int]]:
        return specs_among(self.rankers, text_dim)

    def plain_texts(self, seed: int) -> PlainTexts:
        asked = self.knowledge(seed).ask("heldout", num=self.num_asked).queries.texts
        passages = [passage.text for _, cuts in self.hidden(seed).values() for cut in cuts.values() for passage in cut]
        return PlainTexts(queries=asked or (), documents=passages)

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.retrieval.passages_points import passages_points

        return passages_points(self, encoded, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        most = float(max(self.distractors))
        return PanelPage(
            title="Facts inside documents",
            answer=(
                "Longer passages need fewer vectors, and one vector has to stand for more: exact search finds less in "
                "them, words much less so."
            ),
            finding=self._finding(points, most),
            explained=[
                f"{count_text(self.num_facts)} cities and their countries, dealt anew, each stated in one "
                f"sentence; {self.facts_per_document} facts a document, shuffled among sentences about invented people "
                "that answer nothing. Documents are cut into passages of so many sentences; passages are embedded as "
                "they stand and asked in words that stand in none of them.",
                "A passage is right if the whole statement of the fact stands in it. The reader has no weights: of "
                "the countries named it takes the one whose sentence shares the rarest words with the question. "
                "Bytes are those of the vectors or of the lexical index, the text itself comes on top.",
            ],
            charts=[
                Chart(
                    title="The right passage first, exact search",
                    quantities=["right_at_1, Flat"],
                    x_label="other sentences for each fact",
                    y_label="share of questions",
                    series=[split.label for split in self.splits],
                ),
                Chart(
                    title="Right answers from five passages, exact search",
                    quantities=["answered_from_5, Flat"],
                    x_label="other sentences for each fact",
                    y_label="share of questions",
                    series=[split.label for split in self.splits],
                ),
            ],
            tables=[self._table(points, distractors) for distractors in self.distractors],
        )

    def _finding(self, points: Sequence[Point], most: float) -> str:
        said = []
        for name in self.rankers:
            found = [spread_at(points, f"right_at_1, {name}", split.label, most) for split in self.splits]
            shares = ", ".join(percent_text(spread.median) for spread in found if spread)
            said.append(f"{name} {shares}")
        cuts = ", ".join(split.label for split in self.splits)
        return f"The right passage comes first among {most:g} other sentences a fact ({cuts}): {'; '.join(said)}."

    def _table(self, points: Sequence[Point], distractors: int) -> Table:
        blocks = []
        for name in self.rankers:
            lines = []
            for split in self.splits:
                cells = [Cell(text=split.label)]
                for quantity, text in (
                    ("bytes_a_fact", significant_text),
                    ("right_at_1", percent_text),
                    ("right_at_5", percent_text),
                    *((f"answered_from_{number}", percent_text) for number in READ),
                ):
                    spread = spread_at(points, f"{quantity}, {name}", split.label, float(distractors))
                    cells.append(Cell(text=text(spread.median) if spread else ""))
                lines.append(cells)
            blocks.append((name, lines))
        return Table(
            caption=f"{distractors} other sentences for each fact.",
            header=["passages of", "bytes a fact", "right first", "right in 5", *(f"answered from {n}" for n in READ)],
            blocks=blocks,
        )
