"""What a sweep found, drawn over its setting: a panel made of the rows of its studies."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from retromem.panels.point_spread import series_of, spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import known, sentences, spread_cell
from retromem.report.figures import file_stem
from retromem.report.numerals import bytes_text, count_text, list_text, percent_text, significant_text
from retromem.report.panel_page import Chart, Panel, PanelPage
from retromem.report.seed_spread import medians_text
from retromem.report.table_text import Cell, Table
from retromem.rows import CapacityRow, Row

ASKED = {"identical": "as written", "seen": "in other wordings that were written", "heldout": "paraphrased",
         "alias": "by another name"}  # fmt: skip
RIGHT = "accuracy_"
FACTS = "capacity_facts"
COSTS = ("bits_per_param", "bits_per_byte", "storage_bytes")
Swept = Mapping[str, Mapping[str, Any]]
"""of each study that is part of a sweep: its `study`, the `axis` and the `value`"""


def sweep_panels(
    sweeps: Swept, rows: Sequence[tuple[str, Row]], capacities: Sequence[tuple[str, CapacityRow]]
) -> list[Panel]:
    """One a sweep, of what each of its studies measured. Rows come with the place of their memory in the study, which
    is the same for every value, whatever the memory is called."""
    found = []
    for name in dict.fromkeys(part["study"] for part in sweeps.values()):
        parts = {study: part for study, part in sweeps.items() if part["study"] == name}
        own = [(place, row) for place, row in rows if row.study in parts and row.role == "arm"]
        searched = [(place, row) for place, row in capacities if row.study in parts]
        points = list(_points({study: part["value"] for study, part in parts.items()}, own, searched))
        if points:
            axis = next(iter(parts.values()))["axis"]
            values = [part["value"] for part in parts.values()]
            found.append(Panel(name=file_stem(f"sweep-{name}"), page=_page(name, axis, values, points), points=points))
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _points(
    values: Mapping[str, Any], rows: Sequence[tuple[str, Row]], capacities: Sequence[tuple[str, CapacityRow]]
) -> Iterator[Point]:
    """Numbers are places on an axis; of other values each is a series of its own."""
    numeric = all(map(_is_number, values.values()))
    names = _names(rows)
    searched = {place for place, _ in capacities}  # whose rows are of whatever sizes the search asked for
    sizes = {row.num_facts for place, row in rows if place not in searched}
    twins = {row.twin for _, row in rows}

    def point(place: str, row: Row | CapacityRow, size: int | None, quantity: str, y: float) -> Point:
        series = [names.get(place, row.memory)]
        series += [f"{size:,} facts"] if size is not None and len(sizes) > 1 else []
        series += ["twin" if row.twin else "real values"] if len(twins) > 1 else []
        series += [] if numeric else [str(values[row.study])]
        x = float(values[row.study]) if numeric else None
        return Point(quantity=quantity, series=", ".join(series), x=x, y=y, seed=row.seed)

    for place, row in rows:
        if place in searched:
            continue
        measured = {f"{RIGHT}{row.phrasing}": row.accuracy} if row.phrasing else {}
        if row.phrasing == (row.smallest_for or "identical"):
            measured |= {name: getattr(row, name) for name in COSTS}
        for quantity, y in measured.items():
            if y is not None:
                yield point(place, row, row.num_facts, quantity, float(y))
    for place, capacity in capacities:
        yield point(place, capacity, None, FACTS, float(capacity.num_facts))


def _names(rows: Sequence[tuple[str, Row]]) -> dict[str, str]:
    """Of each place: the memory's name, or its family's where the setting is part of the name; each another one."""
    found: dict[str, str] = {}
    for place in dict.fromkeys(place for place, _ in rows):
        own = [row for its, row in rows if its == place]
        called = {row.memory for row in own}
        found[place] = called.pop() if len(called) == 1 else own[0].family
        if goal := own[0].smallest_for:
            found[place] += f", smallest {ASKED[goal]}"
    given = list(found.values())
    return {place: name if given.count(name) == 1 else f"{name} ({place})" for place, name in found.items()}


def _page(name: str, axis: str, values: Sequence[Any], points: Sequence[Point]) -> PanelPage:
    phrasings = [phrasing for phrasing in ASKED if series_of(points, f"{RIGHT}{phrasing}")]
    numeric = all(map(_is_number, values))
    wide = numeric and min(values) > 0 and max(values) >= 20 * min(values)
    chart = partial(Chart, x_label=axis if numeric else "", x_scale="log" if wide else "linear")
    tell = [partial(_told_of_facts, axis=axis)] if series_of(points, FACTS) else []
    tell += [partial(_told, phrasing=phrasing, axis=axis) for phrasing in phrasings]
    return PanelPage(
        title=f"Sweep of {axis}: {name}",
        answer=sentences(points, *tell[:1]),
        finding=sentences(points, *tell[1:]) if tell[1:] else "",
        explained=[
            f"The study {name} was run once for each of {list_text(list(map(str, values)))}, with every other setting "
            "the same; the best value was looked for on the very questions that are shown, so another set of facts "
            "may have another best."
        ],
        charts=[
            chart(title="Facts stored", quantities=[FACTS], y_label="facts"),
            chart(
                title="Right answers",
                quantities=[f"{RIGHT}{phrasing}" for phrasing in phrasings],
                y_label="accuracy",
                names={f"{RIGHT}{phrasing}": ASKED[phrasing] for phrasing in phrasings},
                percent=True,
            ),
            chart(title="Bits per parameter", quantities=["bits_per_param"], y_label="bits per parameter"),
            chart(title="Storage", quantities=["storage_bytes"], y_label="bytes"),
        ],
        tables=[_table(axis, points)],
    )


def _told(points: Sequence[Point], phrasing: str, axis: str) -> str:
    return f"Most right answers {ASKED[phrasing]}: {_best(points, f'{RIGHT}{phrasing}', axis, percent_text)}."


def _told_of_facts(points: Sequence[Point], axis: str) -> str:
    return f"Most facts stored: {_best(points, FACTS, axis, count_text)}."


def _best(points: Sequence[Point], quantity: str, axis: str, text: Callable[[float], str]) -> str:
    """Each series: at which value it has most, and how little elsewhere."""
    told = []
    for series in series_of(points, quantity):
        own = [point for point in points if (point.quantity, point.series) == (quantity, series)]
        places = sorted({point.x for point in own if point.x is not None})
        if not places:
            told.append(f"{series} {text(known(points, quantity, series).median)}")
            continue
        medians = {x: known(points, quantity, series, x).median for x in places}
        most, least = max(medians.values()), min(medians.values())
        at = [x for x in places if medians[x] == most]
        if len(places) > 1 and most == least:
            told.append(f"{series} {text(most)} at every {axis}")
            continue
        said = f"{series} {text(most)} at {axis} {list_text([f'{x:g}' for x in at])}"
        if len(places) > 1:
            end = {places[0]: ", the lowest tried", places[-1]: ", the highest tried"} if len(at) == 1 else {}
            said += f"{end.get(at[0], '')} ({text(least)} at the worst)"
        told.append(said)
    return "; ".join(told)


def _table(axis: str, points: Sequence[Point]) -> Table:
    columns: dict[str, tuple[str, Callable[[float], str]]] = {
        FACTS: ("facts stored", count_text),
        **{f"{RIGHT}{phrasing}": (asked, percent_text) for phrasing, asked in ASKED.items()},
        "bits_per_param": ("bits per parameter", significant_text),
        "bits_per_byte": ("bits per byte", significant_text),
        "storage_bytes": ("storage", bytes_text),
    }
    shown = {quantity: told for quantity, told in columns.items() if series_of(points, quantity)}
    places = sorted({(point.series, point.x) for point in points}, key=lambda place: (place[0], place[1] or 0.0))
    lines = [
        [
            Cell(text=series if x is None else f"{series}, {axis} {x:g}"),
            *(spread_cell(spread_at(points, quantity, series, x), text) for quantity, (_, text) in shown.items()),
        ]
        for series, x in places
    ]
    return Table(
        caption=medians_text(points), header=["", *(label for label, _ in shown.values())], blocks=[("", lines)]
    )
