"""Reciprocal rank fusion beside its formula, written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.rank_fusion import reciprocal_rank_fusion


def test_two_rankings_by_hand():
    """Chunk 7 is second in both, 3 first in one alone: 2/62 beats 1/61, and 9 comes last."""
    positions, scores = reciprocal_rank_fusion([np.array([[3, 7, -1]]), np.array([[9, 7, 4]])], 5)
    assert positions.tolist() == [[7, 3, 9, 4, -1]]  # 3 and 9 tie: the smaller position first
    assert scores[0] == pytest.approx([2 / 62, 1 / 61, 1 / 61, 1 / 63, 0])


def test_a_small_constant_lets_the_first_place_win():
    positions, _ = reciprocal_rank_fusion([np.array([[3, 7]]), np.array([[9, 7]])], 1, constant=0)
    assert positions.tolist() == [[3]]  # 1 against 2 * 1/2: a tie again
    positions, _ = reciprocal_rank_fusion([np.array([[3, 8, 7]]), np.array([[9, 8, 7]])], 3, constant=0)
    assert positions.tolist() == [[3, 8, 9]]


@st.composite
def rankings(draw):
    def ranking():
        length = draw(st.integers(0, 6))
        found = draw(st.lists(st.integers(0, 9), min_size=length, max_size=length, unique=True))
        return [*found, *[-1] * (6 - length)]

    return [np.array([ranking() for _ in range(3)]) for _ in range(draw(st.integers(1, 3)))]


@settings(max_examples=60, deadline=None)
@given(rankings(), st.integers(1, 12), st.integers(0, 80))
def test_equals_the_formula_written_out(given_rankings, k, constant):
    positions, scores = reciprocal_rank_fusion(given_rankings, k, constant=constant)
    for row in range(3):
        sums: dict[int, float] = {}
        for ranking in given_rankings:
            for place, position in enumerate(ranking[row].tolist(), start=1):
                if position >= 0:
                    sums[position] = sums.get(position, 0.0) + 1 / (constant + place)
        kept = [position for position in positions[row].tolist() if position >= 0]
        assert len(kept) == len(set(kept)) == min(k, len(sums))
        assert scores[row, : len(kept)] == pytest.approx([sums[position] for position in kept])
        assert (np.diff(scores[row]) <= 1e-7).all()
        left_out = [value for position, value in sums.items() if position not in kept]
        assert max(left_out, default=0.0) <= min((sums[position] for position in kept), default=1.0) + 1e-6
