"""Panel: facts hidden in documents. How long should a passage be, and how much else may stand around a fact?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar, Literal

from retrieval.splitting import Passage, SplitConfig, split_documents
from retrieval.vector_index import IndexSpec
from retromem.knowledge.hidden_facts import HiddenFacts, hide
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.panels.panel_config import Encoded, PanelConfig, PlainTexts
from retromem.panels.point_spread import spread_at
from retromem.panels.points import Point
from retromem.panels.retrieval.ranked_recall import READ
from retromem.panels.retrieval.rankers import HYBRID, LEXICAL, specs_among, vectors_and_words
from retromem.panels.spread_text import NotMeasured, known, known_curve, median_cell, of_each, sentences, tables
from retromem.report.numerals import count_text, percent_text, significant_text
from retromem.report.panel_page import Chart, PanelPage
from retromem.report.seed_spread import Spread, medians_text
from retromem.report.table_text import Cell, Table


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

    version: ClassVar[int] = 6
    seconds_expected: ClassVar[float] = 60.0
    """of one seed, with keys in the cache"""
    may_be_zero: ClassVar[frozenset[str]] = PanelConfig.may_be_zero | {"distractors"}

    @cached_property
    def splits(self) -> list[SplitConfig]:
        """How documents are cut."""
        shared = [SplitConfig(size=3, overlap=1)] if self.overlap_of_three else []
        return [*(SplitConfig(size=size) for size in self.sizes), *shared]

    @property
    def _cuts(self) -> list[str]:
        return [split.label for split in self.splits]

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
        by_exact_search = partial(
            Chart,
            labels={"ranker": "Flat"},
            x_label="other sentences for each fact",
            y_label="share of questions",
            series=self._cuts,
        )
        return PanelPage(
            title="Facts inside documents",
            answer=sentences(points, self._answer, self._among_more),
            finding=sentences(points, self._finding),
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
                by_exact_search(title="The right passage first, exact search", quantities=["right_at_1"]),
                by_exact_search(title="Right answers from five passages, exact search", quantities=["answered_from_5"]),
            ],
            tables=tables(points, *(partial(self._table, distractors=distractors) for distractors in self.distractors)),
        )

    def _found(self, points: Sequence[Point], name: str) -> dict[str, dict[float, Spread]]:
        """How often a ranker finds the right passage first, by cut and by other sentences a fact."""
        labels = [split.label for split in sorted(self.splits, key=lambda split: split.size) if not split.overlap]
        return of_each(lambda label: known_curve(points, "right_at_1", label, ranker=name), labels)

    def _answer(self, points: Sequence[Point]) -> str:
        """The longest passages beside the shortest, among the most other sentences."""
        found = of_each(lambda name: self._found(points, name), self.rankers)

        def said(name: str) -> str:
            by_cut = found[name]
            most = max(max(by_distractors) for by_distractors in by_cut.values())
            shares = of_each(
                lambda label: percent_text(known(points, "right_at_1", label, most, ranker=name).median), by_cut
            )
            ends = list(shares)[:: max(1, len(shares) - 1)]
            return f"{' and '.join(f'{shares[label]} in passages of {label}' for label in ends)} by {_called(name)}"

        told = of_each(said, vectors_and_words(list(found)))
        return f"The right passage comes first for {'; '.join(told.values())}."

    def _among_more(self, points: Sequence[Point]) -> str:
        """What other sentences cost, in the shortest passages that were cut."""
        found = of_each(lambda name: self._found(points, name), self.rankers)

        def said(name: str) -> str:
            label, by_distractors = next(iter(found[name].items()))
            fewest, most = min(by_distractors), max(by_distractors)
            if fewest == most:
                raise NotMeasured(f"{name} among more other sentences")
            shares = [f"{percent_text(by_distractors[x].median)} among {x:g}" for x in (fewest, most)]
            return f"{' and '.join(shares)} (passages of {label}) by {_called(name)}"

        told = of_each(said, vectors_and_words(list(found)))
        return f"By the number of other sentences a fact the right one comes first for {'; '.join(told.values())}."

    def _finding(self, points: Sequence[Point]) -> str:
        most = max(
            x
            for by_cut in of_each(lambda name: self._found(points, name), self.rankers).values()
            for by_distractors in by_cut.values()
            for x in by_distractors
        )

        def said(name: str) -> str:
            right = partial(known, points, "right_at_1", ranker=name)
            shares = of_each(lambda label: f"{percent_text(right(label, most).median)} ({label})", self._cuts)
            return f"{name} {', '.join(shares.values())}"

        told = of_each(said, self.rankers).values()
        return f"The right passage comes first among {most:g} other sentences a fact: {'; '.join(told)}."

    def _table(self, points: Sequence[Point], distractors: int) -> Table:
        columns = [
            ("bytes_a_fact", significant_text),
            ("right_at_1", percent_text),
            ("right_at_5", percent_text),
            *((f"answered_from_{number}", percent_text) for number in READ),
        ]

        def line(name: str, label: str) -> list[Cell]:
            at = partial(spread_at, points, ranker=name)
            cells = [median_cell(at(quantity, label, float(distractors)), text) for quantity, text in columns]
            return [Cell(text=label), *cells]

        return Table(
            caption=f"{distractors} other sentences for each fact. {medians_text(points)}",
            header=["passages of", "bytes a fact", "right first", "right in 5", *(f"answered from {n}" for n in READ)],
            blocks=[(name, [line(name, label) for label in self._cuts]) for name in self.rankers],
        )


def _called(name: str) -> str:
    return {"Flat": "exact search", LEXICAL: "words (BM25)"}.get(name, name)
