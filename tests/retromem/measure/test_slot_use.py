"""Use of slots against scipy's entropy and the two extremes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from retromem.measure.slot_use import use_of


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40).filter(any))
def test_divergence_is_that_of_scipy(counts):
    use = use_of(np.array(counts))
    uniform = np.full(len(counts), 1 / len(counts))
    assert use.kl_bits == pytest.approx(entropy(np.array(counts) / sum(counts), uniform, base=2), abs=1e-9)
    assert use.share_used == pytest.approx(sum(count > 0 for count in counts) / len(counts))


def test_the_extremes():
    assert use_of(np.array([7, 7, 7, 7])).kl_bits == 0
    alone = use_of(np.array([0, 0, 5, 0, 0, 0, 0, 0]))
    assert (alone.kl_bits, alone.share_used) == (3.0, 0.125)
