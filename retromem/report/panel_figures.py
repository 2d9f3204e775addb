"""The picture of a panel: its charts side by side, one colour a series, formulas grey and dashed."""

import math
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from retromem.panels.points import Point
from retromem.report.drawing import FULL_WIDTH, Picture, draw_spreads, finish, new_figure, style
from retromem.report.numerals import percent_text
from retromem.report.panel_page import Chart, Panel
from retromem.report.seed_spread import medians_text, spread_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

# Okabe and Ito's palette, the light yellow left out; markers repeat the difference.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
_FORMULA = "#777777"
_DASHES: tuple[tuple[float, ...], ...] = ((6, 3), (2, 2), (8, 2, 2, 2), (3, 1, 1, 1, 1, 1), (1, 3))


def draw_panel(panel: Panel) -> Picture:
    """Medians over seeds, the range shaded or drawn as a bar; of the charts that have points."""
    charts = charts_with_points(panel)
    looks = _looks(panel)
    rows = max((len(_shown(chart, panel.points)) for chart in charts if not chart.x_label), default=0)
    with style(panel.name):
        figure = new_figure(FULL_WIDTH if len(charts) > 1 else 0.72 * FULL_WIDTH, max(3.9, 1.3 + 0.32 * rows))
        all_axes = list(figure.subplots(1, len(charts), squeeze=False)[0])
        for axes, chart in zip(all_axes, charts, strict=True):
            if chart.x_label:
                _draw_curves(axes, chart, panel.points, looks)
            else:
                _draw_rows(axes, chart, panel.points, looks)
            axes.set_title(fill(chart.title, 40 if len(charts) > 1 else 70), fontsize=11)
        handles: dict[str, Artist] = {}
        for axes in all_axes:
            handles |= dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
        if handles:
            labels = [fill(label, 26) for label in handles]
            figure.legend(list(handles.values()), labels, loc="outside right upper", fontsize=9.5)
        return finish(
            figure,
            name=panel.name,
            caption=_caption(panel),
            alt=f"{panel.page.title}: {'; '.join(chart.title for chart in charts)}.",
        )


def charts_with_points(panel: Panel) -> list[Chart]:
    """The others would be empty axes."""
    return [chart for chart in panel.page.charts if _shown(chart, panel.points)]


def _caption(panel: Panel) -> str:
    measured = medians_text(panel.points).replace(" seeds.", " seeds, range shaded.")
    formulas = " Grey and dashed: formulas." if any(point.seed is None for point in panel.points) else ""
    return measured + formulas


def _looks(panel: Panel) -> Mapping[str, tuple[str, str, tuple[float, ...]]]:
    """Colour, marker and dash of every series, the same in all charts of the panel; of formulas by their labels too."""
    measured = list(dict.fromkeys(point.series for point in panel.points if point.seed is not None))
    formulas = [name for name in dict.fromkeys(map(_look_of, panel.points)) if name not in measured]
    looks: dict[str, tuple[str, str, tuple[float, ...]]] = {}
    for at, series in enumerate(measured):
        looks[series] = (_COLOURS[at % len(_COLOURS)], _MARKERS[at % len(_MARKERS)], ())
    for at, series in enumerate(formulas):
        looks[series] = (_FORMULA, "", _DASHES[at % len(_DASHES)])
    return looks


def _look_of(point: Point) -> str:
    """Whose look the line of this point has."""
    return point.name if point.seed is None else point.series


def _shown(chart: Chart, points: Sequence[Point]) -> dict[str, list[Point]]:
    """The points of each line or row by what it is called, in the order of the chart's series."""
    found: dict[str, list[Point]] = {}
    for point in points:
        if point.quantity in chart.quantities and chart.labels.items() <= point.labels.items():
            others = [said for label, said in point.labels.items() if label not in chart.labels]
            found.setdefault(", ".join([point.series, *others]), []).append(point)
    if not chart.series:
        return found
    return {name: own for series in chart.series for name, own in found.items() if own[0].series == series}


def _draw_curves(
    axes: "Axes", chart: Chart, points: Sequence[Point], looks: Mapping[str, tuple[str, str, tuple[float, ...]]]
) -> None:
    shown = _shown(chart, points)
    for name, of_line in shown.items():
        colour, marker, dash = looks[_look_of(of_line[0])]
        for number, quantity in enumerate(chart.quantities):
            own = [point for point in of_line if point.quantity == quantity]
            places = sorted({point.x for point in own if point.x is not None})
            spreads = [spread_of(point.y for point in own if point.x == place) for place in places]
            known = [(x, spread) for x, spread in zip(places, spreads, strict=True) if spread is not None]
            if not known:
                continue
            line = draw_spreads(
                axes,
                known,
                colour=colour,
                shade=0.13 if marker else 0.0,
                marker=marker or None,
                markersize=4.5,
                markerfacecolor="white" if number else colour,
                linewidth=1.3,
                linestyle="--" if number else "-",
                label=_label(chart, name, quantity),
            )
            if dash:
                line.set_dashes(dash)
    _set_scales(axes, chart, sorted({p.x for own in shown.values() for p in own if p.x is not None}))
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)


def _draw_rows(
    axes: "Axes", chart: Chart, points: Sequence[Point], looks: Mapping[str, tuple[str, str, tuple[float, ...]]]
) -> None:
    """One line a series, a mark for each quantity: filled, hollow, a stroke."""
    shown = dict(reversed(_shown(chart, points).items()))
    for height, own in enumerate(shown.values()):
        for number, quantity in enumerate(chart.quantities):
            spread = spread_of(point.y for point in own if point.quantity == quantity)
            if spread is None:
                continue
            colour = looks[_look_of(own[0])][0] if len(chart.quantities) == 1 else _COLOURS[number % len(_COLOURS)]
            axes.plot([spread.low, spread.high], [height, height], color=colour, linewidth=2, alpha=0.4)
            label = (chart.names or {}).get(quantity, quantity) if len(chart.quantities) > 1 else None
            axes.plot(spread.median, height, linestyle="None", marker=_MARKERS[number], color=colour, label=label)
    axes.set_yticks(range(len(shown)), [fill(name, 32) for name in shown], fontsize=9.5)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    if chart.y_scale == "log":
        axes.set_xscale("log")
        # Powers of ten would be set as formulas, which these pictures do not have.
        axes.xaxis.set_major_formatter(lambda number, _: f"{number:,g}")
        axes.xaxis.set_minor_formatter(lambda number, _: "")
    elif chart.percent:
        axes.xaxis.set_major_formatter(lambda share, _: percent_text(share))
    axes.set_xlabel(chart.y_label)


def _label(chart: Chart, name: str, quantity: str) -> str:
    if len(chart.quantities) == 1:
        return name
    return f"{name}, {(chart.names or {}).get(quantity, quantity)}"


def _set_scales(axes: "Axes", chart: Chart, places: Sequence[float]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    if chart.x_scale == "log" and places:
        axes.set_xscale("log")
        round_places = all(place == float(f"{place:.2g}") for place in places) or len(places) < 8
        axes.xaxis.set_major_locator(FixedLocator(_apart(places)) if round_places else LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,g}"))
    if chart.y_scale == "log":
        axes.set_yscale("log")
        # Powers of ten would be set as formulas, which these pictures do not have.
        axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,g}"))
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 1000 * low else (1.0,), numticks=12))
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif chart.percent:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: percent_text(share)))


def _apart(places: Sequence[float]) -> list[float]:
    """Those of the places that leave room for their labels on a logarithmic axis."""
    room = math.log(places[-1] / places[0]) / 7
    kept = [places[-1]]
    for place in places[-2::-1]:
        if math.log(kept[-1] / place) >= room:
            kept.append(place)
    return kept
