"""Ranks against closed forms, scipy and numpy; what rotations, scale and blocks must not change."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy, ortho_group

from models.diagnostics.matrix_rank import (
    activation_ranks,
    matrix_ranks,
    ranks_of_singular_values,
    truncated,
    truncated_to_effective_rank,
)


def four(ranks):
    return [
        ranks.effective.tolist(),
        ranks.stable.tolist(),
        ranks.participation_ratio.tolist(),
        ranks.energy.tolist(),
    ]


def reference(a):
    s = np.linalg.svd(np.asarray(a, dtype=np.float64), compute_uv=False)
    share = s**2 / (s**2).sum()
    energy = next(k for k in range(1, len(s) + 1) if share[:k].sum() >= 0.9)
    return [np.exp(entropy(s)), (np.linalg.norm(a) / np.linalg.norm(a, 2)) ** 2, 1 / (share**2).sum(), energy]


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [1, 7, 10])
def test_equal_singular_values_count_in_full(size):
    rotation = torch.from_numpy(np.atleast_2d(ortho_group.rvs(max(size, 2), random_state=0)[:size, :])).float()
    for a in (torch.eye(size), 3.0 * rotation):
        assert four(matrix_ranks(a)) == [pytest.approx(size, rel=1e-5)] * 3 + [{1: 1, 7: 7, 10: 9}[size]]


def test_rank_one_is_one_and_zero_is_none():
    a = torch.outer(gaussian(5), gaussian(8, seed=1))
    assert four(matrix_ranks(a)) == [pytest.approx(1, abs=1e-4)] * 3 + [1]
    assert four(matrix_ranks(torch.zeros(5, 8))) == [0.0, 0.0, 0.0, 0]


def test_closed_forms():
    # Singular values 2, 1, 1: p = 1/2, 1/4, 1/4 has 1.5 bits; squares 4, 1, 1.
    assert four(ranks_of_singular_values(torch.tensor([2.0, 1.0, 1.0]))) == [
        pytest.approx(2**1.5),
        pytest.approx(6 / 4),
        pytest.approx(36 / 18),
        3,
    ]
    # Squares 9 and 1: exactly 90 % in the first.
    assert ranks_of_singular_values(torch.tensor([3.0, 1.0])).energy.tolist() == 1


def test_a_stack_is_ranked_matrix_by_matrix():
    stack = gaussian(2, 3, 6, 4)
    stack[1, 2] = 0.0
    together = matrix_ranks(stack)
    assert together.energy.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        alone = four(matrix_ranks(stack[i, j]))
        assert [rank[i][j] for rank in four(together)] == pytest.approx(alone)
        if (i, j) != (1, 2):
            assert alone == pytest.approx(reference(stack[i, j]))


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(2, 9),
    columns=st.integers(2, 9),
    decay=st.floats(0.1, 3.0),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_rotations_and_scale_change_nothing(seed, rows, columns, decay, scale):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((rows, columns)) * np.exp(-decay * np.arange(columns))
    turned = scale * ortho_group.rvs(rows, random_state=rng) @ a @ ortho_group.rvs(columns, random_state=rng)
    ranks = four(matrix_ranks(torch.from_numpy(a)))
    assert ranks == pytest.approx(reference(a))
    assert four(matrix_ranks(torch.from_numpy(turned))) == pytest.approx(ranks)
    effective, stable, participation, _ = ranks
    assert 1 <= stable <= participation * (1 + 1e-9) <= effective * (1 + 1e-8) <= min(rows, columns) * (1 + 1e-7)


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), facts=st.integers(2, 30), units=st.integers(1, 8), block=st.sampled_from([1, 3, 99]))
def test_activations_in_blocks_rank_as_the_centred_whole(seed, facts, units, block):
    h = gaussian(facts, units, seed=seed) * 3.0 ** -torch.arange(units) + 50.0
    centred = h.double() - h.double().mean(0)
    assert four(activation_ranks(h.split(block))) == pytest.approx(reference(centred), rel=1e-6)


def test_activations_that_never_change_have_no_rank_and_small_directions_are_kept():
    assert four(activation_ranks(torch.ones(20, 5).split(6))) == [0.0, 0.0, 0.0, 0]
    # Singular values of 1 to 10^-10: a covariance in float64 would lose the last.
    h = torch.linalg.qr(gaussian(40, 3).double() - gaussian(40, 3).double().mean(0)).Q * torch.tensor([1.0, 1.0, 1e-10])
    p = 1e-10 / 2
    excess = float(activation_ranks(h.split(7)).effective) - 2.0
    assert excess == pytest.approx(2 * (p - p * np.log(p) - p * np.log(2)), rel=0.01)


def test_truncation_is_the_nearest_matrix_of_its_rank():
    a = gaussian(6, 9)
    s = torch.linalg.svdvals(a)
    for rank in range(8):
        near = truncated(a, rank)
        assert near.dtype == a.dtype
        assert torch.linalg.matrix_rank(near, atol=1e-4) == min(rank, 6)
        assert float((a - near).norm()) == pytest.approx(float(s[rank:].norm()), abs=1e-5)


def test_each_matrix_of_a_stack_is_cut_to_its_own_effective_rank():
    stack = torch.stack([torch.eye(6), torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.01, 0.01, 0.01])), torch.zeros(6, 6)])
    cut = truncated_to_effective_rank(stack)
    assert torch.linalg.matrix_rank(cut).tolist() == [6, 3, 0]
    assert torch.allclose(cut[1], torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])), atol=1e-6)
    one_each = truncated(gaussian(3, 5, 5), torch.tensor([4, 2, 0]))
    assert torch.linalg.matrix_rank(one_each, atol=1e-4).tolist() == [4, 2, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_facts_that_do_not_differ_use_no_direction(dtype):
    h = torch.randn(1, 7, generator=torch.Generator().manual_seed(0), dtype=dtype).repeat(61, 1)
    ranks = activation_ranks(h.split(20))
    assert (float(ranks.effective), float(ranks.stable), int(ranks.energy)) == (0.0, 0.0, 0)
