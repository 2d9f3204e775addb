"""A panel whose points come to one number that others have published."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar, Literal

from retromem.panels.panel_config import Encoded, PanelConfig
from retromem.panels.points import Point
from retromem.report.panel_page import PanelPage
from retromem.rows import ReproducedRow

OURS = "ours"
"""the quantity of a panel's points that its number is read off"""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published number, and the band in which ours counts as the same."""

    source: str
    """authors and year"""
    value: float
    """as published, in the panel's unit"""
    within: float | None = None
    """relative, to either side; in place of low and high"""
    low: float | None = None
    """of the band; no bound where empty"""
    high: float | None = None
    """of the band; no bound where empty"""
    note: str = ""
    """what the published setting has otherwise"""

    def __post_init__(self) -> None:
        if (self.within is None) == (self.low is None and self.high is None):
            raise ValueError("published: give within, or low and high, or one of these two")
        low, high = self.band
        if not low <= self.value <= high:
            raise ValueError(f"published: its band, {low:g} to {high:g}, does not hold its number, {self.value:g}")

    @property
    def band(self) -> tuple[float, float]:
        """In which ours passes."""
        if self.within is not None:
            return self.value * (1 - self.within), self.value * (1 + self.within)
        return -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high

    @property
    def tolerance(self) -> float:
        """The smaller distance from the number to an end of the band, relative; inf where nothing is as near."""
        return min(abs(self.value - end) for end in self.band) / abs(self.value) if self.value else math.inf


@dataclass(frozen=True, kw_only=True)
class PublishedPanel(PanelConfig):
    """One setting, one number: each seed's cell has a point or more of it, and all of them come to ours."""

    published: Published
    """what others found in this setting"""
    tier: Literal["quick", "full"] = "quick"
    """full: measured only where asked for, for it takes long"""
    minutes: float = 0.2
    """of one seed on one core, as measured: long ones start first"""

    unit: ClassVar[str]
    """of the number"""
    no_part_of_the_result: ClassVar[frozenset[str]] = frozenset({"seeds", "published", "tier", "minutes"})

    def __post_init__(self) -> None:
        super().__post_init__()
        searched = self.searched_to
        if searched is not None and searched > self.published.tolerance / 4 + 1e-9:
            raise ValueError(
                f"resolution must be a quarter of the tolerance or less, {self.published.tolerance / 4:.2g}, not "
                f"{searched:g}"
            )

    @property
    def seconds_a_seed(self) -> float:
        return 60 * self.minutes

    @property
    def searched_to(self) -> float | None:
        """The relative step in which the number is known: that of a search; empty where nothing is searched."""
        return getattr(self, "resolution", None)

    @property
    @abstractmethod
    def setting(self) -> str:
        """What is trained or counted, with every number that matters."""

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        return [Point(quantity=OURS, series=self.panel, y=float(self.number(seed)), seed=seed)]

    def number(self, seed: int) -> float:
        """What one seed comes to; a panel that measures several points of a seed has a `measure` of its own."""
        raise NotImplementedError

    def ours(self, points: Sequence[Point]) -> float:
        """Our number, of the points of all seeds: their mean, where a panel says nothing else."""
        return fmean(point.y for point in points if point.quantity == OURS)

    def row(self, points: Sequence[Point], *, seconds: float = 0.0, reason: str = "") -> ReproducedRow:
        """The published number beside ours, or beside the reason why there is none."""
        ours, (low, high) = self.ours(points) if points and not reason else None, self.published.band
        return ReproducedRow(
            source=self.published.source,
            setting="; ".join(filter(None, (self.setting, self.published.note))),
            published=self.published.value,
            ours=ours,
            ratio=None if ours is None or not self.published.value else ours / self.published.value,
            passes=ours is not None and math.isfinite(ours) and low <= ours <= high,
            unit=self.unit,
            low=low,
            high=high,
            tier=self.tier,
            seconds=seconds,
            reason=reason,
        )

    def page(self, points: Sequence[Point]) -> PanelPage:
        """For a panel looked at by itself: the report of a run has all of its numbers in one table."""
        row = self.row(points)
        ours = "no number" if row.ours is None else f"{row.ours:.4g}"
        return PanelPage(
            title=f"{row.source}: {row.setting}",
            answer=f"{ours} {row.unit} against {row.published:g} published.",
            finding="It passes." if row.passes else "It does not pass.",
            explained=[],
        )


def of_seeds(number: int) -> str:
    """`3 seeds`."""
    return f"{number} seed{'s' if number != 1 else ''}"
