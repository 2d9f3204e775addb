"""The tables of a search: five rows in plain words for the first screen, and every family that was searched."""

from collections import Counter
from collections.abc import Sequence

from retromem.report.envelope import EnvelopePoint, SearchedContest, envelope, goals_of
from retromem.report.envelope_words import goal_text
from retromem.report.numerals import bytes_text, count_text, percent_text, range_text, seconds_text, significant_text
from retromem.report.seed_spread import seed_spread, spread_of
from retromem.report.sides import Group, group_of
from retromem.report.table_text import Cell, Table
from retromem.report.tables import median_cell
from retromem.rows import Row, SmallestRow

_JUDGED = (
    " On paraphrases a search asks every other question, and what it found is judged here on the rest: chance may put "
    "it a little below the goal."
)
_NAMES = {Group.WEIGHTS: "FFN weights", Group.INDEX: "index"}


def five_rows(contest: SearchedContest, rows: Sequence[Row]) -> Table | None:
    """The smallest memory of each side for each goal, and one that nothing compresses; None without a common size.

    At the largest number of facts for which most of them were searched.
    """
    sizes = [
        {row.num_facts for row in contest.rows if group_of(row) is group} for group in (Group.WEIGHTS, Group.INDEX)
    ]
    common = sizes[0] & sizes[1]
    if not common:
        return None
    searched = Counter(
        size
        for size, _, _ in {(row.num_facts, group_of(row), (row.phrasing, row.tau)) for row in contest.rows}
        if size in common
    )
    last = max(common, key=lambda size: (searched[size], size))
    here = [row for row in rows if (row.study, row.twin, row.num_facts) == (contest.study, contest.twin, last)]
    lines = []
    for goal in goals_of(contest.rows):
        for group in (Group.WEIGHTS, Group.INDEX):
            points = [one for one in envelope(contest.rows, group, goal) if one.num_facts == last]
            name = f"{_NAMES[group]}, {goal_text(goal)}"
            lines += [_line(name, point, here) for point in points] or [_without(name, "not searched at this size")]
    whole = [row for row in here if row.memory == "faiss-q-Flat" and not row.smallest_for]
    if whole:
        kept = Cell(text="4 bytes a number, nothing compressed", is_prose=True)
        lines.append([Cell(text="index, whole vectors"), kept, *_judged(whole)])
    seeds = len({row.seed for row in contest.rows})
    judged = _JUDGED if any(goal.phrasing != "identical" for goal in goals_of(contest.rows)) else ""
    return Table(
        caption=f"The smallest memory of each side at {count_text(last)} facts; medians over {seeds} "
        f"{'seed' if seeds == 1 else 'seeds'}.{judged}",
        header=["smallest that answers", "what it keeps", "storage", "as written", "paraphrased", "bits per byte"],
        blocks=[("", lines)],
    )


def _line(name: str, point: EnvelopePoint, rows: Sequence[Row]) -> list[Cell]:
    """Of the family that is smallest in most seeds; dashes where none reaches the goal."""
    if point.size is None:
        return _without(name, f"none found: the best reach {percent_text(point.best_accuracy)}")
    found = [row for row in point.smallest if row.memory == point.family]
    middle = sorted(found, key=lambda row: row.storage_bytes or 0)[len(found) // 2]
    own = [
        row
        for row in rows
        if (row.memory, row.smallest_for, row.smallest_tau) == (point.family, middle.phrasing, middle.tau)
        and row.seed in {one.seed for one in found}
    ]
    return [Cell(text=name), Cell(text=middle.in_words, is_prose=True), *_judged(own)]


def _without(name: str, why: str) -> list[Cell]:
    return [Cell(text=name), Cell(text=why, is_prose=True), *(Cell(text="–") for _ in range(4))]


def _judged(rows: Sequence[Row]) -> list[Cell]:
    written = [row for row in rows if row.phrasing == "identical"]
    reworded = [row for row in rows if row.phrasing == "heldout"]
    return [
        median_cell(seed_spread(written, "storage_bytes"), bytes_text),
        median_cell(seed_spread(written, "accuracy"), percent_text),
        median_cell(seed_spread(reworded, "accuracy"), percent_text),
        median_cell(seed_spread(written, "bits_per_byte"), significant_text),
    ]


def families_table(rows: Sequence[SmallestRow]) -> Table:
    """Every family that was searched, for each goal and number of facts. The rows are those of one study and twin."""
    blocks = []
    for goal in goals_of(rows):
        for num_facts in sorted({row.num_facts for row in rows}):
            here = [row for row in rows if goal.is_of(row) and row.num_facts == num_facts]
            memories = dict.fromkeys(row.memory for row in sorted(here, key=lambda row: row.side))
            lines = [_family(memory, [row for row in here if row.memory == memory]) for memory in memories]
            if lines:
                blocks.append((f"{goal_text(goal)}, {count_text(num_facts)} facts", lines))
    return Table(
        caption="The dial of each family was turned until the largest memory that failed and the smallest that "
        "succeeded were within 5 % of the bytes (or what the config says), and once more below the failure. Ranges are "
        "over seeds.",
        header=[
            "family",
            "dial",
            "smallest",
            "its setting",
            "reached in",
            "memories tried",
            "from and to",
            "search",
        ],
        blocks=blocks,
    )


def _family(memory: str, rows: Sequence[SmallestRow]) -> list[Cell]:
    reached = [row for row in rows if row.storage_bytes is not None]
    sizes = spread_of(row.storage_bytes for row in reached if row.storage_bytes is not None)
    bounds = {"at most " for row in reached if row.is_lowest}
    noisy = ", noisy" if any(not row.monotone for row in rows) else ""
    size = "–" if sizes is None else "".join(bounds) + bytes_text(sizes.median)
    spread = "" if sizes is None or sizes.low == sizes.high else f"{bytes_text(sizes.low)}–{bytes_text(sizes.high)}"
    best = f"best {percent_text(max(share for row in rows for _, _, share in row.tried))}"
    settings = [setting for row in rows for setting, _, _ in row.tried]
    return [
        Cell(text=memory, is_name=True),
        Cell(text=rows[0].dial),
        Cell(text=size, detail=spread or ("" if reached else best)),
        Cell(text=range_text([row.setting for row in reached], count_text) if reached else "–"),
        Cell(text=f"{len(reached)} of {len(rows)} seeds{noisy}"),
        Cell(text=range_text([row.num_tried for row in rows], count_text)),
        Cell(text=range_text(settings, count_text)),
        Cell(text=seconds_text(sum(row.search_seconds for row in rows) / len(rows))),
    ]
