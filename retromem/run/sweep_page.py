"""What a sweep found, drawn over its setting: a panel made of the rows of its studies."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from retromem.panels.point_spread import series_of, spread_at
from retromem.panels.points import Point
from retromem.panels.spread_text import known, spread_cell
from retromem.report.numerals import bytes_text, list_text, percent_text, significant_text
from retromem.report.panel_page import Chart, Panel, PanelPage
from retromem.report.seed_spread import medians_text
from retromem.report.table_text import Cell, Table
from retromem.rows import Row

_ASKED = {"identical": "as written", "seen": "in other wordings that were written", "heldout": "in new words",
          "alias": "by another name"}  # fmt: skip
_RIGHT = "accuracy_"
_COSTS = ("bits_per_param", "bits_per_byte", "storage_bytes")


def sweep_panels(sweeps: Mapping[str, Mapping[str, Any]], rows: Sequence[Row]) -> list[Panel]:
    """One a sweep, of what each of its studies measured. `sweeps`: where each swept study stands, as the plan says."""
    found = []
    for name in dict.fromkeys(part["study"] for part in sweeps.values()):
        parts = {study: part for study, part in sweeps.items() if part["study"] == name}
        axis = next(iter(parts.values()))["axis"]
        values = {study: part["value"] for study, part in parts.items()}
        points = list(_points(values, [row for row in rows if row.study in parts and row.role == "arm"]))
        if points:
            found.append(
                Panel(name=f"sweep-{name}", page=_page(name, axis, list(values.values()), points), points=points)
            )
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _points(values: Mapping[str, Any], rows: Sequence[Row]) -> Iterator[Point]:
    """Numbers are places on an axis; of other values each is a series of its own."""
    numeric = all(map(_is_number, values.values()))
    sizes, twins = ({getattr(row, name) for row in rows} for name in ("num_facts", "twin"))
    memories = {study: dict.fromkeys(row.memory for row in rows if row.study == study) for study in values}
    for row in rows:
        # A setting that is part of a name makes another name of one memory: its place in the study tells it.
        place = list(memories[row.study]).index(row.memory)
        names = dict.fromkeys(list(memories[study])[place] for study in values if len(memories[study]) > place)
        series = [row.memory if len(names) == 1 else row.family]
        series += [f"{row.num_facts:,} facts"] if len(sizes) > 1 else []
        series += ["twin" if row.twin else "real values"] if len(twins) > 1 else []
        series += [] if numeric else [str(values[row.study])]
        measured = {f"{_RIGHT}{row.phrasing}": row.accuracy} if row.phrasing else {}
        if row.phrasing == (row.smallest_for or "identical"):
            measured |= {name: getattr(row, name) for name in _COSTS}
        for quantity, y in measured.items():
            if y is not None:
                x = float(values[row.study]) if numeric else None
                yield Point(quantity=quantity, series=", ".join(series), x=x, y=float(y), seed=row.seed)


def _page(name: str, axis: str, values: Sequence[Any], points: Sequence[Point]) -> PanelPage:
    phrasings = [phrasing for phrasing in _ASKED if series_of(points, f"{_RIGHT}{phrasing}")]
    numeric = all(map(_is_number, values))
    wide = numeric and min(values) > 0 and max(values) >= 20 * min(values)
    over = {"x_label": axis if numeric else "", "x_scale": "log" if wide else "linear"}
    told = [_told(points, f"{_RIGHT}{phrasing}", _ASKED[phrasing], axis) for phrasing in phrasings[:1]]
    return PanelPage(
        title=f"Sweep of {axis}: {name}",
        answer=told[0] if told else f"Nothing was asked over {axis}.",
        finding=" ".join(_told(points, f"{_RIGHT}{phrasing}", _ASKED[phrasing], axis) for phrasing in phrasings[1:]),
        explained=[
            f"The study {name} was run once for each of {list_text(list(map(str, values)))}, with every other setting "
            "the same; the best value was looked for on the very questions that are shown, so another set of facts "
            "may have another best."
        ],
        charts=[
            Chart(
                title="Right answers",
                quantities=[f"{_RIGHT}{phrasing}" for phrasing in phrasings],
                y_label="accuracy",
                names={f"{_RIGHT}{phrasing}": _ASKED[phrasing] for phrasing in phrasings},
                percent=True,
                **over,  # type: ignore[arg-type]
            ),
            Chart(
                title="Bits per parameter",
                quantities=["bits_per_param"],
                y_label="bits per parameter",
                **over,  # type: ignore[arg-type]
            ),
        ],
        tables=[_table(axis, points)],
    )


def _told(points: Sequence[Point], quantity: str, asked: str, axis: str) -> str:
    """Each series: at which value it is most accurate, and how little it answers elsewhere."""
    told = []
    for series in series_of(points, quantity):
        places = sorted({point.x for point in points if point.series == series and point.x is not None})
        at: list[float | None] = [*places] or [None]
        spreads = {x: known(points, quantity, series, x) for x in at}
        best = max(spreads, key=lambda x: spreads[x].median)
        most, least = spreads[best].median, min(spread.median for spread in spreads.values())
        if best is None:
            told.append(f"{series} {percent_text(most)}")
        elif most == least:
            told.append(f"{series} {percent_text(most)} at every {axis}")
        else:
            end = {places[0]: ", the lowest tried", places[-1]: ", the highest tried"}.get(best, "")
            told.append(f"{series} {percent_text(most)} at {axis} {best:g}{end} ({percent_text(least)} at the worst)")
    return f"Most right answers {asked}: {'; '.join(told)}."


def _table(axis: str, points: Sequence[Point]) -> Table:
    columns: dict[str, tuple[str, Callable[[float], str]]] = {
        **{f"{_RIGHT}{phrasing}": (asked, percent_text) for phrasing, asked in _ASKED.items()},
        "bits_per_param": ("bits per parameter", significant_text),
        "bits_per_byte": ("bits per byte", significant_text),
        "storage_bytes": ("storage bytes", bytes_text),
    }
    shown = {quantity: told for quantity, told in columns.items() if series_of(points, quantity)}
    places = sorted({(point.series, point.x) for point in points}, key=lambda place: (place[0], place[1] or 0.0))
    blocks = [
        [
            Cell(text=series if x is None else f"{series}, {axis} {x:g}"),
            *(spread_cell(spread_at(points, quantity, series, x), text) for quantity, (_, text) in shown.items()),
        ]
        for series, x in places
    ]
    return Table(
        caption=medians_text(points), header=["", *(label for label, _ in shown.values())], blocks=[("", blocks)]
    )
