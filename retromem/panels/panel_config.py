"""What every panel can do: be measured, seed by seed, and say what came out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
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

    @abstractmethod
    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        """Every point of one seed. Formulas have no seed of their own: those of the first seed are kept."""

    @abstractmethod
    def page(self, points: Sequence[Point]) -> PanelPage:
        """What the points of all seeds say."""

    def text_sets(self, seed: int) -> Sequence[KnowledgeSet]:
        """Sets, without keys, that `measure` will ask to be encoded; none where keys are drawn at random."""
        return ()
