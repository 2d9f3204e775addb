"""The one number that makes the memories of a family larger: what a search for the smallest memory turns."""

from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable


@dataclass(frozen=True, kw_only=True)
class Dial:
    """The settings that a family has; a higher one weighs no less."""

    name: str
    """of the setting in the config: `ffn.width`"""
    low: int
    """lowest setting"""
    high: int
    """highest setting"""
    step: int = 1
    """between two settings"""

    def between(self, low: int | None, high: int | None) -> range:
        """The settings from `low` to `high`, each left to the dial where None. ValueError where there is none."""
        first = self.low if low is None else max(self.low, low)
        first += -(first - self.low) % self.step
        last = self.high if high is None else min(self.high, high)
        if first > last:
            raise ValueError(
                f"{self.name} has no setting from {low} to {high}: it goes from {self.low:,} to {self.high:,} in steps "
                f"of {self.step:,}"
            )
        return range(first, last + 1, self.step)


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a memory is to hold, as far as its size depends on it."""

    demand_bits: float
    num_facts: int
    num_candidates: int
    """values that can answer a question, of the relation that has most"""
    dim: int
    """of the keys"""
    num_relations: int = 1
    reworded: bool = False
    """asked in paraphrases, which want more bits"""


@runtime_checkable
class Dialled(Protocol):
    """The config of a memory that has a dial. Its other settings are those of the family."""

    @property
    def dial(self) -> Dial | None:
        """None where these settings leave nothing to turn."""
        ...

    @property
    def searched_name(self) -> str:
        """The memory's name with `*` in place of the setting."""
        ...

    @property
    def in_words(self) -> str:
        """What it keeps, for somebody who does not know its name: `24 random bits a vector`."""
        ...

    def turned(self, setting: int) -> Self:
        """The same with the dial at this setting."""
        ...

    def first_setting(self, load: Load) -> float:
        """Where a search begins, by a rule of thumb: it decides how long the search takes, not where it ends."""
        ...

    def most_bits(self, setting: int, load: Load) -> float:
        """An upper bound of what a memory of this setting can tell of these facts."""
        ...


def dial_of(memory: object) -> Dial | None:
    """None for a memory that is what it is."""
    return memory.dial if isinstance(memory, Dialled) else None
