"""How panels write what several seeds gave: numbers in sentences, cells of tables, one spread against another.

A sentence or a table is made from the points. Where it needs one that nobody measured, NotMeasured leaves it out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from retromem.panels.point_spread import curve, lines_of, spread_at
from retromem.panels.points import Point
from retromem.report.numerals import significant_text
from retromem.report.seed_spread import Spread, medians_text
from retromem.report.table_text import Cell, Table

K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")
C = TypeVar("C")
_DASH = "–"


class NotMeasured(LookupError):
    """What a sentence is about has no point; says what."""


def known(points: Sequence[Point], quantity: str, series: str, x: float | None = None, /, **labels: str) -> Spread:
    """The spread of what a sentence is about; NotMeasured where there is none."""
    spread = spread_at(points, quantity, series, x, **labels)
    if spread is None:
        raise _not_measured(quantity, series, labels, "" if x is None else f" at {x:g}")
    return spread


def known_curve(points: Sequence[Point], quantity: str, series: str, /, **labels: str) -> dict[float, Spread]:
    """x -> median and range over seeds, x rising, at least one; NotMeasured where there is none."""
    found = curve(points, quantity, series, **labels)
    if not found:
        raise _not_measured(quantity, series, labels)
    return found


def _not_measured(quantity: str, series: str, labels: Mapping[str, str], at: str = "") -> NotMeasured:
    whose = ", ".join([*([series] if series else []), *labels.values()])
    return NotMeasured(f"{quantity}{f' of {whose}' if whose else ''}{at}")


def ends_of(curves: Iterable[Iterable[float]]) -> list[float]:
    """The first x and the last of several curves; one where they are the same."""
    places = [x for curve in curves for x in curve]
    return sorted({min(places), max(places)})


def least_and_most(numbers: Mapping[K, float]) -> list[K]:
    """Whose number is the smallest, and whose the largest; one where they are the same."""
    return list(dict.fromkeys(pick(numbers, key=lambda key: numbers[key]) for pick in (min, max)))


def of_each(of: Callable[[K], V], keys: Iterable[K]) -> dict[K, V]:
    """What is made of each, without those that it cannot be made of; NotMeasured where that leaves none."""
    made: dict[K, V] = {}
    missing = NotMeasured("anything to compare")
    for key in keys:
        try:
            made[key] = of(key)
        except NotMeasured as error:
            missing = error
    if not made:
        raise missing
    return made


def sentences(points: Sequence[Point], *tell: Callable[[Sequence[Point]], str]) -> str:
    """Those that can be told of the points; where none can, what was not measured."""
    try:
        return " ".join(of_each(lambda one: one(points), tell).values())
    except NotMeasured as missing:
        return f"Not measured: {missing}."


def lines(of: Callable[[K], V], keys: Iterable[K]) -> list[V]:
    """As `of_each`; none where it can be made of none."""
    try:
        return list(of_each(of, keys).values())
    except NotMeasured:
        return []


def tables(points: Sequence[Point], *make: Callable[[Sequence[Point]], Table]) -> list[Table]:
    """Those in which something was measured, without lines and blocks in which nothing was."""
    found = []
    for table in lines(lambda one: one(points), make):
        blocks = [(heading, [line for line in block if _tells(line)]) for heading, block in table.blocks]
        if blocks := [block for block in blocks if block[1]]:
            found.append(replace(table, blocks=blocks))
    return found


def medians_table(
    points: Sequence[Point], caption: str, header: Sequence[str], rows: Sequence[Sequence[Cell]]
) -> Table:
    """In one block; the caption says of how many seeds the medians are."""
    return Table(caption=f"{caption} {medians_text(points)}", header=header, blocks=[("", rows)])


def by_name(names: Iterable[str]) -> dict[str, str]:
    """Rows or columns that are called what they are."""
    return {name: name for name in names}


def grid(
    points: Sequence[Point],
    caption: str,
    corner: str,
    rows: Mapping[str, R],
    columns: Mapping[str, C],
    cell: Callable[[R, C], Cell],
) -> Table:
    """A table of medians, one cell for each row and column, both by what they are called."""
    lines = [[Cell(text=name), *(cell(row, column) for column in columns.values())] for name, row in rows.items()]
    return medians_table(points, caption, [corner, *columns], lines)


def grid_of_lines(
    points: Sequence[Point], caption: str, quantity: str, columns: Mapping[str, tuple[str, Callable[[float], str]]]
) -> Table:
    """A row for each series, and for each of its labels, that has one quantity; a column for each of several."""

    def cell(of: Point, column: tuple[str, Callable[[float], str]]) -> Cell:
        quantity, text = column
        return median_cell(spread_at(points, quantity, of.series, **of.labels), text)

    return grid(points, caption, "", {of.name: of for of in lines_of(points, quantity)}, columns, cell)


def _tells(line: Sequence[Cell]) -> bool:
    return any(cell.text not in ("", _DASH) for cell in line[1:])


def ratio(part: Spread, whole: Spread) -> float:
    """Of the medians; NotMeasured where the whole is nothing."""
    if not whole.median:
        raise NotMeasured("a share of what is 0")
    return part.median / whole.median


def spread_cell(spread: Spread | None, text: Callable[[float], str] = significant_text) -> Cell:
    """The median, and the range over seeds where it can be told from it; a dash where nothing was measured."""
    if spread is None:
        return Cell(text=_DASH)
    low, high = text(spread.low), text(spread.high)
    return Cell(text=text(spread.median), detail="" if low == high else f"{low} to {high}")


def median_cell(spread: Spread | None, text: Callable[[float], str] = significant_text) -> Cell:
    """The median alone; a dash where nothing was measured."""
    return Cell(text=_DASH if spread is None else text(spread.median))


def against(spread: Spread, other: Spread, *, resolution: float = 0.0) -> str:
    """Which of two is larger, where their ranges over seeds are apart.

    A capacity is searched to `resolution`, relative: the true one lies between what was found and that much more.
    """
    if spread.low > other.high * (1 + resolution):
        return "more"
    if spread.high * (1 + resolution) < other.low:
        return "less"
    return "no clear difference"
