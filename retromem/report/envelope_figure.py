"""One chart a goal: the fewest bytes of each side against the number of facts, with the range over seeds."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from retromem.report.drawing import (
    FULL_WIDTH,
    Label,
    Picture,
    bytes_axis,
    facts_axis,
    finish,
    new_figure,
    place_labels,
    style,
)
from retromem.report.envelope import EnvelopePoint, Goal, SearchedContest, envelope, goals_of, told_crossings
from retromem.report.envelope_words import goal_text
from retromem.report.sides import COLOURS, MARKERS, Group

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHORT = {Group.WEIGHTS: "FFN weights", Group.INDEX: "index"}
_WIDTH = 0.49 * FULL_WIDTH
_ROOM_FOR_NAMES = 0.34
"""of the axis, right of the last size: what stands there covers no line"""


def draw_envelopes(contest: SearchedContest, floor: Sequence[tuple[int, float]], *, stem: str) -> list[Picture]:
    """A picture for each goal, their bytes on one scale. `floor`: bytes of the information in so many facts."""
    goals = goals_of(contest.rows)
    curves = {goal: {group: envelope(contest.rows, group, goal) for group in _SHORT} for goal in goals}
    heights = [size for _, size in floor]
    for points in (points for of_goal in curves.values() for points in of_goal.values()):
        heights += [end for point in points if point.size for end in (point.size.low, point.size.high)]
    known = [height for height in heights if math.isfinite(height)]
    if not known:
        return []
    limits = min(known) / 1.4, max(known) * 1.7
    return [_draw(goal, curves[goal], floor, limits, name=f"{stem}-{goal.phrasing}-{goal.tau:g}") for goal in goals]


def _draw(
    goal: Goal,
    curves: dict[Group, list[EnvelopePoint]],
    floor: Sequence[tuple[int, float]],
    limits: tuple[float, float],
    *,
    name: str,
) -> Picture:
    with style(name):
        figure = new_figure(_WIDTH, 4.2)
        axes = figure.subplots()
        labels = [label for group, points in curves.items() for label in _draw_side(axes, group, points)]
        if len({label.x for label in labels}) == 1 < len(labels):
            lower, upper = sorted(labels, key=lambda label: label.y)
            labels = [replace(lower, side="below"), replace(upper, side="above")]
        if floor:
            axes.plot(*zip(*floor, strict=True), color=COLOURS[Group.FLOOR], linestyle="--", linewidth=1.5)
            at, height = floor[-1]
            labels.append(Label(x=float(at), y=height, text="information\nin the facts", colour=COLOURS[Group.FLOOR]))
        for crossing in told_crossings(curves[Group.WEIGHTS], curves[Group.INDEX]):
            low, high = crossing.num_facts.low / 1.02, crossing.num_facts.high * 1.02
            axes.axvspan(low, high, color="#f3ecd0", zorder=0, linewidth=0)
            axes.text((low * high) ** 0.5, 0.02, "crossover", transform=axes.get_xaxis_transform(), ha="center",
                      color="#8a7a30", fontsize=10)  # fmt: skip
        facts_axis(axes, sorted({point.num_facts for points in curves.values() for point in points}))
        low, high = axes.get_xlim()
        axes.set_xlim(low, high * (high / low) ** _ROOM_FOR_NAMES)
        axes.set_ylim(*limits)
        bytes_axis(axes, "y")
        axes.set_ylabel("storage bytes")
        axes.set_title(f"Fewest bytes that answer {goal_text(goal)}")
        place_labels(axes, labels)
        return finish(figure, name=name, caption="", alt=f"Fewest bytes that answer {goal_text(goal)}, by side.")


def _draw_side(axes: "Axes", group: Group, points: Sequence[EnvelopePoint]) -> list[Label]:
    """The median, the range over seeds, and crosses where the goal was not reached; the side's name at the end."""
    colour, marker = COLOURS[group], MARKERS[group]
    sizes = [(point.num_facts, point.size) for point in points if point.size is not None]
    missed = [point.num_facts for point in points if point.size is None]
    if missed:
        height = 0.97 if group is Group.WEIGHTS else 0.91  # two sides may miss at the same size
        axes.plot(missed, [height] * len(missed), "x", color=colour, markersize=9, markeredgewidth=2.5,
                  transform=axes.get_xaxis_transform())  # fmt: skip
    if not sizes:
        return []
    facts, medians = [at for at, _ in sizes], [size.median for _, size in sizes]
    axes.plot(facts, medians, color=colour, marker=marker, linewidth=2.5, markersize=7)
    tops = [size.high if math.isfinite(size.high) else size.median for _, size in sizes]
    axes.fill_between(facts, [size.low for _, size in sizes], tops, color=colour, alpha=0.2, linewidth=0)
    return [Label(x=float(facts[-1]), y=medians[-1], text=_SHORT[group], colour=colour, bold=True)]
