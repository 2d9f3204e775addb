"""Counts against arrangements whose cells are enumerated by linear programming, and against networks built by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy import ndarray
from scipy.optimize import linprog

from retromem.theory.pattern_bounds import (
    affine_regions,
    central_regions,
    log2_all_patterns,
    log2_hanin_rolnick,
    log2_layerwise_upper,
    log2_montufar_lower,
)


def is_cell(signs_N: ndarray, planes_ND: ndarray, offsets_N: ndarray) -> bool:
    """Whether some x lies strictly on these sides: the largest margin t <= 1 of sign (w x + b) >= t is positive."""
    rows = np.column_stack([-signs_N[:, None] * planes_ND, np.ones(len(signs_N))])
    cost = np.zeros(rows.shape[1])
    cost[-1] = -1.0
    bounds = [(None, None)] * planes_ND.shape[1] + [(None, 1.0)]
    return bool(-linprog(cost, A_ub=rows, b_ub=signs_N * offsets_N, bounds=bounds).fun > 1e-7)


def cells(planes_ND: ndarray, offsets_N: ndarray) -> int:
    signs = itertools.product((-1.0, 1.0), repeat=len(planes_ND))
    return sum(is_cell(np.array(sides), planes_ND, offsets_N) for sides in signs)


@pytest.mark.parametrize(("num_units", "dim"), [(1, 1), (4, 1), (3, 2), (5, 2), (2, 3), (5, 3), (6, 3)])
def test_cells_of_random_hyperplanes(num_units: int, dim: int) -> None:
    rng = np.random.default_rng(num_units)
    planes_ND, offsets_N = rng.standard_normal((num_units, dim)), rng.standard_normal(num_units)
    assert affine_regions(num_units, dim) == cells(planes_ND, offsets_N)
    assert central_regions(num_units, dim) == cells(planes_ND, np.zeros(num_units))


def test_patterns_of_a_layer_in_the_plane_are_all_met_by_dense_sampling() -> None:
    rng = np.random.default_rng(0)
    angles = np.arange(9) * math.pi / 9 + rng.uniform(0, 0.2, size=9)
    weights_2N = np.stack([np.cos(angles), np.sin(angles)])
    turns = np.linspace(0, 2 * math.pi, 20_001)
    x_B2 = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    assert len(np.unique(x_B2 @ weights_2N > 0, axis=0)) == central_regions(9, 2) == 18
    x_B2 = np.stack(np.meshgrid(*[np.linspace(-30, 30, 800)] * 2), axis=-1).reshape(-1, 2)
    patterns = x_B2 @ weights_2N[:, :6] + rng.uniform(-2, 2, size=6) > 0
    codes = patterns @ (1 << np.arange(6))
    assert len(np.unique(codes)) == affine_regions(6, 2) == 22


@given(num_units=st.integers(1, 40), dim=st.integers(1, 40))
def test_recurrence_and_limits(num_units: int, dim: int) -> None:
    # One more hyperplane cuts as many cells as the others leave on it: an arrangement of one dimension less.
    assert affine_regions(num_units + 1, dim) == affine_regions(num_units, dim) + affine_regions(num_units, dim - 1)
    # An affine arrangement is the slice at height 1 of a central one that has one plane, the slice's own, more.
    assert 2 * affine_regions(num_units, dim) == central_regions(num_units + 1, dim + 1)
    assert affine_regions(num_units, dim) <= 2 ** log2_all_patterns([num_units])
    if dim >= num_units:
        assert affine_regions(num_units, dim) == central_regions(num_units, dim) == 2**num_units


def test_at_four_units_a_dimension_patterns_are_fewer_than_the_power_set() -> None:
    share = math.log2(affine_regions(4 * 1024, 1024)) / log2_all_patterns([4 * 1024])
    entropy = -0.25 * math.log2(0.25) - 0.75 * math.log2(0.75)  # sum_{j <= n/4} C(n, j) ~ 2^(n H(1/4))
    assert share == pytest.approx(entropy, abs=2e-3)


def zigzag(x_B: ndarray, folds: int) -> tuple[ndarray, ndarray]:
    """[0, 1] folded onto itself by that many ReLU units: the fold, and which units are on."""
    kinks_F = np.arange(folds) / folds
    slopes_F = np.where(kinks_F == 0, folds, 2.0 * folds * (-1.0) ** np.arange(folds))
    before_BF = x_B[:, None] - kinks_F
    return np.maximum(before_BF, 0) @ slopes_F, before_BF > 0


def test_montufars_lower_bound_is_reached_by_folding_a_line() -> None:
    x_B = np.linspace(0, 1, 400_001)[1:-1]
    folded_B, first = zigzag(x_B, 3)
    again_B, second = zigzag(folded_B, 4)
    thresholds = np.array([0.2, 0.45, 0.7])
    patterns_BN = np.column_stack([first, second, again_B[:, None] > thresholds])
    pieces = 1 + int((patterns_BN[1:] != patterns_BN[:-1]).any(axis=1).sum())
    assert pieces == 2 ** log2_montufar_lower([3, 4, 3], 1) == pytest.approx(3 * 4 * 4)


def test_montufars_lower_bound_is_zaslavsky_for_one_layer_and_below_the_upper_bounds() -> None:
    for widths, dim in [([7], 3), ([6, 5], 2), ([8, 8, 9], 4), ([4, 12], 4)]:
        lower, upper = log2_montufar_lower(widths, dim), log2_layerwise_upper(widths, dim)
        assert lower <= upper + 1e-9 <= log2_all_patterns(widths) + 2e-9
    assert log2_montufar_lower([7], 3) == log2_layerwise_upper([7], 3) == math.log2(1 + 7 + 21 + 35)
    with pytest.raises(AssertionError, match="folds nothing"):
        log2_montufar_lower([2, 5], 3)


@given(widths=st.lists(st.integers(1, 12), min_size=1, max_size=5), dim=st.integers(1, 8))
def test_the_upper_bound_is_a_product_of_layers_behind_the_narrowest_before_them(widths: list[int], dim: int) -> None:
    cells_of_layers = [
        sum(math.comb(width, j) for j in range(min(dim, *widths[:layer], width) + 1))
        for layer, width in enumerate(widths)
    ]
    assert 2 ** log2_layerwise_upper(widths, dim) == pytest.approx(math.prod(cells_of_layers))


def test_a_narrow_layer_limits_what_comes_after_it() -> None:
    # One unit leaves a line at most: 2 cells, times 5 units on a line.
    assert 2 ** log2_layerwise_upper([1, 5], 3) == pytest.approx(2 * (1 + 5))
    rng = np.random.default_rng(1)
    x_B3 = rng.standard_normal((50_000, 3)) * 5
    first_B1 = x_B3 @ rng.standard_normal((3, 1)) + rng.standard_normal(1)
    second_B5 = np.maximum(first_B1, 0) @ rng.standard_normal((1, 5)) + rng.standard_normal(5)
    patterns = np.unique(np.column_stack([first_B1 > 0, second_B5 > 0]), axis=0)
    assert 2 < len(patterns) <= 2 * (1 + 5)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_hanin_and_rolnicks_order_is_that_of_one_layer_of_many_units(dim: int) -> None:
    num_units = 10**6
    exact = math.log2(affine_regions(num_units, dim))
    assert log2_hanin_rolnick(num_units, dim) == pytest.approx(exact, abs=1e-4)
    assert log2_hanin_rolnick(num_units, dim, density=2.0) == pytest.approx(exact + dim, abs=1e-4)


def test_with_fewer_neurons_than_dimensions_every_pattern_may_be_there() -> None:
    assert log2_hanin_rolnick(5, 8) == 5.0 == math.log2(affine_regions(5, 8))
