"""Floors near the entropy: what a static function may take, value by value, and the tables that it keeps."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.memories.floors import FrequencyConfig
from retromem.memories.sparse_numbers import pack_sparse, unpack_sparse
from retromem.memories.static_function import StaticFunctionConfig, canonical_code, huffman_lengths


@given(st.lists(st.integers(0, 3) | st.integers(0, 2**40), max_size=60), st.integers(0, 2000), st.binary(max_size=3))
def test_sparse_numbers_come_back_whatever_follows(numbers, zeros, rest):
    table = np.array([*numbers, *[0] * zeros, *numbers], dtype=np.int64)
    content = pack_sparse(table)
    back, num_bytes = unpack_sparse(content + rest, len(table))
    assert back.tolist() == table.tolist() and num_bytes == len(content)


def test_sparse_numbers_take_bits_of_what_is_there():
    table = np.zeros(4096, dtype=np.int64)
    assert len(pack_sparse(table)) <= 2
    table[::64] = 8  # 64 places of 4,096: 6 bits to say which, 1 that ends it, 3 bits each
    assert len(pack_sparse(table)) <= math.ceil((64 * (6 + 1 + 3) + 13 + 11) / 8)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40).filter(any))
def test_code_words_are_complete_and_within_a_bit_of_the_entropy(counts):
    lengths = huffman_lengths(counts)
    assert set(lengths) == {symbol for symbol, count in enumerate(counts) if count}
    assert sum(2.0**-length for length in lengths.values()) == 1.0
    words = {f"{word:0{length}b}"[:length] for length, word in canonical_code(lengths)}
    assert not any(one != other and other.startswith(one) for one in words for other in words)
    total = sum(counts)
    entropy = -sum(c / total * math.log2(c / total) for c in counts if c)
    assert entropy - 1e-9 <= sum(counts[s] * n for s, n in lengths.items()) / total < entropy + 1


@settings(max_examples=25)
@given(
    num_facts=st.integers(1, 400),
    num_values=st.sampled_from([2, 3, 16, 1000, 50_000]),
    seed=st.integers(0, 99),
    few=st.booleans(),
)
def test_floors_lie_in_their_order_however_many_values_exist(num_facts, num_values, seed, few, tmp_path_factory):
    """Entropy <= static function <= a plain list of value ids for the same keys, and both grow with what occurs."""
    knowledge = keys_set(KeysConfig(dim=4, num_values=num_values, num_facts=num_facts, seed=seed))
    facts = knowledge.facts()
    if few:  # only two of the values occur
        facts = facts.__class__(**{**vars(facts), "value_ids_N": facts.value_ids_N % 2})
    counts = np.bincount(facts.value_ids_N)
    log2_ways = (math.lgamma(num_facts + 1) - sum(math.lgamma(c + 1) for c in counts)) / math.log(2)
    memory, mode = StaticFunctionConfig().build(seed=0), FrequencyConfig().build(seed=0)
    memory.write(facts)
    mode.write(facts)
    kinds, bits = int((counts > 0).sum()), math.log2(num_values)
    table_bytes = (kinds * (math.log2(num_values / kinds) + 3 + 5) + 40) / 8
    storage = memory.footprint().storage_bytes
    assert log2_ways / 8 <= storage
    # Huffman's words: a bit a fact above the entropy at most, and no longer than plain binary; 128 spare slots.
    words = min(num_facts * (log2_ways / num_facts + 1), num_facts * math.ceil(bits) + 0.0)
    spare = 0 if words <= 128 else 128
    assert storage <= (1.05 * words + spare + 48) / 8 + 6 + table_bytes
    assert mode.footprint().storage_bytes <= (kinds * (math.log2(num_values / kinds) + 3 + 9) + 40) / 8
    folder = tmp_path_factory.mktemp("static")
    memory.save(folder / "m")
    for one in (memory, type(memory).load(folder / "m")):
        answers = one.recall(facts.cues[0], top_k=1).value_ids_QK[:, 0]
        assert answers.tolist() == facts.value_ids_N.tolist()


def test_one_value_is_no_bit():
    knowledge = keys_set(KeysConfig(num_values=16, num_facts=300))
    facts = knowledge.facts()
    memory = StaticFunctionConfig().build(seed=0)
    memory.write(facts.__class__(**{**vars(facts), "value_ids_N": np.full(300, 5)}))
    assert memory.footprint().storage_bytes <= 9
    assert set(memory.recall(facts.cues[0], top_k=1).value_ids_QK[:, 0].tolist()) == {5}


@pytest.mark.parametrize("num_values", [1_000, 100_000])
def test_values_that_do_not_occur_cost_next_to_nothing(num_values):
    def storage(exist):
        knowledge = keys_set(KeysConfig(num_values=exist, num_facts=64))
        facts = knowledge.facts()
        memory = StaticFunctionConfig().build(seed=0)
        memory.write(facts.__class__(**{**vars(facts), "value_ids_N": facts.value_ids_N % 10}))
        return memory.footprint().storage_bytes

    assert storage(num_values) <= storage(10) + 10 * math.log2(num_values) / 8 + 2
