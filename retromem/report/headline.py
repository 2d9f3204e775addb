"""The one figure of the first screen: who is smaller as written, and what each memory answers paraphrased."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from retromem.report.crossover import arms_at, crossover, curves_of
from retromem.report.drawing import (
    FULL_WIDTH,
    Label,
    Picture,
    bytes_axis,
    facts_axis,
    finish,
    new_figure,
    place_labels,
    share_axis,
    style,
)
from retromem.report.numerals import count_text, percent_text
from retromem.report.seed_spread import medians_text, seed_spread
from retromem.report.sides import COLOURS, MARKERS, Contest, Group, group_of
from retromem.rows import TAU, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHORT = {Group.WEIGHTS: "FFN weights", Group.INDEX: "index", Group.TEXT_INDEX: "statement index"}


def draw_headline(contest: Contest) -> Picture | None:
    """Fewest bytes that answer as written against number of facts, and accuracy against bytes, reworded.

    The first is left out where no memory answers well enough, the second where the sides share no size; None without
    either.
    """
    reached = any(any(curve.values()) for curve in curves_of(contest, "identical"))
    reworded = _last_common(contest, "heldout")
    phrasing, last = ("identical", _last_common(contest, "identical")) if reworded is None else ("heldout", reworded)
    num_panels = int(reached) + int(last is not None)
    if num_panels == 0:
        return None
    said = {"identical": "the questions as written", "heldout": "the same questions, paraphrased"}[phrasing]
    goal = percent_text(TAU["identical"])
    captions = []
    with style("headline"):
        figure = new_figure(FULL_WIDTH if num_panels == 2 else 0.6 * FULL_WIDTH, 4.3)
        widths = (1, 1.15) if num_panels == 2 else (1,)
        panels = list(figure.subplots(1, num_panels, width_ratios=widths, squeeze=False)[0])
        if reached:
            _draw_sizes(panels[0], contest)
            captions.append(
                f"The smallest memory of each side that answers {goal} of the questions as written; lower is better. "
                f"A cross on top: none tried answers {goal}. Hollow: an upper bound (smallest tried). Grey: nothing "
                "that answers every question can be smaller."
            )
        if last is not None:
            _draw_arms(panels[-1], contest, phrasing, last)
            captions.append(
                f"Every memory at {count_text(last)} facts, asked {said}; up and left is better. "
                f"{_colours(contest, phrasing, last)}. A line joins those that no smaller memory of their side beats."
            )
        if num_panels == 2:
            captions = [
                f"{where}: {text[0].lower()}{text[1:]}" for where, text in zip(("Left", "Right"), captions, strict=True)
            ]
        return finish(
            figure,
            name="headline",
            caption=f"{' '.join(captions)} {medians_text(contest.rows)}",
            alt=f"Fewest bytes that answer {goal} as written, by number of facts, and accuracy by bytes, {said}.",
        )


def _colours(contest: Contest, phrasing: str, num_facts: int) -> str:
    said = {
        Group.WEIGHTS: "Orange: FFN weights",
        Group.INDEX: "Blue: a question index",
        Group.TEXT_INDEX: "Light blue: a statement index",
        Group.PAIRED: "Green: weights and index paired",
    }
    drawn = {
        group_of(row) for row in contest.rows if (row.role, row.phrasing, row.num_facts) == ("arm", phrasing, num_facts)
    }
    return ". ".join(text for group, text in said.items() if group in drawn)


def _last_common(contest: Contest, phrasing: str) -> int | None:
    """Largest size both sides finished."""
    weights, rival = curves_of(contest, phrasing)
    return max(weights.keys() & rival.keys(), default=None)


def _draw_sizes(axes: "Axes", contest: Contest) -> None:
    labels = []
    curves = dict(zip((Group.WEIGHTS, contest.rival), curves_of(contest, "identical"), strict=True))
    for group, curve in curves.items():
        reached = [num_facts for num_facts, arm in curve.items() if arm is not None]
        missed = [num_facts for num_facts, arm in curve.items() if arm is None]
        # nan where none reached the goal: the line has a gap there.
        heights = [float("nan") if arm is None else arm.storage_bytes for arm in curve.values()]
        if reached:
            axes.plot(list(curve), heights, color=COLOURS[group], marker=MARKERS[group], linewidth=2.5, markersize=7)
            bounds = [(size, arm.storage_bytes) for size, arm in curve.items() if arm and arm.is_smallest_tried]
            axes.plot(
                [size for size, _ in bounds], [height for _, height in bounds], linestyle="", marker=MARKERS[group],
                color=COLOURS[group], markerfacecolor="white", markersize=7,
            )  # fmt: skip
            height = heights[list(curve).index(reached[-1])]
            labels.append(Label(x=float(reached[-1]), y=height, text=_SHORT[group], colour=COLOURS[group], bold=True))
        if missed:
            # Two sides may miss at the same size: their crosses stand one above the other.
            height = 0.97 if group is Group.WEIGHTS else 0.91
            axes.plot(
                missed, [height] * len(missed), "x", color=COLOURS[group], markersize=9, markeredgewidth=2.5,
                transform=axes.get_xaxis_transform(),
            )  # fmt: skip
    floor = _floor(contest.rows)
    if floor:
        axes.plot(*zip(*floor, strict=True), color=COLOURS[Group.FLOOR], linestyle="--", linewidth=1.5)
        labels.append(
            Label(x=float(floor[-1][0]), y=floor[-1][1], text="information in the facts", colour=COLOURS[Group.FLOOR])
        )
    between = crossover(curves[Group.WEIGHTS], curves[contest.rival])
    for before, after in between.changes:
        axes.axvspan(before, after, color="#f3ecd0", zorder=0, linewidth=0)
        axes.text((before * after) ** 0.5, 0.02, "crossover", transform=axes.get_xaxis_transform(), ha="center",
                  color="#8a7a30", fontsize=10)  # fmt: skip
    facts_axis(axes, sorted({num_facts for curve in curves.values() for num_facts in curve}))
    bytes_axis(axes, "y")
    low, high = axes.get_ylim()
    axes.set_ylim(low / 1.3, high * 1.6)
    bytes_axis(axes, "y")
    axes.set_ylabel("storage bytes")
    axes.set_title(f"Smallest memory answering {percent_text(TAU['identical'])} as written")
    place_labels(axes, labels)


def _floor(rows: Sequence[Row]) -> list[tuple[int, float]]:
    points = []
    for num_facts in sorted({row.num_facts for row in rows if row.memory == "floor-entropy"}):
        here = [row for row in rows if row.num_facts == num_facts and row.memory == "floor-entropy"]
        size = seed_spread(here, "storage_bytes")
        if size is not None:
            points.append((num_facts, size.median))
    return points


def _draw_arms(axes: "Axes", contest: Contest, phrasing: str, num_facts: int) -> None:
    labels = []
    for group in (Group.WEIGHTS, Group.INDEX, Group.TEXT_INDEX, Group.PAIRED):
        arms = arms_at(contest.rows, num_facts=num_facts, phrasing=phrasing, group=group, twin=contest.twin)
        arms.sort(key=lambda arm: (arm.storage_bytes, -arm.accuracy))
        edge = [arm for at, arm in enumerate(arms) if all(arm.accuracy > other.accuracy for other in arms[:at])]
        axes.plot(
            [arm.storage_bytes for arm in edge], [arm.accuracy for arm in edge], color=COLOURS[group], linewidth=1.5
        )
        axes.plot(
            [arm.storage_bytes for arm in arms],
            [arm.accuracy for arm in arms],
            linestyle="",
            marker=MARKERS[group],
            color=COLOURS[group],
            markersize=7,
        )
        labels += [Label(x=arm.storage_bytes, y=arm.accuracy, text=arm.memory, colour=COLOURS[group]) for arm in arms]
    bytes_axis(axes, "x")
    low, high = axes.get_xlim()
    axes.set_xlim(low / 1.5, high * 1.5)
    bytes_axis(axes, "x")
    share_axis(axes, room=0.12)
    axes.set_xlabel("storage bytes")
    asked = {"identical": "as written", "heldout": "paraphrased"}[phrasing]
    axes.set_title(f"Right answers {asked}, at {count_text(num_facts)} facts")
    place_labels(axes, labels)
