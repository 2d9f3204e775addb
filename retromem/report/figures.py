"""The curves below the first screen: one set of pictures a study."""

import re
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from retromem.report.crossover import recallable
from retromem.report.drawing import FULL_WIDTH, Picture, draw_spreads, facts_axis, finish, new_figure, share_axis, style
from retromem.report.kinds import kinds_of
from retromem.report.numerals import count_text, percent_text, significant_text
from retromem.report.seed_spread import Spread, medians_text, seed_spread
from retromem.report.sides import COLOURS, MARKERS, Group, group_of
from retromem.rows import TAU, CapacityRow, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import LineStyleType

PHRASINGS = {"identical": "as written", "seen": "a wording of other facts", "heldout": "paraphrased", "alias": "alias"}
"""what a reader calls the phrasings, in the order of the page"""

_DASHES: list["LineStyleType"] = [
    "-",
    "--",
    ":",
    "-.",
    (0, (1, 3)),
    (0, (8, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (8, 2, 2, 2)),
]


_MOST_LINES = 16
"""in one pair of axes; of more memories the bars and the table say it"""


def study_pictures(rows: Sequence[Row], capacities: Sequence[CapacityRow], study: str) -> list[Picture]:
    """Accuracy and density against size, real values against the twin, and FFN kinds; each where the rows have it."""
    here = [row for row in recallable(rows) if row.study == study and row.role == "arm"]
    if not here:
        return []
    twin = any(row.twin for row in here)
    stem = file_stem(study)
    claimed = [row for row in here if row.twin == twin]
    pictures = []
    if len({row.num_facts for row in claimed}) > 1 and len({row.memory for row in claimed}) <= _MOST_LINES:
        pictures += [_draw_accuracy(claimed, stem), _draw_density(claimed, stem)]
    both = {_cell(row) for row in here if row.twin} & {_cell(row) for row in here if not row.twin}
    if both:
        pictures.append(_draw_twin(here, both, stem))
    if len(kinds_of(rows, capacities, study)) > 1 and all(group_of(row) is Group.WEIGHTS for row in here):
        pictures.append(_draw_kinds(rows, capacities, study, stem))
    return pictures


def file_stem(study: str) -> str:
    """The name of a study as the beginning of a file's."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", study)


def _memories(rows: Sequence[Row]) -> list[tuple[str, Group, "LineStyleType"]]:
    """Name, group and dash of every memory: colour tells the side, the dash tells memories of one side apart."""
    found: dict[str, Group] = {}
    for row in rows:
        found.setdefault(row.memory, group_of(row))
    numbered: list[tuple[str, Group, LineStyleType]] = []
    for group in Group:
        names = [memory for memory, its_group in found.items() if its_group is group]
        numbered += [(memory, group, _DASHES[at % len(_DASHES)]) for at, memory in enumerate(names)]
    return numbered


def _draw_lines(axes: "Axes", rows: Sequence[Row], column: str, first: bool) -> None:
    """Median over seeds against the number of facts, one line a memory, the range shaded.

    A size is drawn where at least half of a memory's seeds have it: a search for the capacity visits sizes of its own
    with every seed, and single seeds side by side make a zigzag that is no curve.
    """
    drawn: set[int] = set()
    for memory, group, dash in _memories(rows):
        points: list[tuple[int, Spread]] = []
        for num_facts in sorted({row.num_facts for row in rows}):
            spread = seed_spread([row for row in rows if (row.memory, row.num_facts) == (memory, num_facts)], column)
            if spread is not None:
                points.append((num_facts, spread))
        most_seeds = max((spread.num_seeds for _, spread in points), default=0)
        points = [(num_facts, spread) for num_facts, spread in points if 2 * spread.num_seeds >= most_seeds]
        drawn |= {num_facts for num_facts, _ in points}
        line = {"marker": MARKERS[group], "markersize": 4, "linestyle": dash, "label": memory if first else None}
        draw_spreads(axes, points, colour=COLOURS[group], shade=0.12, **line)
    if drawn:
        facts_axis(axes, sorted(drawn))


def _draw_accuracy(rows: Sequence[Row], stem: str) -> Picture:
    phrasings = [phrasing for phrasing in PHRASINGS if any(row.phrasing == phrasing for row in rows)]
    with style(f"{stem}-accuracy"):
        figure = new_figure(min(FULL_WIDTH, 3.6 * len(phrasings) + 2.2), 3.8)
        panels = figure.subplots(1, len(phrasings), sharey=True, squeeze=False)[0]
        legend_of = max(phrasings, key=lambda phrasing: len({row.memory for row in rows if row.phrasing == phrasing}))
        for axes, phrasing in zip(panels, phrasings, strict=True):
            _draw_lines(axes, [row for row in rows if row.phrasing == phrasing], "accuracy", phrasing == legend_of)
            axes.set_title(fill(PHRASINGS[phrasing], 14))
            if phrasing in TAU:
                axes.axhline(TAU[phrasing], color="#bbbbbb", linewidth=1, linestyle="--", zorder=1)
        panels[0].set_ylabel("right answers")
        share_axis(panels[0], room=0.04)
        figure.legend(loc="outside right upper", fontsize=10)
        goals = " and ".join(f"{percent_text(TAU[phrasing])} {PHRASINGS[phrasing]}" for phrasing in TAU)
        return finish(
            figure,
            name=f"{stem}-accuracy",
            caption=f"Right answers against the number of facts written. Dashed line: the goal ({goals}). "
            + medians_text(rows).replace(" seeds.", " seeds, range shaded."),
            alt="Accuracy by number of facts, one panel a phrasing, one line a memory.",
        )


def _draw_density(rows: Sequence[Row], stem: str) -> Picture:
    identical = [row for row in rows if row.phrasing == "identical"]
    weights = [row for row in identical if group_of(row) is Group.WEIGHTS and row.bits_per_param is not None]
    with style(f"{stem}-density"):
        figure = new_figure(4.2 * (2 if weights else 1) + 2.2, 3.8)
        panels = figure.subplots(1, 2 if weights else 1, squeeze=False)[0]
        _draw_lines(panels[0], identical, "bits_per_byte", True)
        panels[0].set_title("Bits recalled per storage byte")
        panels[0].set_ylim(bottom=0)
        if weights:
            _draw_lines(panels[1], weights, "bits_per_param", False)
            panels[1].set_title("Bits recalled per parameter")
            panels[1].set_ylim(bottom=0)
        figure.legend(loc="outside right upper", fontsize=10)
        return finish(
            figure,
            name=f"{stem}-density",
            caption="How densely the facts are held, asked as written. No memory can hold more than 8 bits per byte.",
            alt="Bits recalled per storage byte, and per parameter for weights, by number of facts.",
        )


def _cell(row: Row) -> tuple[str, int]:
    return row.memory, row.num_facts


def _draw_twin(rows: Sequence[Row], both: set[tuple[str, int]], stem: str) -> Picture:
    """`both`: the memories and sizes that were measured on the twin and on the real values."""
    shown = [phrasing for phrasing in ("identical", "heldout") if any(row.phrasing == phrasing for row in rows)]
    # The largest size that every group has on both; a group that never does is left out of the choice.
    sizes = [{row.num_facts for row in rows if _cell(row) in both and group_of(row) is group} for group in Group]
    last = max(set.intersection(*filter(None, sizes)), default=max(num_facts for _, num_facts in both))
    memories = _memories([row for row in rows if row.num_facts == last and _cell(row) in both])[::-1]
    with style(f"{stem}-twin"):
        figure = new_figure(10.0, 1.4 + 0.3 * len(memories))
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axes, phrasing in zip(panels, shown, strict=True):
            for height, (memory, group, _) in enumerate(memories):
                here = [row for row in rows if (row.memory, row.num_facts, row.phrasing) == (memory, last, phrasing)]
                twin = seed_spread([row for row in here if row.twin], "accuracy")
                real = seed_spread([row for row in here if not row.twin], "accuracy")
                if twin is None or real is None:
                    continue
                axes.plot([twin.median, real.median], [height, height], color=COLOURS[group], linewidth=1.5)
                axes.plot(twin.median, height, "o", color=COLOURS[group])
                axes.plot(
                    real.median, height, "o", color=COLOURS[group], markerfacecolor="white", markersize=8, zorder=1
                )
            axes.set_title(f"Right answers {PHRASINGS[phrasing]}")
            axes.xaxis.set_major_formatter(lambda share, _: percent_text(share))
        panels[0].set_yticks(range(len(memories)), [memory for memory, _, _ in memories])
        return finish(
            figure,
            name=f"{stem}-twin",
            caption=f"Filled: the twin, whose values are shuffled among the subjects, so that nothing known beforehand "
            f"helps. Hollow: the real values. {count_text(last)} facts. {medians_text(rows)}",
            alt="Accuracy of every memory on the twin and on the real values.",
        )


def _draw_kinds(rows: Sequence[Row], capacities: Sequence[CapacityRow], study: str, stem: str) -> Picture:
    kinds = kinds_of(rows, capacities, study)[::-1]
    black = "; black: range over seeds" if any(kind.density.num_seeds > 1 for kind in kinds) else ""
    with style(f"{stem}-kinds"):
        figure = new_figure(9.0, 1.3 + 0.5 * len(kinds))
        axes = figure.subplots()
        for height, kind in enumerate(kinds):
            spread = kind.density
            colour = COLOURS[Group.WEIGHTS] if kind.reached else COLOURS[Group.FLOOR]
            axes.barh(height, spread.median, color=colour, height=0.6)
            axes.plot([spread.low, spread.high], [height, height], color="#222222", linewidth=2)
            text = f"{'at least ' if kind.censored else ''}{significant_text(spread.median)}"
            axes.annotate(
                f"{text}   ({count_text(kind.num_facts)} facts)",
                (spread.high, height),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_yticks(range(len(kinds)), [kind.memory for kind in kinds])
        axes.set_xlim(0, max(kind.density.high for kind in kinds) * 1.25)
        axes.set_ylim(-0.6, len(kinds) - 0.4)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"bits per {kinds[0].per}")
        axes.set_title(f"What a {kinds[0].per} holds, by kind of FFN")
        return finish(
            figure,
            name=f"{stem}-kinds",
            caption=f"At the most facts each answers to {percent_text(TAU['identical'])}{black}. "
            "Grey bars: no size measured got there, so the size with the most bits is shown.",
            alt=f"Bars of bits per {kinds[0].per}, one for each kind of FFN.",
        )
