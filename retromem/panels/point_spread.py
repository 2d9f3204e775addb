"""Points read back: the median over seeds of one quantity of one series."""

from collections.abc import Sequence

from retromem.panels.points import Point
from retromem.report.seed_spread import Spread, spread_of


def spread_at(points: Sequence[Point], quantity: str, series: str, x: float | None = None) -> Spread | None:
    """Over the seeds; None where nobody measured it."""
    found = [point.y for point in points if point.quantity == quantity and point.series == series and point.x == x]
    return spread_of(found)


def curve(points: Sequence[Point], quantity: str, series: str) -> dict[float, Spread]:
    """x -> median and range over seeds, x rising."""
    own = [point for point in points if point.quantity == quantity and point.series == series]
    places = sorted({point.x for point in own if point.x is not None})
    spreads = {x: spread_at(own, quantity, series, x) for x in places}
    return {x: spread for x, spread in spreads.items() if spread is not None}


def series_of(points: Sequence[Point], quantity: str) -> list[str]:
    """The series that have this quantity, in the order of their first point."""
    return list(dict.fromkeys(point.series for point in points if point.quantity == quantity))
