"""The searched comparison: envelopes and crossings by hand, the sentence and the tables for each way it can end."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retromem.report.envelope import (
    Goal,
    crossings,
    envelope,
    goals_of,
    searched_contests,
    sizes_of,
    smaller,
    told_crossings,
)
from retromem.report.envelope_tables import families_table, five_rows
from retromem.report.envelope_words import searched_answer, searched_details
from retromem.report.page import RunFacts, write_report
from retromem.report.sides import Group
from retromem.rows import Row, SmallestRow

WRITTEN, REWORDED = Goal(phrasing="identical", tau=0.99), Goal(phrasing="heldout", tau=0.95)
SIZES = (500, 1000, 2000, 4000)


def found(
    side: Any, memory: str, num_facts: int, seed: int, size: int | None, goal: Goal = WRITTEN, **other: Any
) -> SmallestRow:
    settings: dict[str, Any] = {
        "study": "cities", "side": side, "stores": "questions", "memory": memory, "in_words": f"{memory} in words",
        "twin": True, "num_facts": num_facts, "seed": seed, "phrasing": goal.phrasing, "tau": goal.tau,
        "storage_bytes": size, "setting": 20 + seed, "accuracy": goal.tau if size else 0.7, "dial": "rotate_to",
        "low": 1, "high": 99, "is_lowest": False, "monotone": True,
        "tried": ((20 + seed, size or 900, goal.tau if size else 0.7), (18, 90, 0.6)), "search_seconds": 2.0,
    }  # fmt: skip
    return SmallestRow(**{**settings, **other})


def curves(weights: Any, index: Any, goal: Goal = WRITTEN, seeds: int = 3) -> list[SmallestRow]:
    """One family a side: bytes by number of facts, seeds 2 % apart (index: -2 %); None where none reached the goal."""
    rows = []
    for side, memory, sizes in (("parametric", "ffn-*", weights), ("retrieval", "lsh-*", index)):
        for num_facts, size in zip(SIZES, sizes, strict=True):
            for seed in range(seeds):
                away = 0.02 * (seed - (seeds - 1) / 2) * (1 if side == "parametric" else -1)
                moved = None if size is None else round(size * (1 + away))
                rows.append(found(side, memory, num_facts, seed, moved, goal))
    return rows


def row(smallest: SmallestRow, phrasing: str, **other: Any) -> Row:
    settings: dict[str, Any] = {
        "study": smallest.study, "side": smallest.side, "memory": smallest.memory, "role": "arm", "family": "f",
        "stores": "questions", "knowledge": "h", "knowledge_name": "cities", "twin": True,
        "num_facts": smallest.num_facts, "seed": smallest.seed, "phrasing": phrasing, "num_asked": 1000,
        "accuracy": smallest.accuracy if phrasing == smallest.phrasing else 0.5, "demand_bits": 8.0 * 1000,
        "bits_ce": 2000.0, "storage_bytes": smallest.storage_bytes or 900, "maintain_bytes": 70_000,
        "seeded_bytes": 3000, "shared_bytes": 90_000_000, "smallest_for": smallest.phrasing,
        "smallest_tau": smallest.tau, "bits_per_byte": 2000 / (smallest.storage_bytes or 900),
    }  # fmt: skip
    return Row(**{**settings, **other})


def without_tags(page: str) -> str:
    return re.sub("<[^>]*>", "", page)


# ---- the envelope ----------------------------------------------------------------------------------------------------


def test_an_envelope_takes_the_smallest_family_of_each_seed() -> None:
    rows = [
        found("retrieval", "lsh-*", 500, 0, 100),
        found("retrieval", "pq-*", 500, 0, 90),
        found("retrieval", "lsh-*", 500, 1, 80),
        found("retrieval", "pq-*", 500, 1, 95),
        found("retrieval", "lsh-*", 500, 2, 110),
        found("retrieval", "pq-*", 500, 2, None),
        found("parametric", "ffn-*", 500, 0, 5),  # another side,
        found("retrieval", "lsh-*", 500, 0, 6, REWORDED),  # another goal
        replace(found("retrieval", "text-*", 500, 0, 7), stores="statements"),  # and another group
    ]
    (point,) = envelope(rows, Group.INDEX, WRITTEN)
    assert dict(point.bytes_by_seed) == {0: 90, 1: 80, 2: 110}
    assert point.size is not None and (point.size.median, point.size.low, point.size.high) == (90, 80, 110)
    assert point.family == "lsh-*" and [one.storage_bytes for one in point.smallest] == [90, 80, 110]
    assert goals_of(rows) == [WRITTEN, REWORDED]


def test_a_side_that_half_of_the_seeds_do_not_bring_there_has_no_size() -> None:
    rows = [found("retrieval", "lsh-*", 500, seed, size) for seed, size in enumerate([100, None, 120, None])]
    (point,) = envelope(rows, Group.INDEX, WRITTEN)
    assert point.size is None and point.best_accuracy == pytest.approx((0.99 + 0.7) / 2)
    assert sizes_of([point]) == {}
    (point,) = envelope(rows[:3], Group.INDEX, WRITTEN)
    assert point.size is not None and (point.size.median, point.size.high) == (120, math.inf)


@pytest.mark.parametrize(
    ("weights", "index", "said"), [(100, 200, "weights"), (200, 100, "index"), (100, 105, ""), (100, 106, "weights")]
)
def test_what_lies_within_the_resolution_is_no_winner(weights: float, index: float, said: str) -> None:
    assert smaller(weights, index) == said


def test_a_crossing_is_where_two_power_laws_meet() -> None:
    """Bytes N for the weights, 50 sqrt N for the index: they meet at 2,500, whatever is measured around it."""
    rows = [
        found(side, side, num_facts, seed, round(size))
        for seed in range(3)
        for num_facts in SIZES
        for side, size in (("parametric", num_facts * 1.1**seed), ("retrieval", 50 * num_facts**0.5))
    ]
    weights, index = (envelope(rows, group, WRITTEN) for group in (Group.WEIGHTS, Group.INDEX))
    (crossing,) = crossings(weights, index)
    assert (crossing.first, crossing.then) == ("weights", "index")
    # N times c meets 50 sqrt N at 2,500 / c^2.
    assert crossing.num_facts.high == pytest.approx(2500, rel=0.01)
    assert crossing.num_facts.median == pytest.approx(2500 / 1.21, rel=0.01)
    assert crossing.num_facts.low == pytest.approx(2500 / 1.21**2, rel=0.01)
    assert crossing.num_facts.num_seeds == 3
    assert crossing.of_seeds == 3 and told_crossings(weights, index) == [crossing]
    ((back,),) = [crossings(index, weights)]
    assert (back.first, back.then) == ("index", "weights")


def test_a_seed_that_crosses_twice_counts_once_in_each() -> None:
    """Index, weights, index, weights: three changes of every seed, none of which has more seeds than there are."""
    rows = curves((130, 200, 520, 800), (100, 260, 400, 1040))
    weights, index = (envelope(rows, group, WRITTEN) for group in (Group.WEIGHTS, Group.INDEX))
    found = crossings(weights, index)
    assert [(one.first, one.then) for one in found] == [
        ("index", "weights"),
        ("weights", "index"),
        ("index", "weights"),
    ]
    assert all(one.num_facts.num_seeds == one.of_seeds == 3 for one in found)
    (contest,) = searched_contests(rows)
    assert (
        "the index is the smaller memory up to about 710 facts, then the weights up to about 1,400"
        in searched_answer(contest)
    )


# ---- in words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "index", "said"),
    [
        ((10, 20, 40, 80), (20, 40, 80, 160), "the weights are the smaller memory at every size "
         "(80 B of weights, 160 B of index at 4,000 facts)"),
        ((100, 200, 400, 800), (50, 100, 200, 400), "the index is the smaller memory at every size "
         "(400 B of index, 800 B of weights at 4,000 facts)"),
        ((1000, 2000, 4000, 8000), (2000, 2828, 4000, 5657), "the weights are the smaller memory up to about 2,000 "
         "facts, then the index (5.66 kB of index, 8 kB of weights at 4,000 facts)"),
        ((1000, 1500, 2500, 6500), (800, 1800, 3000, 6700), "then the weights; about equal at 4,000 "
         "(6.5 kB of weights, 6.7 kB of index at 4,000 facts)"),
        ((2000, 2828, 4000, 5657), (1000, 2000, 4000, 8000), "the index is the smaller memory up to about 2,000 facts, "
         "then the weights"),
        ((100, 200, 400, 800), (101, 202, 404, 808), "about equal at every size (800 B of weights, 808 B of index"),
        ((None,) * 4, (50, 100, 200, 400), "no weights tried suffice, and the index does with 400 B at 4,000"),
        ((50, 100, 200, None), (None,) * 4, "no index tried suffices, and the weights do with 200 B at 2,000"),
        ((None,) * 4, (None,) * 4, "no memory of either side that was tried suffices"),
        ((10, 20, None, None), (20, 40, 80, 160), "only the index gets there at 2,000 and 4,000 facts (20 B of "
         "weights, 40 B of index at 1,000 facts)"),
        ((10, 20, 40, 80), (11, 22, 44, 82), "the weights are the smaller memory at 500, 1,000 and 2,000 facts, about "
         "equal elsewhere (80 B of weights, 82 B of index at 4,000 facts)"),
    ],
)  # fmt: skip
def test_the_sentence_of_each_ending(weights: Any, index: Any, said: str) -> None:
    (contest,) = searched_contests(curves(weights, index))
    answer = searched_answer(contest)
    assert answer.startswith("As written: ") and said in answer and answer.endswith(".")
    details = searched_details(contest)
    assert details[0] == (
        "For each side the smallest memory was searched that answers 99 % as written, at 500 to 4,000 facts; what lies "
        "within 5 % counts as equal."
    )
    crosses = "For 99 % as written weights and index cross between 1,800 and 2,200 facts in 3 of 3 seeds."
    assert (crosses in details) == ("the weights are the smaller memory up to" in said)


def test_where_few_seeds_cross_each_side_is_told_where_it_is_ahead_the_first_first() -> None:
    """Of three seeds the index leads two at 500 facts, the weights two at 2,000, and one alone crosses."""
    weights = {500: (110, 110, 100), 1000: (200, 200, 200), 2000: (400, 360, 360), 4000: (800, 800, 800)}
    rows = [
        found(side, memory, size, seed, number, WRITTEN)
        for side, memory, sizes in (
            ("parametric", "ffn-*", weights),
            ("retrieval", "lsh-*", {size: (size // 5,) * 3 for size in weights}),
        )
        for size, numbers in sizes.items()
        for seed, number in enumerate(numbers)
    ]
    (contest,) = searched_contests(rows)
    assert searched_answer(contest).startswith(
        "As written: the index is the smaller memory at 500 facts, the weights at 2,000 facts, about equal elsewhere "
    )


def test_each_goal_is_told_in_a_line_and_what_stops_in_further_sentences() -> None:
    rows = curves((10, 20, 40, 80), (20, 40, 80, 160))
    rows += curves((100, 200, None, None), (50, 100, 200, 400), REWORDED)
    rows[0] = replace(rows[0], monotone=False)
    (contest,) = searched_contests(rows)
    answer = searched_answer(contest)
    assert answer.startswith("As written: the weights are")
    assert "\nParaphrased: only the index gets there at 2,000 and 4,000 facts (100 B of index" in answer
    assert searched_details(contest)[0].startswith(
        "For each side the smallest memory was searched that answers 99 % as written and 95 % paraphrased, at 500 to"
    )
    assert searched_details(contest)[1:] == [
        "For 99 % as written success of the weights is noisy at 500 facts: a larger memory failed where a smaller one "
        "did not.",
        "No weights searched answer 95 % paraphrased at 2,000 and 4,000 facts: the best of them reach 70 % at 4,000.",
    ]
    bounded = [replace(one, high=20 + one.seed) if one.storage_bytes is None else one for one in rows]
    assert "reach 70 % at 4,000, where the search was not to go beyond rotate_to 20, rotate_to 21" in " ".join(
        searched_details(searched_contests(bounded)[0])
    )
    fewer = [one for one in rows if one.phrasing == "heldout" or one.num_facts > 500]
    assert (
        "answers 99 % as written, at 1,000 to 4,000 facts and 95 % paraphrased, at 500 to 4,000 facts;"
        in (searched_details(searched_contests(fewer)[0])[0])
    )


def test_a_size_at_which_one_side_was_not_searched_is_no_size_that_it_missed() -> None:
    rows = [
        one for one in curves((10, 20, 40, 80), (20, 40, 80, 160)) if (one.side, one.num_facts) != ("parametric", 4000)
    ]
    (contest,) = searched_contests(rows)
    assert searched_answer(contest) == (
        "As written: the weights are the smaller memory at every size (40 B of weights, 80 B of index at 2,000 facts)."
    )
    apart = curves((10, 20, None, 80), (20, 40, 80, None))
    (contest,) = searched_contests(apart)
    both = "only the weights get there at 4,000 facts and only the index gets there at 2,000 facts (20 B of weights"
    assert both in searched_answer(contest)


def test_contests_need_both_sides_on_the_same_values() -> None:
    rows = curves((10, 20, 40, 80), (20, 40, 80, 160))
    assert searched_contests([one for one in rows if one.side == "parametric"]) == []
    real = [replace(one, twin=False) for one in rows]
    other = [replace(one, study="keys", twin=False) for one in rows]
    assert [(one.study, one.twin) for one in searched_contests([*other, *real, *rows])] == [
        ("keys", False), ("cities", True), ("cities", False)
    ]  # fmt: skip
    assert searched_contests([*rows[:12], *real[12:]]) == []


def test_a_crossing_of_few_seeds_or_between_sides_that_win_nowhere_is_not_told() -> None:
    rows = curves((100, 200, 400, 800), (103, 206, 412, 824))
    rows = [
        replace(row, storage_bytes=round(row.storage_bytes * (0.8 if row.num_facts > 1000 else 1.2)))
        if row.seed == 1 and row.side == "retrieval" and row.storage_bytes
        else row
        for row in rows
    ]
    (contest,) = searched_contests(rows)
    assert "about equal at every size" in searched_answer(contest)
    assert not any("cross" in one for one in searched_details(contest))
    # Two of three seeds cross, and the medians tell the sides apart at one size alone.
    sizes = {"parametric": [(100, 100, 100), (800, 850, 900)], "retrieval": [(200, 200, 200), (855, 800, 850)]}
    (contest,) = searched_contests(
        [
            found(side, side, num_facts, seed, size)
            for side, of_side in sizes.items()
            for num_facts, of_seeds in zip((500, 4000), of_side, strict=True)
            for seed, size in enumerate(of_seeds)
        ]
    )
    assert "the weights are the smaller memory at 500 facts, about equal elsewhere" in searched_answer(contest)
    (crossing,) = crossings(*(envelope(contest.rows, group, WRITTEN) for group in (Group.WEIGHTS, Group.INDEX)))
    assert crossing.num_facts.num_seeds == 2
    assert not any("cross" in one for one in searched_details(contest))


# ---- tables and the page -------------------------------------------------------------------------------------------


def whole() -> tuple[list[SmallestRow], list[Row]]:
    smallest = curves((1000, 2000, 4000, 8000), (2000, 4000, 8000, 16000))
    smallest += curves((None,) * 4, (3000, 6000, 12000, 24000), REWORDED)
    rows = [row(one, phrasing) for one in smallest for phrasing in ("identical", "heldout")]
    flat = found("retrieval", "faiss-q-Flat", 4000, 0, 6_000_000)
    rows.append(row(flat, "identical", smallest_for="", accuracy=1.0, bits_per_byte=0.004))
    return smallest, rows


def test_five_rows_of_the_largest_size() -> None:
    smallest, rows = whole()
    (contest,) = searched_contests(smallest)
    table = five_rows(contest, rows)
    assert table is not None and "at 4,000 facts; medians over 3 seeds" in table.caption
    ((_, lines),) = table.blocks
    assert [[cell.text for cell in line] for line in lines] == [
        ["FFN weights, 99 % as written", "ffn-* in words", "8 kB", "99 %", "50 %", "0.250"],
        ["index, 99 % as written", "lsh-* in words", "16 kB", "99 %", "50 %", "0.125"],
        ["FFN weights, 95 % paraphrased", "none found: the best reach 70 %", "–", "–", "–", "–"],
        ["index, 95 % paraphrased", "lsh-* in words", "24 kB", "50 %", "95 %", "0.0833"],
        ["index, whole vectors", "4 bytes a number, nothing compressed", "6 MB", "100 %", "–", "0.00400"],
    ]
    apart = [one for one in smallest if (one.side == "parametric") == (one.num_facts == 500)]
    assert five_rows(replace(contest, rows=apart), rows) is None


def test_the_rows_are_of_the_largest_size_for_which_most_was_searched() -> None:
    smallest, rows = whole()
    before = max({one.num_facts for one in smallest} - {4000})
    smallest = [one for one in smallest if (one.phrasing, one.num_facts, one.side) != ("heldout", 4000, "retrieval")]
    (contest,) = searched_contests(smallest)
    table = five_rows(contest, rows)
    assert table is not None and f"at {before:,} facts" in table.caption


def test_what_was_not_searched_is_a_line_of_its_own() -> None:
    smallest, rows = whole()
    smallest = [one for one in smallest if (one.phrasing, one.side) != ("heldout", "retrieval")]
    (contest,) = searched_contests(smallest)
    table = five_rows(contest, rows)
    assert table is not None
    lines = [[cell.text for cell in line] for line in table.blocks[0][1]]
    assert lines[3] == ["index, 95 % paraphrased", "not searched at this size", "–", "–", "–", "–"]


def test_a_set_with_nothing_to_know_has_no_winner(tmp_path: Path) -> None:
    smallest, rows = whole()
    rows = [replace(one, demand_bits=0.0, bits_ce=0.0) for one in rows]
    run = RunFacts(name="r", title="t", question="q", dropped={}, method={}, smallest=smallest)
    write_report(rows, tmp_path / "r", run=run)
    page = (tmp_path / "r" / "index.html").read_text()
    assert "smaller memory" not in page[: page.index("<section>")]


def test_grid_rows_of_another_study_stand_beside_a_search(tmp_path: Path) -> None:
    smallest, rows = whole()
    rows = [one for one in rows if one.smallest_for]
    rows += [replace(one, study="keys", smallest_for="", twin=False) for one in rows if one.phrasing == "identical"]
    run = RunFacts(name="r", title="t", question="q", dropped={}, method={}, smallest=smallest)
    write_report(rows, tmp_path / "r", run=run)
    page = without_tags((tmp_path / "r" / "index.html").read_text())
    assert "As written: the weights are the smaller memory" in page


def test_every_family_stands_in_the_list_with_how_it_was_searched() -> None:
    smallest, _ = whole()
    smallest[0] = replace(smallest[0], is_lowest=True, monotone=False)
    table = families_table(smallest)
    assert [heading for heading, _ in table.blocks][:2] == [
        "99 % as written, 500 facts",
        "99 % as written, 1,000 facts",
    ]
    first = [cell.text for cell in table.blocks[0][1][0]]
    assert first == [
        "ffn-*",
        "rotate_to",
        "at most 1 kB",
        "20 to 22",
        "3 of 3 seeds, noisy",
        "2",
        "18 to 22",
        "2.00 s",
    ]
    assert table.blocks[0][1][0][2].detail == "980 B–1.02 kB"
    never = table.blocks[4][1][0]
    assert [cell.text for cell in never][2:5] == ["–", "–", "0 of 3 seeds"] and never[2].detail == "best 70 %"


def test_the_page_of_a_search_opens_with_both_charts_and_five_rows(tmp_path: Path) -> None:
    smallest, rows = whole()
    run = RunFacts(name="r", title="t", question="q", dropped={}, method={}, smallest=smallest)
    write_report(rows, tmp_path / "r", run=run)
    page = (tmp_path / "r" / "index.html").read_text()
    assert page.count("<figure>") >= 2
    head = page[: page.index("<section>")]
    assert head.count("<svg") == 2 and "Fewest bytes that answer 99 % as written" in head
    assert "Fewest bytes that answer 95 % paraphrased" in head and "index, whole vectors" in head
    beside = "70 kB and 3 kB for the weights and 70 kB and 3 kB for the index at 4,000 facts for 99 % as"
    assert beside in without_tags(re.sub("\u00a0", " ", head))
    assert 'href="#word-as-written"' in head and 'id="word-as-written"' in page
    assert "Of the few sizes tried" not in page  # nothing here was named by hand but Flat
    csv = (tmp_path / "r" / "smallest.csv").read_text().splitlines()
    assert len(csv) == 1 + len(smallest) and "settings_tried" in csv[0] and "20 18" in csv[1]
    markdown = (tmp_path / "r" / "report.md").read_text()
    assert "(figures/cities-smallest-identical-0.99.png)" in markdown
    assert (tmp_path / "r" / "figures" / "cities-smallest-heldout-0.95.png").exists()


def test_a_search_of_one_side_compares_nothing(tmp_path: Path) -> None:
    smallest, rows = whole()
    smallest = [one for one in smallest if one.side == "retrieval"]
    rows = [one for one in rows if one.side == "retrieval" and one.smallest_for]
    run = RunFacts(name="r", title="t", question="q", dropped={}, method={}, smallest=smallest)
    write_report(rows, tmp_path / "r", run=run)
    page = without_tags((tmp_path / "r" / "index.html").read_text())
    assert "Nothing to compare: the smallest memory was searched for on one side alone." in page
    assert "For each side the smallest memory was searched that answers" in page
    assert "The smallest of each family: cities, values shuffled" in page
