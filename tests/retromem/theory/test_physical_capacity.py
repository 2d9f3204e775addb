import math

import numpy as np
import pytest

from retromem.theory.physical_capacity import dense_ffn_params, facts_of_bits, physical_bits


@pytest.mark.parametrize("n_embd", [3, 16, 768])
def test_params_are_the_entries_of_the_matrices(n_embd: int) -> None:
    d_ff = 4 * n_embd
    dense = [np.empty((n_embd, d_ff)), np.empty((d_ff, n_embd))]
    assert dense_ffn_params(n_embd) == sum(matrix.size for matrix in dense) == 8 * n_embd**2
    assert dense_ffn_params(n_embd, 7) == 14 * n_embd


def test_as_many_facts_as_the_bits_can_tell_apart() -> None:
    bits = physical_bits(dense_ffn_params(1), 0.75)  # 8 weights of 3/4 bit: 64 states
    assert bits == 6.0
    assert facts_of_bits(bits, 4) == 3.0  # 4^3 = 64 tables
    assert facts_of_bits(bits, 5) * math.log2(5) == pytest.approx(6.0)
