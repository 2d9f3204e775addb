"""What a memory is called: a name made of its settings, or one that its config gives."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class NamedConfig(ABC):
    """The setting that every memory has."""

    called: str | None = None
    """its name in rows and pages, where the one that is made of its settings says too little, or too much"""

    @abstractmethod
    def named(self, setting: str | None = None) -> str:
        """Made of its settings; `setting` stands in the place of the dial's."""

    @property
    def name(self) -> str:
        return self.called or self.named()

    @property
    def searched_name(self) -> str:
        """`*` stands for a dial that is still open."""
        return self.called or self.named("*")

    def saved(self) -> dict[str, Any]:
        """The settings that a saved memory keeps: what it is called is no part of it."""
        return {name: value for name, value in asdict(self).items() if name != "called"}
