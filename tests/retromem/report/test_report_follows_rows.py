"""The page of a study says what its rows say, whichever way round they are and whatever is missing."""

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from retromem.report.answer import answer, answer_on_real_values
from retromem.report.compose import compose
from retromem.report.markdown import report_markdown
from retromem.report.run_facts import RunFacts
from retromem.rows import CapacityRow, Row

# side, memory, role, stores, bytes (fixed, per fact), accuracy as written and paraphrased
MEMORIES = [
    ("parametric", "ffn-gelu-16", "arm", "questions", (9_000, 0.0), (0.995, 0.91)),
    ("parametric", "ffn-gelu-64", "arm", "questions", (52_000, 0.0), (0.999, 0.96)),
    ("retrieval", "faiss-q-LSH", "arm", "questions", (80, 9.0), (0.992, 0.83)),
    ("retrieval", "faiss-q-SQ8", "arm", "questions", (3_200, 385.0), (1.0, 0.98)),
    ("retrieval", "faiss-s-Flat", "arm", "statements", (60, 1537.0), (0.997, 0.99)),
    ("paired", "paired-gelu-64-k1", "arm", "statements", (210_000, 1537.0), (0.98, 0.97)),
    ("paired", "paired-gelu-64-k0", "control", "statements", (110_000, 0.0), (0.07, 0.07)),
    ("floor", "floor-entropy", "floor", "questions", (0, 0.58), None),
    ("floor", "floor-mode", "floor", "questions", (600, 0.0), (0.11, 0.1)),
]
SIZES = (200, 800)

BROKEN = re.compile(r"\bNone\b(?! of)|\bnan\b|\binf\b|\(\)|\( |[:;,(] ?[.;,)](?!\d)|\s[.,;:)](?![\d.])")
SAME_ENDS = re.compile(r"(?<![\w.,^])([-\d][\d.,]*(?: %| kB| B| ms)?)(?: to |–)\1(?![\d.,]*\d)")


def rows_of(*, seeds: Sequence[int] = (0, 1, 2), turned: bool = False, demand: float | None = None) -> list[Row]:
    """`turned`: weights have the bytes and the answers of the index, and the other way round."""
    sizes_of = {memory: (size, right) for _, memory, _, _, size, right in MEMORIES}
    other = {"ffn-gelu-16": "faiss-q-SQ8", "ffn-gelu-64": "faiss-q-LSH"}
    other |= {second: first for first, second in other.items()}
    rows = []
    for side, memory, role, stores, _, _ in MEMORIES:
        (fixed, each), right = sizes_of[other.get(memory, memory) if turned else memory]
        for num_facts in SIZES:
            for seed in seeds:
                for twin in (True, False):
                    for at, phrasing in enumerate(("identical", "heldout") if right else ("",)):
                        accuracy = right[at] - 0.0007 * seed if right else None
                        storage = round(fixed + each * num_facts)
                        bits = None if accuracy is None else (3 * num_facts if demand is None else demand) * accuracy
                        if role != "arm" or (bits and bits > 8 * storage):
                            bits = min(40.0, bits) if bits is not None else None
                        rows.append(
                            Row(
                                study="cities", side=side, memory=memory, role=role, stores=stores,
                                family=memory.rpartition("-")[0], knowledge="k", knowledge_name="cities", twin=twin,
                                num_facts=num_facts, seed=seed, phrasing=phrasing, num_asked=num_facts,
                                accuracy=accuracy, demand_bits=3.0 * num_facts if demand is None else demand,
                                bits_ce=bits, num_params=storage if side == "parametric" else None,
                                storage_bytes=storage, maintain_bytes=1544 * num_facts, value_bytes=1210,
                                shared_bytes=91_500_000, resident_bytes=2 * storage, write_seconds=2.0 + 0.01 * seed,
                                query_ms_p50=0.08 + 0.001 * seed, optimizer_steps=300 if side == "parametric" else None,
                            )
                        )  # fmt: skip
    return rows


ROWS = rows_of()
RUN = RunFacts(name="r", title="t", question="q", dropped={}, method={"seeds": "some"})


def capacities(seeds: Sequence[int]) -> list[CapacityRow]:
    return [
        CapacityRow(
            study="cities", memory="ffn-gelu-16", twin=True, phrasing="identical", tau=0.99, seed=seed,
            num_facts=800 + 8 * seed, censored=False, storage_bytes=9_000, num_params=9_000, bits=2_400.0,
        )
        for seed in seeds
    ]  # fmt: skip


def told(rows: Sequence[Row]) -> str:
    return f"{answer(rows)}\n{answer_on_real_values(rows)}"


def whole_page(rows: Sequence[Row]) -> str:
    """All of it, pictures drawn, without the words that are explained."""
    run = replace(RUN, capacities=capacities(sorted({row.seed for row in rows})))
    content = compose(rows, run)
    return report_markdown(replace(content, sections=[one for one in content.sections if one.title != "Words"]))


def check(text: str) -> None:
    assert not (found := BROKEN.search(text)), (
        f"{found[0]!r} in {text[max(0, found.start() - 80) : found.end() + 20]!r}"
    )
    assert not (found := SAME_ENDS.search(text)), f"{found[0]!r} in {text!r}"


def test_rows_turned_round_say_the_opposite() -> None:
    before, after = told(ROWS), told(rows_of(turned=True))
    for text in (before, after):
        check(text)
    assert "the weights are the smaller memory" not in before and "the weights to the index" not in before
    lines = before.split("\n")
    assert all(line not in after.split("\n") for line in lines if line)


def parts(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows without one memory, family, side, phrasing, size, seed, twin or role, each."""
    found = {}
    for column in ("memory", "family", "side", "phrasing", "num_facts", "seed", "twin", "role"):
        for value in dict.fromkeys(getattr(row, column) for row in rows):
            found[f"{column} {value}"] = [row for row in rows if getattr(row, column) != value]
    return found


@pytest.mark.parametrize("missing", sorted(parts(ROWS)))
def test_what_was_not_run_breaks_no_sentence_and_is_not_named(missing: str) -> None:
    rows = parts(ROWS)[missing]
    text = told(rows)
    check(text)
    column, _, value = missing.partition(" ")
    if column == "memory":
        assert value not in text


@pytest.mark.parametrize(
    "missing",
    [
        "side retrieval",
        "role arm",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("memory faiss-q-LSH", "side floor")),
    ],
)
def test_nor_does_it_break_the_page(missing: str) -> None:
    check(whole_page([row for row in parts(ROWS)[missing] if row.twin and row.num_facts == 800 and row.seed == 0]))


def test_pairs_that_were_judged_on_half_of_the_facts_stand_alone() -> None:
    text = whole_page([replace(row, halves=True) for row in ROWS if row.side == "paired" and "k0" not in row.memory])
    check(text)
    assert "Nothing to compare: only pairs have results" in text and "k0" not in text


@pytest.mark.slow
def test_one_seed_is_no_range() -> None:
    text = whole_page(rows_of(seeds=(1,)))
    check(text)
    assert not re.search(r"over \d* ?seeds|range shaded|range over", text.replace("the range over seeds, where", ""))
    assert "One seed." in text
    several = whole_page([row for row in ROWS if row.twin and row.num_facts == 800])
    assert "Medians over 3 seeds" in several and "median (range) over 3 seeds" in several


def test_columns_that_nobody_filled_break_nothing() -> None:
    bare = [replace(row, bits_ce=None, maintain_bytes=None, resident_bytes=None, demand_bits=None) for row in ROWS]
    check(told(bare))
    unknown = [replace(row, accuracy=None, storage_bytes=None) for row in ROWS]
    check(told(unknown))


def test_where_there_is_nothing_to_recall_nobody_wins() -> None:
    nothing = rows_of(demand=0.0)
    text = whole_page(nothing)
    check(text)
    assert answer(nothing) == ("There is nothing to recall: every fact has the same value (0 bits), so no memory wins.")
    assert "There is nothing to recall" in text and "smaller memory" not in text and "Bold" not in text
    # At one of the sizes alone: the other one is compared, and that it is the only one is said.
    one = [replace(row, demand_bits=0.0, bits_ce=None) if row.num_facts == 200 else row for row in ROWS]
    said = answer(one).split("\n")
    assert said[0].startswith("On 800 facts ")
    assert said[-1] == "At 200 facts every one has the same value (0 bits): no memory wins there."


def test_two_kinds_that_hold_the_same_are_no_winner_and_a_loser() -> None:
    def kind(memory: str, bits: float) -> Row:
        return Row(
            study="keys", side="parametric", memory=memory, role="arm", family=memory, stores="questions",
            knowledge="q", knowledge_name="keys", twin=False, num_facts=500, seed=0, phrasing="identical",
            accuracy=0.9, bits_per_param=bits, storage_bytes=4000, num_params=1000,
        )  # fmt: skip

    same = answer([kind("a", 2.0), kind("b", 2.0), kind("c", 1.0)])
    assert same.startswith("Per parameter a and b hold the same, the most: 2.00 bits each, before c with 1.00 bits.")
    assert answer([kind("a", 2.0), kind("b", 2.0)]).startswith("Per parameter a and b hold the same: 2.00 bits each.")
