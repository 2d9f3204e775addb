"""Median and range over seeds: what every number on the page is."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from retromem.panels.points import Point
from retromem.rows import Row


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Of one number over the seeds that have it."""

    median: float
    low: float
    high: float
    num_seeds: int


def spread_of(numbers: Iterable[float | int]) -> Spread | None:
    """None without numbers."""
    known = [float(number) for number in numbers if not math.isnan(number)]
    if not known:
        return None
    return Spread(median=median(known), low=min(known), high=max(known), num_seeds=len(known))


def seed_spread(rows: Iterable[Row], column: str) -> Spread | None:
    """Of a column over rows that differ in nothing but the seed; None when no row knows it."""
    return spread_of(number for row in rows if (number := getattr(row, column)) is not None)


def num_seeds(measured: Iterable[Point | Row]) -> int:
    """Seeds that measured something; formulas have none."""
    return len({one.seed for one in measured} - {None})


def medians_text(measured: Iterable[Point | Row]) -> str:
    """`Medians over 3 seeds.`, `One seed.`"""
    count = num_seeds(measured)
    return f"Medians over {count} seeds." if count > 1 else "One seed."
