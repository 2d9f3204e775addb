"""The parts of a static function and of a packed table: codes, equations over GF(2), bits, each by brute force."""

import itertools
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.memories.sparse_numbers import pack_sparse, unpack_sparse
from retromem.memories.static_function import (
    StaticFunction,
    StaticFunctionConfig,
    _equation,
    canonical_code,
    huffman_lengths,
    solve_bands,
)
from retromem.seam import Facts


def lengths_of_all_codes(num_symbols: int) -> list[tuple[int, ...]]:
    """Every assignment of lengths that a complete prefix code of so many symbols can have (Kraft)."""
    every = itertools.product(range(1, num_symbols), repeat=num_symbols)
    return [lengths for lengths in every if sum(2.0**-length for length in lengths) == 1]


CODES_OF_5 = lengths_of_all_codes(5)


@given(st.lists(st.integers(1, 60), min_size=5, max_size=5))
def test_no_prefix_code_is_shorter_than_huffmans(counts: list[int]) -> None:
    lengths = huffman_lengths([counts[0], 0, *counts[1:]])
    assert list(lengths) == [0, 2, 3, 4, 5]
    shortest = min(sum(c * n for c, n in zip(counts, code, strict=True)) for code in CODES_OF_5)
    assert sum(c * n for c, n in zip(counts, lengths.values(), strict=True)) == shortest


def test_code_words_by_hand() -> None:
    assert huffman_lengths([0, 7, 0]) == {1: 0} and huffman_lengths([0, 0]) == {}
    assert huffman_lengths([9, 1, 4, 2]) == {0: 1, 1: 3, 2: 2, 3: 3}
    # By length, then by symbol, each word one more than the last: 0, 10, 110, 1110, 1111.
    assert canonical_code({4: 4, 0: 3, 7: 1, 2: 2, 3: 4}) == {
        (1, 0b0): 7,
        (2, 0b10): 2,
        (3, 0b110): 0,
        (4, 0b1110): 3,
        (4, 0b1111): 4,
    }
    assert canonical_code({5: 0}) == {(0, 0): 5} and canonical_code({}) == {}


def solvable(equations: list[tuple[int, int, int]], num_slots: int) -> set[int]:
    """All slots that satisfy the equations, by trying every one."""
    return {
        slots
        for slots in range(1 << num_slots)
        if all((slots >> first & band).bit_count() % 2 == parity for first, band, parity in equations)
    }


@given(st.data(), st.integers(1, 7))
def test_slots_satisfy_every_equation_wherever_any_do(data: st.DataObject, num_slots: int) -> None:
    equation = st.integers(0, num_slots - 1).flatmap(
        lambda first: st.tuples(
            st.just(first), st.integers(0, 2 ** (num_slots - first - 1) - 1).map(lambda n: 2 * n + 1), st.integers(0, 1)
        )
    )
    equations = data.draw(st.lists(equation, max_size=9))
    found, every = solve_bands(equations, num_slots), solvable(equations, num_slots)
    assert (found in every) if every else (found is None)


def test_long_bands_reach_over_many_slots() -> None:
    rng = np.random.default_rng(3)
    equations = [
        (int(rng.integers(0, 400 - 127)), int.from_bytes(rng.bytes(16), "little") | 1, int(rng.integers(2)))
        for _ in range(270)
    ]
    slots = solve_bands(equations, 400)
    assert slots is not None and 0 <= slots < 2**400
    assert [(slots >> first & band).bit_count() % 2 for first, band, _ in equations] == [p for *_, p in equations]


@pytest.mark.parametrize("num_slots", [1, 2, 100, 128, 129, 1000])
def test_an_equation_lies_inside_the_slots_and_is_another_for_each_bit_and_salt(num_slots: int) -> None:
    width = min(128, num_slots)
    made = {
        (key, bit, salt): _equation(bytes([key]), bit, salt, num_slots)
        for key in range(40)
        for bit in range(2)
        for salt in range(2)
    }
    for first, band in made.values():
        assert 0 <= first <= num_slots - width
        assert band % 2 == 1 and band.bit_length() <= width
    firsts, bands = {first for first, _ in made.values()}, {band for _, band in made.values()}
    # 160 draws: every place of two, most places of many; half of the coefficients are set.
    assert len(firsts) >= min(num_slots - width + 1, 120)
    if width >= 100:
        assert len(bands) == 160
        share = sum(band.bit_count() - 1 for band in bands) / 160 / (width - 1)
        assert share == pytest.approx(0.5, abs=5 * 0.5 / (160 * width) ** 0.5)
        assert max(band.bit_length() for band in bands) == width


# ---- packed tables ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "bits"),
    [
        # None of three: gamma of 1; widths 1 and 0 (three places for at most one number).
        ([0, 0, 0], "1 00001 000000"),
        # Two of twelve: gamma of 3; a rest of 2 bits for gaps, 4 bits for numbers up to 11.
        # Gaps of 4 and 3: 4 is one step of four and no rest, 3 is a rest alone. Numbers less one: 10 and 0.
        ([0, 0, 0, 0, 11, 0, 0, 0, 1, 0, 0, 0], "011 00010 000100 10 00 1010 0 11 0000"),
        # All there: no rest at all; two bits for numbers up to 4 (less one).
        ([4, 1, 3], "00100 00000 000010 0 11 0 00 0 10"),
        # Only ones: the place says it all.
        ([0, 1, 0, 0, 0, 1], "011 00001 000000 0 1 10 1"),
    ],
)
def test_tables_bit_by_bit(numbers: list[int], bits: str) -> None:
    text = bits.replace(" ", "")
    wanted = np.packbits(np.array([int(bit) for bit in text], dtype=np.uint8)).tobytes()
    content = pack_sparse(np.array(numbers, dtype=np.int64))
    assert content == wanted
    back, num_bytes = unpack_sparse(content + b"\xff\x00", len(numbers))
    assert (back.tolist(), num_bytes) == (numbers, len(wanted))


# ---- the memory ------------------------------------------------------------------------------------------------------


def test_a_static_function_slot_by_slot(toys: Facts, tmp_path: Path) -> None:
    """Words of the toys' values by Huffman, an equation for each of their bits in either wording; few are one band."""
    memory = StaticFunctionConfig().build(seed=9)
    cost = memory.write(toys)
    assert cost.seconds > 0 and np.isnan(cost.flops)
    assert (cost.texts_encoded, cost.exposures, cost.optimizer_steps, cost.succeeded) == (22, 2.0, 0, True)
    # Colours: red three times, tan twice, blue twice; of sizes huge twice, tiny and small once.
    lengths = {0: 1, 1: 2, 2: 2, 7: 1, 3: 2, 4: 2}
    words = {0: 0b0, 1: 0b10, 2: 0b11, 7: 0b0, 3: 0b10, 4: 0b11}
    memory.calibration = b"TETE"
    memory.save(tmp_path / "static")
    content = (tmp_path / "static" / "slots.bin").read_bytes()
    salt, num_slots = struct.unpack_from("<HI", content)
    num_bits = 2 * sum(lengths[value] for value in toys.value_ids_N.tolist())
    assert num_slots == int(num_bits * (1 + 0.005 * salt)) <= 128
    table = [lengths[value] + 1 if value in lengths else 0 for value in range(8)]  # 0 for what does not occur
    packed = pack_sparse(np.array(table, dtype=np.int64))
    assert content[6 : 6 + len(packed)] == packed
    slots = int.from_bytes(content[6 + len(packed) :], "little")
    assert len(content) == 6 + len(packed) + (num_slots + 7) // 8 and slots < 2**num_slots
    for cue in toys.cues:
        for key_D, relation, value in zip(
            cue.key_vectors(), cue.relation_ids_Q.tolist(), toys.value_ids_N.tolist(), strict=True
        ):
            for bit in range(lengths[value]):
                key = key_D.tobytes() + struct.pack("<I", relation)
                first, band = _equation(key, bit, salt, num_slots)
                wanted = words[value] >> (lengths[value] - 1 - bit) & 1
                assert (slots >> first & band).bit_count() % 2 == wanted
    loaded = StaticFunction.load(tmp_path / "static")
    assert (loaded.seed, loaded.calibration, loaded.side, loaded.name) == (9, b"TETE", "floor", "floor-static")
    assert loaded.footprint() == memory.footprint()
    every_value_QC = np.tile(np.arange(8), (11, 1))
    for of in (memory, loaded):
        for cue in toys.cues:
            recall = of.recall(cue, top_k=2, score=every_value_QC)
            assert recall.value_ids_QK.tolist() == [[value, -1] for value in toys.value_ids_N.tolist()]
            surely = np.where(every_value_QC == toys.value_ids_N[:, None], 0, -np.inf)
            assert recall.scored_QC.tolist() == surely.tolist()
    # A key of another relation is another key: it is answered with values of that relation, or with none.
    turned = replace(toys.cues[0], relation_ids_Q=1 - toys.cues[0].relation_ids_Q)
    one, two = memory.recall(turned, top_k=1).value_ids_QK[:, 0], loaded.recall(turned, top_k=1).value_ids_QK[:, 0]
    assert one.tolist() == two.tolist()
    outside = [value not in ((3, 4, 7) if turned.relation_ids_Q[row] else (0, 1, 2)) for row, value in enumerate(one)]
    assert not any(outside)


def test_more_bits_than_a_band_have_spare_slots() -> None:
    knowledge = keys_set(KeysConfig(dim=6, num_values=4, num_facts=300))
    memory = StaticFunctionConfig().build(seed=0)
    memory.write(knowledge.facts())
    lengths = huffman_lengths(np.bincount(knowledge.value_ids_N, minlength=4).tolist())
    num_bits = sum(lengths[value] for value in knowledge.value_ids_N.tolist())
    assert memory._num_slots == 128 + int(num_bits * (1 + 0.005 * memory._salt))


def test_a_key_of_two_values_keeps_the_first(toys: Facts) -> None:
    keys_ND = toys.cues[0].key_vectors().copy()
    keys_ND[6], keys_ND[9] = keys_ND[1], keys_ND[0]  # facts 1 and 6 are colours, 0 and 9 sizes
    cue = replace(toys.cues[0], keys_QD=keys_ND)
    memory = StaticFunctionConfig().build(seed=0)
    memory.write(replace(toys, cues=[cue]))
    wanted = toys.value_ids_N.copy()
    wanted[6], wanted[9] = wanted[1], wanted[0]
    assert (wanted != toys.value_ids_N).sum() == 2
    assert memory.recall(cue, top_k=1).value_ids_QK[:, 0].tolist() == wanted.tolist()
