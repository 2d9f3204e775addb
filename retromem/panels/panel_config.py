"""What every panel can do: be measured, seed by seed, and say what came out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import ClassVar

from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.points import Point
from retromem.report.panel_page import PanelPage

Encoded = Callable[[KnowledgeSet], KnowledgeSet]
"""gives a set of texts its keys"""


class PanelConfig(ABC):
    """A frozen dataclass whose first field, `panel`, names its kind. One cell measures it for one seed."""

    panel: str
    """its kind"""
    seeds: tuple[int, ...]
    """of everything that is drawn: keys, labels, first weights"""
    seconds_expected: ClassVar[float]
    """of one seed at its defaults on one core, as measured"""
    may_be_empty: ClassVar[frozenset[str]] = frozenset()
    """lists that need to name nothing"""

    def __post_init__(self) -> None:
        """Sizes and counts are 1 or more (steps may be 0), and lists name something.

        Panels with more to ask for call this first.

        Raises:
            ValueError: a field that cannot be measured.
        """
        for field in fields(self):  # type: ignore[arg-type]  # every panel is a dataclass
            value = getattr(self, field.name)
            least = {"num_values": 2, "steps": 0}.get(field.name, 1)  # untrained FFNs are a fair question
            if type(value) is int and value < least:
                raise ValueError(f"{field.name} must be {least} or more, not {value}")
            if value == () and field.name not in self.may_be_empty:
                raise ValueError(f"{field.name} must name one or more")

    @abstractmethod
    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        """Every point of one seed. Formulas have no seed of their own: those of the first seed are kept."""

    @abstractmethod
    def page(self, points: Sequence[Point]) -> PanelPage:
        """What the points of all seeds say."""

    def text_sets(self, seed: int) -> Sequence[KnowledgeSet]:
        """Sets, without keys, that `measure` will ask to be encoded; none where keys are drawn at random."""
        return ()
