"""A point: one number of a panel, measured or computed from a formula. `points.csv` is nothing but points."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from retromem.rows import to_csv


@dataclass(frozen=True, kw_only=True)
class Point:
    """One number; points that differ in the seed alone are repetitions of one measurement."""

    quantity: str
    """what `y` is, with its unit: accuracy, bits_per_param, log2_regions"""
    series: str
    """whose it is: a kind of FFN, a training, a bound"""
    x: float | None = None
    """where on the panel's axis; empty where there is none"""
    y: float
    """the number itself"""
    seed: int | None = None
    """of the measurement; empty for a formula"""


POINT_COLUMNS: tuple[str, ...] = ("panel", *(field.name for field in fields(Point)))


def points_to_csv(points: Mapping[str, Sequence[Point]]) -> str:
    """The text of `points.csv`: the points of every panel, by its name."""
    return to_csv(_named(points), POINT_COLUMNS)


def _named(points: Mapping[str, Sequence[Point]]) -> Iterable[object]:
    for panel, its_points in points.items():
        for point in its_points:
            yield _NamedPoint(panel=panel, **vars(point))


@dataclass(frozen=True, kw_only=True)
class _NamedPoint(Point):
    panel: str


def point_from_json(record: Mapping[str, Any]) -> Point:
    """A point as `result.json` keeps it; an unknown field is a TypeError."""
    return Point(**record)
