"""Marks that every figure shares: style, axes in bytes and facts, labels beside their points, SVG and PNG.

matplotlib is imported inside functions: `import retromem` must stay light.
"""

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy import ndarray

from retromem.report.numerals import bytes_text, count_text, percent_text
from retromem.report.seed_spread import Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox


FULL_WIDTH = 11.0
"""inches that fill the page"""
_PIXELS_PER_INCH = 97.0


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A drawn figure."""

    name: str
    """file stem under figures/"""
    caption: str
    alt: str
    """what a reader who sees no picture is told"""
    svg: str
    """an element to be put into HTML: no script, nothing to fetch"""
    png: bytes


@contextmanager
def style(salt: str) -> Iterator[None]:
    """Settings of all figures; `salt` keeps the ids of several drawings in one page apart."""
    import matplotlib

    with matplotlib.rc_context(
        {
            "axes.axisbelow": True,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.edgecolor": "#999999",
            "axes.grid": True,
            "axes.titlelocation": "left",
            "axes.titlesize": 12,
            "axes.titleweight": "bold",
            "font.size": 11,
            "grid.color": "#e8e8e8",
            "legend.frameon": False,
            "svg.fonttype": "none",
            "svg.hashsalt": salt,
            "text.parse_math": False,  # a name with two dollar signs is no formula
            "xtick.color": "#444444",
            "ytick.color": "#444444",
        }
    ):
        yield


def new_figure(width: float, height: float) -> "Figure":
    """Inches. Without pyplot, so that no global state remains."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def finish(figure: "Figure", *, name: str, caption: str, alt: str) -> Picture:
    """Write both forms. Dates and versions are left out: the same rows draw the same bytes."""
    svg, png = io.StringIO(), io.BytesIO()
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # each form would lay out all of it anew
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    figure.savefig(png, format="png", dpi=144, metadata={"Software": None})
    element = svg.getvalue()[svg.getvalue().index("<svg") :]
    opening, rest = element.split(">", 1)
    opening = re.sub(r' (xmlns(:xlink)?|width|height|version)="[^"]*"', "", opening)
    # Narrow figures stay narrow: text has one size all over the page.
    opening += f' style="max-width: {figure.get_figwidth() * _PIXELS_PER_INCH:.0f}px"'
    return Picture(name=name, caption=caption, alt=alt, svg=f"{opening}>{rest}", png=png.getvalue())


def draw_spreads(
    axes: "Axes", points: Sequence[tuple[float, Spread]], *, colour: str, shade: float, **line: Any
) -> "Line2D":
    """The median at each place, joined, and the range behind it, of so much opacity."""
    places, spreads = [place for place, _ in points], [spread for _, spread in points]
    (drawn,) = axes.plot(places, [spread.median for spread in spreads], color=colour, **line)
    if shade:
        low, high = [spread.low for spread in spreads], [spread.high for spread in spreads]
        axes.fill_between(places, low, high, color=colour, alpha=shade, linewidth=0)
    return drawn


_ASIDE = 1.15
"""times the largest size, and the smallest over it: where an axis of facts ends"""


def facts_axis(axes: "Axes", sizes: Sequence[int]) -> None:
    """Logarithmic x with ticks at sizes measured, as many as have room."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("log")
    room = (_ASIDE**2 * sizes[-1] / sizes[0]) ** 0.12
    shown = [sizes[-1]]
    for num_facts in sizes[-2::-1]:
        if shown[-1] / num_facts >= room:
            shown.append(num_facts)
    axes.xaxis.set_major_locator(FixedLocator([float(num_facts) for num_facts in shown]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: count_text(number)))
    axes.set_xlim(sizes[0] / _ASIDE, sizes[-1] * _ASIDE)
    axes.set_xlabel("facts written")


def bytes_axis(axes: "Axes", which: str) -> None:
    """Logarithmic bytes on axis `x` or `y`; the fewer decades are spanned, the more ticks in each."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis: XAxis | YAxis
    if which == "x":
        axes.set_xscale("log")
        axis, (low, high) = axes.xaxis, axes.get_xlim()
    else:
        axes.set_yscale("log")
        axis, (low, high) = axes.yaxis, axes.get_ylim()
    decades = math.log10(high / low) * (2 if which == "x" else 1)  # labels side by side need twice the room
    subs = (1.0, 2.0, 5.0) if decades < 3 else (1.0, 3.0) if decades < 6 else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda number, _: bytes_text(number)))


def share_axis(axes: "Axes", *, room: float) -> None:
    """y in percent; `room` is what stays free above 100 %, as a share of the height below."""
    from matplotlib.ticker import FuncFormatter

    bottom = min(max(0.0, axes.get_ylim()[0]), 0.9)  # ticks of a percent or less would all read alike
    axes.set_ylim(bottom, 1.0)
    axes.set_yticks([share for share in axes.get_yticks() if bottom <= share <= 1.0])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: percent_text(share)))
    axes.set_ylim(bottom, 1.0 + room * (1.0 - bottom))


@dataclass(frozen=True, kw_only=True)
class Label:
    """Text that belongs beside a point."""

    x: float
    y: float
    text: str
    colour: str
    bold: bool = False
    side: Literal["above", "below"] | None = None
    """of the mark: of two lines that end close together, the upper one's text must not stand under the lower one's"""


# In points from the mark, with the alignment that keeps the text on that side; tried in this order.
_OFFSETS = [
    (8.0, 0.0, "left", "center"),
    (-8.0, 0.0, "right", "center"),
    (0.0, 8.0, "center", "bottom"),
    (0.0, -8.0, "center", "top"),
    (6.0, 9.0, "left", "bottom"),
    (6.0, -9.0, "left", "top"),
    (-6.0, 9.0, "right", "bottom"),
    (-6.0, -9.0, "right", "top"),
    (0.0, 22.0, "center", "bottom"),
    (0.0, -22.0, "center", "top"),
    (6.0, 22.0, "left", "bottom"),
    (6.0, -22.0, "left", "top"),
    (-6.0, 22.0, "right", "bottom"),
    (-6.0, -22.0, "right", "top"),
]


def place_labels(axes: "Axes", labels: Sequence[Label]) -> None:
    """Write each label where it covers no other label, no mark and no line; the least bad place if there is none."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    figure = axes.get_figure()
    assert isinstance(figure, Figure) and isinstance(figure.canvas, FigureCanvasAgg)
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()  # type: ignore[no-untyped-call]
    marks = [axes.transData.transform((label.x, label.y)) for label in labels]
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in marks]
    lines = [Bbox.from_bounds(x - 1, y - 1, 2, 2) for line in axes.lines for x, y in _along(line)]
    for own, label in enumerate(labels):
        best = (math.inf, 0)
        for choice, (dx, dy, ha, va) in enumerate(_OFFSETS):
            if (dy <= 0 and label.side == "above") or (dy >= 0 and label.side == "below"):
                continue
            note = _write(axes, label, dx, dy, ha, va)
            box = note.get_window_extent(renderer)
            note.remove()
            others = taken[:own] + taken[own + 1 :]
            covered = sum(_overlap(box, other) for other in others)
            covered += 4 * sum(_overlap(box, piece) for piece in lines)
            covered += 4 * (box.width * box.height - _overlap(box, axes.bbox))
            best = min(best, (round(covered, 3), choice))
        note = _write(axes, label, *_OFFSETS[best[1]])
        taken.append(note.get_window_extent(renderer))


def _along(line: "Line2D") -> ndarray:
    """Points every few pixels of a drawn line, in pixels; none for marks alone."""
    if line.get_linestyle() == "None":
        return np.empty((0, 2))
    corners = line.get_transform().transform(line.get_xydata())
    pieces = [np.linspace(start, end, 60) for start, end in pairwise(corners)]
    return np.concatenate(pieces) if pieces else np.empty((0, 2))


def _write(axes: "Axes", label: Label, dx: float, dy: float, ha: str, va: str) -> "Annotation":
    note = axes.annotate(
        label.text,
        (label.x, label.y),
        xytext=(dx, dy),
        textcoords="offset points",
        ha=ha,
        va=va,
        color=label.colour,
        fontsize=10,
        fontweight="bold" if label.bold else "normal",
    )
    note.set_in_layout(False)  # the axes must not shrink for it
    return note


def _overlap(box: "Bbox", other: "Bbox") -> float:
    width = min(box.x1, other.x1) - max(box.x0, other.x0)
    height = min(box.y1, other.y1) - max(box.y0, other.y0)
    return float(max(width, 0.0) * max(height, 0.0))
