"""What every panel can do: be measured, seed by seed, and say what came out."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Float32
from numpy import ndarray

from retrieval.tokens import Tokens
from retrieval.vector_index import IndexSpec
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.panels.points import Point
from retromem.report.panel_page import PanelPage

Encoded = Callable[[KnowledgeSet], KnowledgeSet]
"""gives a set of texts its keys, centred per wording"""


@runtime_checkable
class Vectors(Protocol):
    """What a panel with plain texts is given as `encoded`: their vectors too."""

    def vectors(self, texts: Sequence[str], *, is_document: bool) -> Float32[ndarray, "N D"]:
        """As the encoder gives them, in the order of the texts."""

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """The vectors of each text's tokens, from the encoder itself: they are kept in no cache."""


@dataclass(frozen=True, kw_only=True)
class PlainTexts:
    """Texts of no wording: passages of documents, and what is asked of them."""

    queries: Sequence[str] = ()
    documents: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class PanelConfig(ABC):
    """Its first field, `panel`, names its kind. One cell measures it for one seed."""

    panel: str
    """its kind"""
    version: ClassVar[int] = 1
    """raised when the same settings give other points than before"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of everything that is drawn: keys, labels, first weights"""
    seconds_expected: ClassVar[float]
    """of one seed at its defaults on one core, as measured"""
    reads_statements: ClassVar[bool] = False
    """whether the statements of its text sets are encoded too"""
    no_part_of_the_result: ClassVar[frozenset[str]] = frozenset({"seeds"})
    """settings that may change, and the points of a seed stay what they are"""
    may_be_empty: ClassVar[frozenset[str]] = frozenset()
    """lists that need to name nothing"""
    may_repeat: ClassVar[frozenset[str]] = frozenset()
    """lists that may name a number twice"""
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"steps", "seeds"})
    """numbers, and those of lists; untrained FFNs are a fair question"""

    def __post_init__(self) -> None:
        """Counts are 1 or more, other numbers more than 0, and lists name something, each once.

        Panels with more to ask for call this first.

        Raises:
            ValueError: a field that cannot be measured.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if value == () and field.name not in self.may_be_empty:
                raise ValueError(f"{field.name} must name one or more")
            named = value if isinstance(value, tuple) else (value,)
            if isinstance(value, tuple) and len(set(named)) < len(named) and field.name not in self.may_repeat:
                raise ValueError(f"{field.name} must name each once, not {list(named)}")
            for number in named:
                self._check_number(field.name, number)

    def _check_number(self, name: str, number: object) -> None:
        may_be_zero = name in self.may_be_zero
        if type(number) is int:
            least = 0 if may_be_zero else 2 if name == "num_values" else 1
            if number < least:
                raise ValueError(f"{name} must be {least} or more, not {number}")
        if isinstance(number, float) and not (0 < number < math.inf or (may_be_zero and number == 0)):
            wanted = "0 or more" if may_be_zero else "more than 0"
            raise ValueError(f"{name} must be {wanted} and finite, not {number}")

    @abstractmethod
    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        """Every point of one seed. Formulas have no seed of their own: those of the first seed are kept."""

    @abstractmethod
    def page(self, points: Sequence[Point]) -> PanelPage:
        """What the points of all seeds say."""

    def text_sets(self, seed: int) -> Sequence[KnowledgeSet]:
        """Sets, without keys, that `measure` will ask to be encoded; none where keys are drawn at random."""
        return ()

    def plain_texts(self, seed: int) -> PlainTexts | None:
        """Texts beside those of sets that `measure` will ask the vectors of."""
        return None

    def index_specs(self, text_dim: int) -> Sequence[tuple[IndexSpec, int]]:
        """Indexes that it will build, each with the dimensions of its vectors; `text_dim` are the encoder's."""
        return ()

    def files_read(self) -> Mapping[str, Sequence[Path]]:
        """By field: what lies on disk under the path that the field names. Their content, not the path, is what a
        result depends on."""
        return {}

    @property
    def seconds_a_seed(self) -> float:
        """On one core, as measured: long cells start first."""
        return self.seconds_expected

    @property
    def reads_text(self) -> bool:
        """Whether an encoder is needed."""
        own = type(self)
        return own.text_sets is not PanelConfig.text_sets or own.plain_texts is not PanelConfig.plain_texts


def check_facts(num_facts: int, least: int, remedy: str) -> None:
    """ValueError where a load comes to fewer facts than can be measured."""
    if num_facts < least:
        raise ValueError(f"the lowest load comes to {num_facts} facts, and {least} or more are needed: {remedy}")
