import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy import ndarray
from scipy.special import betainc
from sklearn.random_projection import johnson_lindenstrauss_min_dim

from retromem.theory.superposition_bounds import (
    expected_max_coherence,
    johnson_lindenstrauss_dim,
    log2_cap,
    log2_greedy_code,
    log2_packing_upper,
    welch_bound,
)


def unit_vectors(num_vectors: int, dim: int, seed: int) -> ndarray:
    vectors_ND = np.random.default_rng(seed).standard_normal((num_vectors, dim))
    return vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)


def coherence(vectors_ND: ndarray) -> float:
    cosines_NN = np.abs(vectors_ND @ vectors_ND.T)
    np.fill_diagonal(cosines_NN, 0.0)
    return float(cosines_NN.max())


def simplex(dim: int) -> ndarray:
    """dim + 1 vectors to the corners of a regular simplex, written in dim + 1 coordinates."""
    corners = np.eye(dim + 1) - 1 / (dim + 1)
    return corners / np.linalg.norm(corners, axis=1, keepdims=True)


GOLDEN = (1 + math.sqrt(5)) / 2
ICOSAHEDRON = np.array(
    [[0, 1, GOLDEN], [0, 1, -GOLDEN], [1, GOLDEN, 0], [1, -GOLDEN, 0], [GOLDEN, 0, 1], [-GOLDEN, 0, 1]]
) / math.hypot(1, GOLDEN)


def test_welch_is_attained_by_simplices_and_by_the_icosahedron() -> None:
    for dim in (2, 3, 10):
        assert welch_bound(dim + 1, dim) == pytest.approx(coherence(simplex(dim))) == pytest.approx(1 / dim)
    assert welch_bound(6, 3) == pytest.approx(coherence(ICOSAHEDRON)) == pytest.approx(1 / math.sqrt(5))
    assert welch_bound(5, 5) == welch_bound(2, 5) == 0.0 == coherence(np.eye(5))


@given(num_vectors=st.integers(2, 40), dim=st.integers(1, 12), seed=st.integers(0, 3))
def test_no_vectors_are_below_welch(num_vectors: int, dim: int, seed: int) -> None:
    assert coherence(unit_vectors(num_vectors, dim, seed)) >= welch_bound(num_vectors, dim) - 1e-12


@pytest.mark.parametrize(("num_points", "eps"), [(100, 0.1), (5000, 0.5), (10**6, 0.3)])
def test_johnson_lindenstrauss_as_in_scikit_learn(num_points: int, eps: float) -> None:
    assert math.floor(johnson_lindenstrauss_dim(num_points, eps)) == johnson_lindenstrauss_min_dim(num_points, eps=eps)


def test_a_random_projection_of_that_dimension_keeps_the_distances() -> None:
    rng = np.random.default_rng(0)
    points_ND = rng.standard_normal((60, 2000))
    dim = math.ceil(johnson_lindenstrauss_dim(60, 0.4))
    images_ND = points_ND @ rng.standard_normal((2000, dim)) / math.sqrt(dim)
    one, two = np.triu_indices(60, k=1)
    before = ((points_ND[one] - points_ND[two]) ** 2).sum(axis=1)
    ratio = ((images_ND[one] - images_ND[two]) ** 2).sum(axis=1) / before
    assert np.abs(ratio - 1).max() <= 0.4


def test_the_cap_in_two_and_three_dimensions_is_known() -> None:
    for cosine in (0.1, 0.5, 0.9):
        assert 2 ** log2_cap(2, cosine) == pytest.approx(2 * math.acos(cosine) / math.pi)
        assert 2 ** log2_cap(3, cosine) == pytest.approx(1 - cosine)  # Archimedes


@pytest.mark.parametrize("dim", [700, 4096])
def test_the_cap_is_the_same_by_its_series_where_floats_end(dim: int) -> None:
    # Just above and just below 1e-300, where the way of computing changes: nearly on one straight line.
    edge = next(c for c in np.arange(0.01, 1, 0.001).tolist() if betainc((dim - 1) / 2, 0.5, 1 - c**2) < 1e-300)
    slope = [log2_cap(dim, c + 0.001) - log2_cap(dim, c) for c in (edge - 0.003, edge - 0.001, edge + 0.001)]
    assert slope[1] == pytest.approx((slope[0] + slope[2]) / 2, rel=1e-3)
    assert log2_cap(4096, 0.99) == pytest.approx(-11576.913354153969)  # mpmath, 50 digits


@pytest.mark.parametrize(("num_vectors", "dim"), [(2, 2), (10, 3), (60, 8), (300, 32)])
def test_expected_coherence_of_random_vectors(num_vectors: int, dim: int) -> None:
    drawn = [coherence(unit_vectors(num_vectors, dim, seed)) for seed in range(300)]
    error = np.std(drawn) / math.sqrt(300)
    assert expected_max_coherence(num_vectors, dim) == pytest.approx(np.mean(drawn), abs=4 * error + 1e-3)


def test_expected_coherence_falls_with_the_dimension_as_the_square_root() -> None:
    for dim in (4096, 10**6):
        assert expected_max_coherence(10**5, dim) == pytest.approx(math.sqrt(4 * math.log(10**5) / dim), rel=0.06)
    assert expected_max_coherence(50, 10) > welch_bound(50, 10)


def test_on_a_plane_the_most_lines_are_known() -> None:
    for num_lines in (2, 3, 7):  # spread evenly: pi / N apart
        eps = math.cos(math.pi / num_lines)
        eps = max(eps, 1e-9)
        assert 2 ** log2_packing_upper(2, eps) == pytest.approx(num_lines, rel=1e-6)
        assert 2 ** log2_greedy_code(2, eps) <= num_lines
    assert 2 ** log2_packing_upper(3, 1 / math.sqrt(5)) >= 6


def greedy(dim: int, eps: float, num_draws: int) -> int:
    kept = np.zeros((0, dim))
    for vector in unit_vectors(num_draws, dim, 0):
        if (np.abs(kept @ vector) <= eps).all():
            kept = np.vstack([kept, vector])
    return len(kept)


@pytest.mark.parametrize(("dim", "eps"), [(3, 0.3), (4, 0.5), (6, 0.5)])
def test_vectors_kept_greedily_lie_between_the_bounds(dim: int, eps: float) -> None:
    num_kept = greedy(dim, eps, 5000)
    assert 2 ** log2_greedy_code(dim, eps) <= num_kept <= 2 ** log2_packing_upper(dim, eps)


def test_capacity_lies_far_above_the_dimension_and_far_below_the_power_set() -> None:
    dim, eps = 384, 0.3
    greedy_, upper = log2_greedy_code(dim, eps), log2_packing_upper(dim, eps)
    assert math.log2(dim) < greedy_ < upper < dim
    # The exponents of the docstrings, but for slowly growing factors.
    assert greedy_ == pytest.approx(eps**2 * dim / 2 / math.log(2), rel=0.25)
    assert log2_packing_upper(4000, 0.5) == pytest.approx(4000, rel=0.01)
