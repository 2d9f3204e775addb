"""What is asked of a memory, and how its capacity is searched: settings of the measures."""

import math
from dataclasses import dataclass
from typing import Literal

from retromem.seam import Phrasing


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """How much is asked, and which accuracies count."""

    max_asked: int | None = None
    """written questions asked, at most; all where empty"""
    max_reworded: int = 1000
    """questions asked in each other phrasing, at most"""
    robustness: bool = True
    """measure key noise, weight noise (sigma90) and bit flips (flip90) too"""
    max_disturbed: int = 256
    """questions asked of each disturbed copy"""

    cross_fit: bool = False
    """on real values, take off what the same memory answers for facts it was never written: `bits_stored`, five more
    writings a cell"""

    def __post_init__(self) -> None:
        if self.max_disturbed < 1 or self.max_reworded < 1 or (self.max_asked is not None and self.max_asked < 1):
            raise ValueError("max_asked, max_reworded and max_disturbed must be 1 or more")

    def most(self, phrasing: Phrasing) -> int | None:
        """Questions asked in this phrasing, at most."""
        return self.max_asked if phrasing == "identical" else self.max_reworded


def _check_goal(accuracy: float, resolution: float) -> None:
    if not 0 < accuracy <= 1:
        raise ValueError(f"accuracy must be more than 0 and at most 1, not {accuracy:g}")
    if not 0 < resolution < math.inf:
        raise ValueError(f"resolution must be more than 0, not {resolution:g}")


@dataclass(frozen=True, kw_only=True)
class CapacitySearch:
    """Search for the largest N that a memory of this size answers, over nested prefixes."""

    accuracy: float = 0.99
    """that must be reached, on the final weights"""
    phrasing: Literal["identical", "heldout"] = "identical"
    """of the questions"""
    low: int | None = None
    """facts, where the search starts; by the number of parameters where empty, or at 16"""
    high: int = 4096
    """facts, where it ends: beyond it a capacity is a lower bound only"""
    resolution: float = 0.02
    """relative width of the last interval; of weights that are trained, also what may be left beyond a success that
    came late in its training, once a size a tenth larger has failed"""

    def __post_init__(self) -> None:
        if not 1 <= (self.low or 1) <= self.high or self.low == 0:
            raise ValueError("low must be 1 or more, and high no less")
        _check_goal(self.accuracy, self.resolution)


@dataclass(frozen=True, kw_only=True)
class SmallestSearch:
    """Search for the fewest storage bytes of a family, over its dial, at each number of facts."""

    accuracy: float = 0.99
    """that must be reached, by the memory as it is stored"""
    phrasing: Literal["identical", "heldout"] = "identical"
    """of the questions: as written, or paraphrased"""
    low: int | None = None
    """lowest setting of the dial; the family's own where empty"""
    high: int | None = None
    """highest setting of the dial; the family's own where empty"""
    resolution: float = 0.05
    """of the bytes: the largest that failed and the smallest that did not lie no further apart"""

    def __post_init__(self) -> None:
        _check_goal(self.accuracy, self.resolution)
        if any(bound is not None and bound < 1 for bound in (self.low, self.high)):
            raise ValueError("low and high must be 1 or more")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low is {self.low} and high {self.high}: low must be no more than high")

    @property
    def questions_needed(self) -> int:
        """With fewer, no share of right answers tells this accuracy from a higher one; 1 where all must be right."""
        return 1 if self.accuracy == 1 else math.ceil(1 / (1 - self.accuracy) - 1e-6)
