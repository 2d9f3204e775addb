"""A point: one number of a panel, measured or computed from a formula. `points.csv` is nothing but points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import SimpleNamespace
from typing import Any

from retromem.rows import to_csv


@dataclass(frozen=True, kw_only=True)
class Point:
    """One number; points that differ in the seed alone are repetitions of one measurement."""

    quantity: str
    """what `y` is, with its unit: accuracy, bits_per_param, log2_regions"""
    series: str
    """whose it is: a kind of FFN, a training, a bound"""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    """what else tells it from others of the series, by the label's name: asked=heldout; ranker=bm25"""
    x: float | None = None
    """where on the panel's axis; empty where there is none"""
    y: float
    """the number itself"""
    seed: int | None = None
    """of the measurement; empty for a formula"""

    @property
    def name(self) -> str:
        """What lines and rows call it: its series, then what its labels say."""
        return ", ".join([self.series, *self.labels.values()])


PUBLISHED = {"source": "published"}
"""labels of a number of others beside our own of the same series"""
POINT_COLUMNS: tuple[str, ...] = ("panel", *(field.name for field in fields(Point)))


def points_to_csv(points: Mapping[str, Sequence[Point]]) -> str:
    """The text of `points.csv`: the points of every panel, by its name."""
    lines = [
        SimpleNamespace(**{**vars(point), "panel": panel, "labels": labels_text(point)})
        for panel, its_points in points.items()
        for point in its_points
    ]
    return to_csv(lines, POINT_COLUMNS)


def labels_text(point: Point) -> str:
    """`asked=heldout; form=short`, as the column has it."""
    return "; ".join(f"{label}={value}" for label, value in point.labels.items())


def point_from_json(record: Mapping[str, Any]) -> Point:
    """A point as `result.json` keeps it; an unknown field is a TypeError."""
    return Point(**record)
