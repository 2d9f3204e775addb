"""Bits as the literature counts them, against small cases counted out and against the published form."""

import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retromem.measure.bit_complexity import knowledge_bits, memorised_bits


def test_a_case_counted_out() -> None:
    """5 names, 2 people, one value out of 4 each: 160 data sets. Their code by a model, less the code without one."""
    p_name = {"a": 0.4, "b": 0.3, "c": 0.1, "d": 0.1, "e": 0.1}
    p_value = {name: [0.7, 0.1, 0.1, 0.1] if name == "a" else [0.1, 0.1, 0.6, 0.2] for name in p_name}
    datasets = [
        dict(zip(names, values, strict=True))
        for names in combinations(p_name, 2)
        for values in product(range(4), repeat=2)
    ]
    assert len(datasets) == 160
    for people in datasets:
        # Either order of the two people says the same: both count.
        probability = 2 * math.prod(p_name[name] * p_value[name][value] for name, value in people.items())
        expected = math.log2(160) + math.log2(probability)
        found = knowledge_bits(
            -np.log([p_name[name] for name in people]),
            -np.log([[p_value[name][value]] for name, value in people.items()]),
            num_names=5,
            num_values_A=[4],
        )
        assert found.name_bits + found.value_bits == pytest.approx(expected)
        assert found.total_bits == max(0.0, found.name_bits + found.value_bits)


@given(st.integers(1, 500), st.integers(0, 10**6), st.lists(st.integers(1, 1000), min_size=1, max_size=5))
def test_all_known_is_the_demand_and_nothing_known_is_nothing(people: int, others: int, num_values: list[int]) -> None:
    names = people + others
    no_loss = np.zeros((people, len(num_values)))
    known = knowledge_bits(np.full(people, math.log(people)), no_loss, num_names=names, num_values_A=num_values)
    assert known.name_bits + known.value_bits == pytest.approx(known.demand_bits, abs=1e-6)
    # Of so many names, drawn without being put back, the published form is a lower bound.
    published = people * math.log2(max(1, names - people) / people)
    assert known.name_bits >= published - 1e-6
    assert known.name_bits <= people * math.log2(names / people) + 1e-6
    chance_NA = np.tile(np.log(num_values), (people, 1))
    guessed = knowledge_bits(np.full(people, math.log(names)), chance_NA, num_names=names, num_values_A=num_values)
    assert guessed.value_bits == pytest.approx(0, abs=1e-6)
    assert guessed.total_bits == pytest.approx(0, abs=1e-6 * people * math.log2(names + 1) + 1e-6)


def test_bits_of_a_person_of_the_literature() -> None:
    """bioS: 47.6 bits of values, and log2(N0 / N) of the name; the city of work adds none."""
    values = [12 * 28 * 200, 200, 300, 100, 263, 2]
    people = 1000
    known = knowledge_bits(
        np.full(people, math.log(people)), np.zeros((people, 6)), num_names=160_000_000, num_values_A=values
    )
    assert known.value_bits / people == pytest.approx(47.59, abs=0.005)
    assert known.name_bits / people == pytest.approx(math.log2(160_000_000 / people), abs=1e-4)


def test_memorised_bits_are_counted_once_and_never_below_zero() -> None:
    length, vocabulary = 8, 16
    uniform = np.full(5, length * math.log(vocabulary))
    assert memorised_bits(uniform, num_tokens=vocabulary, length=length) == pytest.approx(0, abs=1e-9)
    assert memorised_bits(np.zeros(5), num_tokens=vocabulary, length=length) == 5 * 8 * 4
    mixed = uniform + np.array([9.0, -9.0, 9.0, -9.0, 0.0])
    assert memorised_bits(mixed, num_tokens=vocabulary, length=length) == pytest.approx(0, abs=1e-9)
    assert memorised_bits(2 * uniform, num_tokens=vocabulary, length=length) == 0


def test_refusals() -> None:
    with pytest.raises(ValueError, match="different names"):
        knowledge_bits(np.zeros(3), np.zeros((3, 1)), num_names=2, num_values_A=[4])
    with pytest.raises(ValueError, match="have 2 values each"):
        knowledge_bits(np.zeros(3), np.zeros((3, 1)), num_names=9, num_values_A=[4, 4])
    with pytest.raises(ValueError, match="not finite"):
        knowledge_bits(np.array([np.inf]), np.zeros((1, 1)), num_names=9, num_values_A=[4])
