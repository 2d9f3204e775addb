import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retromem.theory.memory_formulas import (
    linear_memory,
    relu_memory,
    relu_memory_of_32_classes,
)


@given(dim=st.integers(1, 4096), hidden=st.integers(1, 16384))
def test_the_facts_lie_on_the_guide_lines(dim: int, hidden: int) -> None:
    num_facts = linear_memory(dim).num_facts
    assert 1.3 * num_facts * math.log(num_facts) == pytest.approx(dim**2)
    num_facts = relu_memory(dim, hidden).num_facts
    assert 0.35 * num_facts * math.log(num_facts) == pytest.approx(dim * hidden)
    assert 1.2 * relu_memory_of_32_classes(dim, hidden).num_facts == pytest.approx(dim * hidden)


def test_bits_a_parameter_as_published() -> None:
    for dim in (8, 64, 512):
        assert linear_memory(dim).bits_per_param == pytest.approx(1.11, abs=0.005)
        assert relu_memory(dim, 2 * dim).bits_per_param == pytest.approx(2.06, abs=0.005)
        assert relu_memory_of_32_classes(dim, 4 * dim).bits_per_param == pytest.approx(2.08, abs=0.005)


def test_near_what_an_independent_trial_stored() -> None:
    assert relu_memory(16, 32).num_facts == pytest.approx(272, rel=0.05)
    assert relu_memory(16, 32).num_params == 1024
    assert relu_memory_of_32_classes(32, 64).num_facts == pytest.approx(1745, rel=0.05)
