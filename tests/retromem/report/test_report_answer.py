"""The answer in words, case by case: a crossing, none, one side, failed cells, one seed, no text, no rival."""

import re
from dataclasses import replace

from retromem.report.answer import answer, answer_on_real_values
from retromem.report.kinds import kinds_of
from retromem.report.run_facts import CapacityRow
from retromem.report.sides import main_contest
from retromem.report.tables import ledger_size
from retromem.rows import Row

Cells = dict[int, tuple[float, float, int]]
"""num_facts -> accuracy as written, paraphrased, storage bytes"""


def rows_of(memory: str, cells: Cells, *, twin: bool = False, seeds: int = 1, study: str = "cities") -> list[Row]:
    side = "parametric" if memory.startswith("ffn") else "retrieval"
    return [
        Row(
            study=study, side=side, memory=memory, role="arm", family="-".join(memory.split("-")[:2]), knowledge="k",
            stores="statements" if memory.startswith("faiss-s") else "questions",
            knowledge_name="cities", twin=twin, num_facts=num_facts, seed=seed, phrasing=phrasing,
            accuracy=accuracy - 0.001 * (seed == 1) + 0.001 * (seed == 2), storage_bytes=storage_bytes,
        )
        for num_facts, (written, reworded, storage_bytes) in cells.items()
        for phrasing, accuracy in (("identical", written), ("heldout", reworded))
        for seed in range(seeds)
    ]  # fmt: skip


INDEX: Cells = {500: (0.998, 0.94, 4_600), 1000: (0.998, 0.94, 9_100), 4000: (0.998, 0.93, 36_000)}
FFN: Cells = {500: (0.999, 0.93, 26_000), 1000: (0.995, 0.92, 52_000), 4000: (0.992, 0.90, 52_000)}


def test_no_crossing() -> None:
    said = answer(rows_of("ffn-gelu-64", FFN, seeds=3) + rows_of("faiss-q-LSH", INDEX, seeds=3)).split("\n")
    assert said == [
        "On 500 to 4,000 facts the index is the smaller memory at every size: at 4,000 facts it answers 99 % of the "
        "questions as written with 36 kB, where the smallest FFN tried that does so needs 52 kB "
        "(upper bound: the smallest tried).",
        "Asked in paraphrases at 4,000 facts, the same two answer 93 % (index) and 90 % (weights); the best of each "
        "side answer 93 % (faiss-q-LSH, 36 kB) and 90 % (ffn-gelu-64, 52 kB).",
        "To answer 95 % paraphrased is more than any memory tried can do.",
    ]


def test_weights_smaller_throughout() -> None:
    index = {num_facts: (1.0, 0.99, 70_000) for num_facts in FFN}
    said = answer(rows_of("ffn-gelu-64", FFN) + rows_of("faiss-q-SQ8", index)).split("\n")
    assert said[0] == (
        "On 500 to 4,000 facts the weights are the smaller memory at every size: at 4,000 facts they answer 99 % of "
        "the questions as written with 52 kB, where the smallest index tried that does so needs 70 kB "
        "(upper bound: the smallest tried)."
    )
    assert said[2] == "To answer 95 % paraphrased, no FFN tried suffices; an index of 70 kB does at 4,000 facts."


def test_of_memories_that_answer_alike_the_smaller_one_is_the_best() -> None:
    for large, small in (("ffn-gelu-64", "ffn-gelu-32"), ("ffn-gelu-32", "ffn-gelu-64")):
        rows = rows_of(large, {500: (1.0, 0.9, 8_000)}) + rows_of(small, {500: (1.0, 0.9, 4_000)})
        for given in (rows, rows[::-1]):
            said = answer(given + rows_of("faiss-q-LSH", INDEX)).split("\n")
            assert f"94 % (faiss-q-LSH, 4.6 kB) and 90 % ({small}, 4 kB)" in said[1]


def test_a_crossing() -> None:
    index = INDEX | {4000: (0.998, 0.97, 61_000)}
    ffn = FFN | {4000: (0.992, 0.96, 52_000)}
    said = answer(rows_of("ffn-gelu-64", ffn) + rows_of("faiss-q-LSH", index)).split("\n")
    assert said[0] == (
        "On 500 to 4,000 facts the smaller memory changes from the index to the weights between 1,000 and 4,000 facts: "
        "at 4,000 facts the weights answer 99 % of the questions as written with 52 kB, where the smallest index tried "
        "that does so needs 61 kB (upper bound: the smallest tried)."
    )
    assert said[2] == (
        "To answer 95 % paraphrased, the index needs at most 61 kB and the weights at most 52 kB at 4,000 facts; no "
        "crossover in range."
    )


def test_weights_never_get_there() -> None:
    ffn = {num_facts: (0.9896, reworded, size) for num_facts, (_, reworded, size) in FFN.items()}
    said = answer(rows_of("ffn-gelu-64", ffn) + rows_of("faiss-q-LSH", INDEX)).split("\n")
    assert said[0] == "On 500 to 4,000 facts no FFN tried answers 99 % of the questions as written."
    assert said[1] == (
        "At 500, 1,000 and 4,000 facts no FFN tried gets there (the best, ffn-gelu-64, answers 98.9 % at 4,000); "
        "the index does with 36 kB at 4,000."
    )


def test_index_never_gets_there() -> None:
    index = {num_facts: (0.5, 0.5, 9) for num_facts in FFN}
    said = answer(rows_of("ffn-gelu-64", FFN) + rows_of("faiss-q-LSH", index)).split("\n")
    assert said[0] == "On 500 to 4,000 facts no index tried answers 99 % of the questions as written."
    assert "the weights do with 52 kB at 4,000." in said[1]


def test_neither_gets_there() -> None:
    low = {num_facts: (0.5, 0.4, 9) for num_facts in FFN}
    said = answer(rows_of("ffn-gelu-64", low) + rows_of("faiss-q-LSH", low)).split("\n")
    assert said[0] == (
        "On 500 to 4,000 facts neither side answers 99 % of the questions as written: at 4,000 the best reach "
        "50 % (faiss-q-LSH) and 50 % (ffn-gelu-64)."
    )


def test_failed_cells_are_not_compared_and_named() -> None:
    ffn = {num_facts: cell for num_facts, cell in FFN.items() if num_facts != 1000}
    said = answer(rows_of("ffn-gelu-64", ffn) + rows_of("faiss-q-LSH", INDEX)).split("\n")
    assert said[0].startswith("On 500 to 4,000 facts the index is the smaller memory")
    assert said[1] == "Not compared at 1,000 facts: one side has no result there."


def test_many_sizes_of_one_side_are_counted_not_listed() -> None:
    searched = FFN | {num_facts: (0.995, 0.9, 52_000) for num_facts in (2100, 2200, 2300, 2400, 2500)}
    said = answer(rows_of("ffn-gelu-64", searched) + rows_of("faiss-q-LSH", INDEX)).split("\n")
    assert said[1] == "Not compared at 5 further sizes: one side has no result there."


def test_a_failed_arm_is_no_evidence_against_its_side() -> None:
    wide = {num_facts: cell for num_facts, cell in FFN.items() if num_facts != 4000}
    narrow = {num_facts: (0.7, 0.6, 13_000) for num_facts in FFN}
    rows = rows_of("ffn-gelu-64", wide) + rows_of("ffn-gelu-16", narrow) + rows_of("faiss-q-LSH", INDEX)
    said = answer(rows).split("\n")
    assert said[0].startswith("On 500 to 1,000 facts the index is the smaller memory at every size: at 1,000 facts it")
    assert said[1] == (
        "At 4,000 facts no FFN tried gets there (the best, ffn-gelu-16, answers 70 %); the index does with 36 kB."
    )
    assert said[2] == "No result there for ffn-gelu-64."
    assert "the same index answers 93 %" in said[3]


def test_a_missing_smallest_arm_is_named() -> None:
    small = {num_facts: cell for num_facts, cell in INDEX.items() if num_facts != 4000}
    large = {num_facts: (1.0, 0.99, 1000 * num_facts) for num_facts in INDEX}
    rows = rows_of("faiss-q-LSH", small) + rows_of("faiss-q-Flat", large) + rows_of("ffn-gelu-64", FFN)
    said = answer(rows).split("\n")
    assert said[0].startswith(
        "On 500 to 4,000 facts the smaller memory changes from the index to the weights between 1,000 and 4,000 facts"
    )
    assert said[1] == "No result of faiss-q-LSH at 4,000 facts."


def test_sizes_beyond_the_other_side_are_left_out() -> None:
    index = INDEX | {20000: (0.99, 0.9, 180_000)}
    assert "20,000" not in answer(rows_of("ffn-gelu-64", FFN) + rows_of("faiss-q-LSH", index))


def test_one_size_and_no_common_size() -> None:
    one = answer(rows_of("ffn-gelu-64", {500: FFN[500]}) + rows_of("faiss-q-LSH", {500: INDEX[500]}))
    assert one.startswith("On 500 facts the index is the smaller memory: it answers 99 %")
    none = answer(rows_of("ffn-gelu-64", {500: FFN[500]}) + rows_of("faiss-q-LSH", {1000: INDEX[1000]}))
    assert none == "Weights and index share no finished size, so there is nothing to compare yet."


def test_without_new_wordings() -> None:
    rows = rows_of("ffn-gelu-64", FFN) + rows_of("faiss-q-LSH", INDEX)
    said = answer([row for row in rows if row.phrasing == "identical"])
    assert said.endswith("New wordings were not asked.")


def test_the_twin_decides_and_the_real_values_stand_beside() -> None:
    real = {num_facts: (1.0, 0.97, 20_000) for num_facts in FFN}
    rows = rows_of("ffn-gelu-64", FFN, twin=True) + rows_of("faiss-q-LSH", INDEX, twin=True)
    assert answer_on_real_values(rows) == ""
    both = rows + rows_of("ffn-gelu-64", real) + rows_of("faiss-q-LSH", INDEX)
    assert answer(both) == answer(rows)
    assert answer_on_real_values(both) == (
        "at most 36 kB (index) and at most 20 kB (weights) for 99 % as written at 4,000 facts; the best paraphrased "
        "answer 93 % and 97 %."
    )


def test_an_index_that_reads_text_is_named_so() -> None:
    assert answer(rows_of("ffn-gelu-64", FFN) + rows_of("faiss-s-Flat", INDEX)).startswith(
        "On 500 to 4,000 facts the text-reading index is the smaller memory"
    )


def keys_rows(memory: str, densities: dict[int, tuple[float, float]], seeds: int = 3) -> list[Row]:
    return [
        Row(
            study="keys", side="parametric", memory=memory, role="arm", family=memory, knowledge="q",
            stores="questions",
            knowledge_name="keys", twin=False, num_facts=num_facts, seed=seed, phrasing="identical", accuracy=accuracy,
            bits_per_param=bits_per_param + 0.01 * seed, storage_bytes=4000, num_params=1000,
        )
        for num_facts, (accuracy, bits_per_param) in densities.items()
        for seed in range(seeds)
    ]  # fmt: skip


def test_keys_alone_rank_the_kinds_at_their_capacity() -> None:
    # Beyond its capacity relu recalls more bits at 600 facts than at 500: the size that reaches .99 counts.
    rows = keys_rows("ffn-relu-32", {500: (0.995, 2.0), 600: (0.9, 2.2)})
    rows += keys_rows("ffn-swiglu-21", {500: (1.0, 2.0), 600: (0.995, 2.6), 700: (0.7, 2.1)})
    assert answer(rows).split("\n") == [
        "Per parameter ffn-swiglu-21 holds the most: 2.61 bits (2.60 to 2.62 over 3 seeds), before ffn-relu-32 "
        "with 2.01 bits.",
        "Each is read at the most facts answered to 99 %.",
    ]


def test_weights_in_several_precisions_are_ranked_by_their_bytes() -> None:
    rows = [
        replace(row, precision=precision, bits_per_byte=bits_per_byte)
        for memory, precision, bits_per_byte in (("ffn-a", "float32", 0.5), ("ffn-a-int8", "int8", 1.9))
        for row in keys_rows(memory, {500: (1.0, 2.0 - bits_per_byte / 10)}, seeds=1)
    ]
    said = answer(rows)
    assert said.startswith("Per byte ffn-a-int8 holds the most: at least 1.90 bits, before ffn-a with at least 0.5")
    capacities = [
        CapacityRow(
            study="keys", memory=memory, twin=False, phrasing="identical", tau=0.99, seed=0, num_facts=530,
            censored=False, storage_bytes=size, num_params=1000, bits=2000.0,
        )
        for memory, size in (("ffn-a", 4000), ("ffn-a-int8", 1000))
    ]  # fmt: skip
    assert answer(rows, capacities).startswith("Per byte ffn-a-int8 holds the most: 2.00 bits, before ffn-a with 0.5")


def test_many_kinds_are_named_in_part() -> None:
    rows = [row for n in range(9) for row in keys_rows(f"ffn-{n}", {500: (1.0, 2.0 - n / 10)}, seeds=1)]
    (first, *_) = answer(rows).split("\n")
    assert "ffn-3 with" in first and "ffn-4" not in first
    assert first.endswith(", 4 more and last ffn-8 with at least 1.20 bits.")


def test_keys_alone_say_what_is_a_lower_bound_or_never_got_there() -> None:
    rows = keys_rows("ffn-relu-32", {500: (0.7, 1.5), 600: (0.6, 1.2)}, seeds=1)
    rows += keys_rows("ffn-swiglu-21", {500: (1.0, 2.0)}, seeds=1)
    assert answer(rows).split("\n") == [
        "Per parameter ffn-swiglu-21 holds the most: at least 2.00 bits, before ffn-relu-32 with 1.50 bits.",
        "ffn-relu-32 answered 99 % of the questions as written at no size measured: the number is that of the size "
        "with the most bits.",
        "The others are read at the most facts answered to 99 %.",
    ]


def test_a_capacity_search_goes_before_the_rows() -> None:
    rows = keys_rows("ffn-relu-32", {500: (0.995, 2.0)}) + keys_rows("ffn-gelu-32", {500: (0.995, 1.0)})
    capacities = [
        CapacityRow(
            study="keys", memory=memory, twin=False, phrasing="identical", tau=0.99, seed=seed, num_facts=530,
            censored=False, storage_bytes=4000, num_params=1000, bits=bits + 100 * seed,
        )
        for memory, bits in (("ffn-relu-32", 2000.0), ("ffn-gelu-32", 2050.0))
        for seed in range(2)
    ]  # fmt: skip
    said = answer(rows, capacities)
    assert said.startswith("Per parameter ffn-gelu-32 holds the most: 2.10 bits (2.05 to 2.15 over 2 seeds), before")
    assert said.endswith("The seeds of ffn-gelu-32 and ffn-relu-32 overlap.")


def test_a_study_asked_in_new_words_goes_first() -> None:
    written = [row for row in rows_of("ffn-a", FFN, study="first") + rows_of("faiss-q-L", INDEX, study="first")]
    written = [row for row in written if row.phrasing == "identical"]
    both = written + rows_of("ffn-a", FFN, study="second") + rows_of("faiss-q-L", INDEX, study="second")
    for rows, study in ((written, "first"), (both, "second"), (both[::-1], "second")):
        contest = main_contest(rows)
        assert contest is not None and contest.study == study


def test_a_capacity_that_is_a_lower_bound_for_one_seed_is_a_lower_bound() -> None:
    rows = keys_rows("ffn-relu-32", {500: (0.995, 2.0)})
    for censored in ((False, False, False), (False, True, False), (True, True, True)):
        capacities = [
            CapacityRow(
                study="keys", memory="ffn-relu-32", twin=False, phrasing="identical", tau=0.99, seed=seed,
                num_facts=530, censored=is_bound, storage_bytes=4000, num_params=1000, bits=2000.0,
            )
            for seed, is_bound in enumerate(censored)
        ]  # fmt: skip
        (kind,) = kinds_of(rows, capacities, "keys")
        assert kind.censored == any(censored)


def test_the_ledger_is_of_the_largest_size_that_both_sides_finished() -> None:
    rows = rows_of("ffn-a", {500: FFN[500], 1000: FFN[1000], 2000: FFN[1000]})
    assert ledger_size(rows + rows_of("faiss-q-L", INDEX)) == 1000
    assert ledger_size(rows + rows_of("ffn-b", {500: FFN[500], 1000: (0.2, 0.1, 9)})) == 1000  # some arm still answers
    assert ledger_size(rows + rows_of("ffn-b", {700: FFN[500]})) is None


def test_a_run_of_one_side() -> None:
    assert answer(rows_of("faiss-q-LSH", INDEX)) == (
        "Only one side was run: faiss-q-LSH answers 99 % of the questions as written on 4,000 facts with 36 kB."
    )
    assert answer(rows_of("faiss-q-LSH", {500: (0.1, 0.1, 9)})).startswith("Nothing to compare")


def test_every_number_comes_from_the_rows() -> None:
    """Change what is measured and every number but the thresholds changes."""
    before = answer(rows_of("ffn-gelu-w", FFN) + rows_of("faiss-q-L", INDEX))

    def moved(cells: Cells) -> Cells:
        return {
            3 * num_facts: (0.999 - (1 - written) / 3, reworded - 0.037, 7 * size + 11)
            for num_facts, (written, reworded, size) in cells.items()
        }

    after = answer(rows_of("ffn-gelu-w", moved(FFN)) + rows_of("faiss-q-L", moved(INDEX)))
    numbers = [set(re.findall(r"\d[\d,.]*\d|\d", text)) for text in (before, after)]
    assert numbers[0] & numbers[1] == {"99", "95"}
