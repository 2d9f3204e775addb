"""What a page says of searches for the smallest memory: its first screen, and a section a study."""

from collections.abc import Sequence
from dataclasses import replace

from retromem.report.content import Block, FirstScreen, Points, Section
from retromem.report.envelope import SearchedContest, envelope, goals_of, searched_contests
from retromem.report.envelope_figure import draw_envelopes
from retromem.report.envelope_tables import families_table, five_rows
from retromem.report.envelope_words import goal_text, searched_answer, searched_details
from retromem.report.figures import file_stem
from retromem.report.numerals import bytes_text, count_text, list_text
from retromem.report.seed_spread import seed_spread
from retromem.report.sides import Group
from retromem.report.tables import ledger_table
from retromem.rows import Row, SmallestRow

_CHARTS = (
    "Orange: FFN weights. Blue: an index of the same questions. Lower is better; the band is the range over seeds, a "
    "cross a size at which no memory searched is good enough. Grey: the information in the facts, which nothing that "
    "answers every question can undercut."
)


def searched_first_screen(
    smallest: Sequence[SmallestRow], rows: Sequence[Row], unsearched: Sequence[str] = ()
) -> FirstScreen | None:
    """The first searched study with both sides; None where there is none. `unsearched`: what the facts do not allow."""
    contests = searched_contests(_with_something_to_recall(smallest, rows))
    if not contests:
        return None
    contest = contests[0]
    name = next(row.knowledge_name for row in rows if row.study == contest.study)
    values = (
        "the values shuffled among the subjects (the twin), so that nothing known beforehand helps"
        if contest.twin
        else "the values as given"
    )
    table = five_rows(contest, rows)
    return FirstScreen(
        answer=searched_answer(contest),
        more=" ".join([*searched_details(contest), *unsearched]),
        basis=f"Measured on {name}, {values}. {_beside_storage(contest, rows)}",
        charts=draw_envelopes(contest, _floor(contest, rows), stem=f"{file_stem(contest.study)}-smallest"),
        charts_caption=_CHARTS,
        table=table,
    )


def one_sided_details(smallest: Sequence[SmallestRow]) -> str:
    """What was searched, and where it stops, of the first study: of a run that has one side alone."""
    first = smallest[0]
    own = [row for row in smallest if (row.study, row.twin) == (first.study, first.twin)]
    return " ".join(searched_details(SearchedContest(study=first.study, twin=first.twin, rows=own)))


def _with_something_to_recall(smallest: Sequence[SmallestRow], rows: Sequence[Row]) -> list[SmallestRow]:
    """Without those of sets in which every fact has one value, where no memory is the better one."""
    empty = {(row.study, row.twin, row.num_facts) for row in rows if row.smallest_for and row.demand_bits == 0}
    return [row for row in smallest if (row.study, row.twin, row.num_facts) not in empty]


def _beside_storage(contest: SearchedContest, rows: Sequence[Row]) -> str:
    """What the bytes of the two smallest memories for the first goal leave out, at the largest common size."""
    goal, told = goals_of(contest.rows)[0], []
    curves = [envelope(contest.rows, group, goal) for group in (Group.WEIGHTS, Group.INDEX)]
    common = set.intersection(*({point.num_facts for point in points if point.size} for points in curves))
    if not common:
        return ""
    last = max(common)
    for side, points in zip(("the weights", "the index"), curves, strict=True):
        (point,) = [one for one in points if one.num_facts == last]
        own = [
            row
            for row in rows
            if (row.study, row.twin, row.num_facts) == (contest.study, contest.twin, point.num_facts)
            and (row.memory, row.smallest_for, row.smallest_tau) == (point.family, goal.phrasing, goal.tau)
            and row.phrasing == "identical"
        ]
        sizes = [seed_spread(own, column) for column in ("maintain_bytes", "seeded_bytes")]
        if any(size is None for size in sizes):
            return ""
        to_change, from_seed = (bytes_text(size.median) for size in sizes if size is not None)
        told.append(f"{to_change} and {from_seed} for {side}")
    encoder = seed_spread([row for row in rows if row.study == contest.study], "shared_bytes")
    both = f"; both need the encoder, {bytes_text(encoder.median)}" if encoder and encoder.median else ""
    return (
        "The index keeps a short code of each question, sorted so that it takes fewer bytes than its bits, and the "
        "number of its value; the weights keep nothing of a question. Not in these bytes are what changing a fact needs"
        " (texts, ids, vectors; training facts) and random rotations and value codes that a seed gives again: "
        f"{list_text(told)} at {count_text(last)} facts for {goal_text(goal)}{both}."
    )


def _floor(contest: SearchedContest, rows: Sequence[Row]) -> list[tuple[int, float]]:
    """The demand in bytes at every number of facts that was searched."""
    points = []
    for num_facts in sorted({row.num_facts for row in contest.rows}):
        own = [row for row in rows if (row.study, row.twin, row.num_facts) == (contest.study, contest.twin, num_facts)]
        demand = seed_spread([row for row in own if row.smallest_for], "demand_bits")
        if demand is not None:
            points.append((num_facts, demand.median / 8))
    return points


def searched_sections(smallest: Sequence[SmallestRow], rows: Sequence[Row]) -> list[Section]:
    """How each study's smallest memories were found, and their ledger; charts too of those not on the first screen."""
    sections = []
    contests = searched_contests(_with_something_to_recall(smallest, rows))
    for study in dict.fromkeys(row.study for row in smallest):
        for twin in (True, False):
            own = [row for row in smallest if (row.study, row.twin) == (study, twin)]
            if not own:
                continue
            title = f"The smallest of each family: {study}" + (", values shuffled" if twin else "")
            blocks: list[Block] = []
            for contest in contests[1:]:
                if (contest.study, contest.twin) == (study, twin):
                    blocks += [Points(texts=[searched_answer(contest), *searched_details(contest)])]
                    stem = f"{file_stem(study)}-{'twin' if twin else 'real'}-smallest"
                    blocks += draw_envelopes(contest, _floor(contest, rows), stem=stem)
            sections.append(Section(title=title, blocks=[*blocks, families_table(own)]))
            last = max(row.num_facts for row in own)
            named = [
                replace(
                    row, memory=f"{row.memory} ({'as written' if row.smallest_for == 'identical' else 'paraphrased'})"
                )
                for row in rows
                if row.smallest_for and (row.study, row.twin, row.num_facts) == (study, twin, last)
            ]
            ledger = ledger_table(named, twin=twin, num_facts=last, role="arm")
            sections.append(
                Section(title=f"Their ledger: {study}" + (", values shuffled" if twin else ""), blocks=[ledger])
            )
    return sections
