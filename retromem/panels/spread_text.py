"""How panels write what several seeds gave: numbers in sentences, cells of tables, one spread against another."""

from collections.abc import Callable, Sequence

from retromem.panels.point_spread import spread_at
from retromem.points import Point
from retromem.report.numerals import significant_text
from retromem.report.seed_spread import Spread
from retromem.report.table_text import Cell


def known(points: Sequence[Point], quantity: str, series: str, x: float | None = None) -> Spread:
    """The spread of what every measurement gives; KeyError where this one did not."""
    spread = spread_at(points, quantity, series, x)
    if spread is None:
        raise KeyError(f"{series} has no {quantity} at {x}")
    return spread


def spread_cell(spread: Spread, text: Callable[[float], str] = significant_text) -> Cell:
    """The median, and the range over seeds where it can be told from it."""
    low, high = text(spread.low), text(spread.high)
    return Cell(text=text(spread.median), detail="" if low == high else f"{low} to {high}")


def against(spread: Spread, other: Spread, *, resolution: float) -> str:
    """Which of two capacities is larger, where their ranges over seeds are apart.

    A capacity is searched to `resolution`, relative: the true one lies between what was found and that much more.
    """
    if spread.low > other.high * (1 + resolution):
        return "more"
    if spread.high * (1 + resolution) < other.low:
        return "less"
    return "no clear difference"
