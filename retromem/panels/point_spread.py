"""Points read back: the median over seeds of one quantity of one series.

Labels are keywords: `spread_at(points, "recall_at_1", "bm25", 500.0, asked="heldout")`. A number is read by all labels
that its points have, a list of what was measured by some.
"""

from collections.abc import Sequence

from retromem.panels.points import Point
from retromem.report.seed_spread import Spread, spread_of


def spread_at(
    points: Sequence[Point], quantity: str, series: str, x: float | None = None, /, **labels: str
) -> Spread | None:
    """Over the seeds; None where nobody measured it."""
    return spread_of(point.y for point in _of(points, quantity, series, labels) if point.x == x)


def curve(points: Sequence[Point], quantity: str, series: str, /, **labels: str) -> dict[float, Spread]:
    """x -> median and range over seeds, x rising."""
    own = _of(points, quantity, series, labels)
    places = sorted({point.x for point in own if point.x is not None})
    spreads = {x: spread_of(point.y for point in own if point.x == x) for x in places}
    return {x: spread for x, spread in spreads.items() if spread is not None}


def _of(points: Sequence[Point], quantity: str, series: str, labels: dict[str, str]) -> list[Point]:
    return [p for p in points if (p.quantity, p.series) == (quantity, series) and p.labels == labels]


def lines_of(points: Sequence[Point], quantity: str, /, **labels: str) -> list[Point]:
    """The first point of each series, and of each of its labels, that has this quantity and these labels."""
    found: dict[str, Point] = {}
    for point in points:
        if point.quantity == quantity and labels.items() <= point.labels.items():
            found.setdefault(point.name, point)
    return list(found.values())


def series_of(points: Sequence[Point], quantity: str, /, **labels: str) -> list[str]:
    """The series that have this quantity and these labels, in the order of their first point."""
    return list(dict.fromkeys(point.series for point in lines_of(points, quantity, **labels)))
