"""What a report consists of, before it is HTML or Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

from retromem.report.drawing import Picture
from retromem.report.table_text import Table


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Pairs of a word and what is to be said of it."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Points:
    """Short paragraphs, one a point."""

    texts: Sequence[str]


Block = Picture | Table | Terms | Points


@dataclass(frozen=True, kw_only=True)
class Section:
    title: str
    blocks: Sequence[Block]
    folded: bool = False
    """shown when asked for; Markdown shows it all the same"""


@dataclass(frozen=True, kw_only=True)
class FirstScreen:
    """What somebody sees who reads nothing else."""

    answer: str
    """the main sentence"""
    more: str = ""
    """the sentences after it"""
    basis: str = ""
    """on which facts that holds, and what the real values say"""
    charts: Sequence[Picture] = ()
    """side by side, or one under the other where there is no room"""
    charts_caption: str = ""
    """of several charts together; one alone has its own"""
    table: Table | None = None


@dataclass(frozen=True, kw_only=True)
class Content:
    """The whole page."""

    title: str
    question: str
    first: FirstScreen
    warning: str
    """empty when no cell failed; a refused one is only listed"""
    sections: Sequence[Section]

    @property
    def pictures(self) -> list[Picture]:
        blocks = [block for section in self.sections for block in section.blocks if isinstance(block, Picture)]
        return [*self.first.charts, *blocks]
