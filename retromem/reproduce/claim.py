"""A published number, the setting it was measured in, and the band in which our own counts as the same."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Tier = Literal["quick", "full"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One row of the reproduction, before it is measured."""

    source: str
    """authors and year"""
    setting: str
    """what is trained or counted, with every number that matters"""
    published: float
    unit: str
    band: tuple[float, float]
    """in which ours passes, in the unit"""
    measure: Callable[[], float]
    """runs the setting; a function of a module with arguments bound, so that it can be sent to another process"""
    resolution: float | None = None
    """relative step of the search for the number, at most a quarter of the tolerance; None: nothing is searched"""
    tier: Tier = "quick"
    seconds_expected: float
    """on one core; long rows start first"""


def within(published: float, tolerance: float) -> tuple[float, float]:
    """The band of so much to either side, relative."""
    return published * (1 - tolerance), published * (1 + tolerance)
