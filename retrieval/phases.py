"""How far a write has come: told to whoever watches it, such as a test that kills it there."""

from collections.abc import Callable
from typing import Literal, TypeAlias

Phase: TypeAlias = Literal["before", "writing", "renamed", "committed"]
"""before: nothing was written. writing: into a temporary folder. renamed: between the renames, the old is what counts.
committed: the new is what counts, and the old is being removed"""

OnPhase: TypeAlias = Callable[[Phase], None]


def unwatched(phase: Phase) -> None:
    """Nobody is told."""
