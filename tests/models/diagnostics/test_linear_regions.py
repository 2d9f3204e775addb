"""Counts of regions against linear programmes over all patterns, dense sampling, Zaslavsky and closed forms."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from models.diagnostics.linear_regions import (
    ReLULayer,
    he_normal_stack,
    regions_in_polygon,
    regions_on_segment,
    regions_per_neuron,
)


def random_stack(rng, dim_in, widths):
    sizes = [dim_in, *widths]
    return [
        ReLULayer(w_DF=rng.normal(size=(fan_in, width)), b_F=rng.normal(size=width))
        for fan_in, width in pairwise(sizes)
    ]


def square(dim, rng):
    """Corners of a parallelogram, and its middle and half-sides."""
    middle, one, other = rng.normal(size=(3, dim))
    return np.array([middle + one + other, middle + one - other, middle - one - other, middle - one + other]), (
        middle,
        np.array([one, other]),
    )


def feasible_patterns(layers, offset_D, slopes_TD):
    """Patterns of all units that occur in offset + t . slopes, |t| <= 1: each sign is tried by a linear programme."""
    found = 0

    def has_interior(rows):
        normals, bounds = np.array([row[:-1] for row in rows]), np.array([row[-1] for row in rows])
        margins = np.linalg.norm(normals, axis=1, keepdims=True)  # t . normal + bound >= margin * slack
        goal = np.zeros(len(slopes_TD) + 1)
        goal[-1] = -1.0
        limits = [(-1.0, 1.0)] * len(slopes_TD) + [(None, 1.0)]
        done = linprog(goal, A_ub=np.hstack([-normals, margins]), b_ub=bounds, bounds=limits)
        return done.status == 0 and -done.fun > 1e-8

    def descend(depth, slopes, offset, rows):
        nonlocal found
        if depth == len(layers):
            found += 1
            return
        slopes, offset = slopes @ layers[depth].w_DF, offset @ layers[depth].w_DF + layers[depth].b_F
        width = len(offset)

        def choose(unit, signs, rows):
            if unit == width:
                descend(depth + 1, slopes * signs, offset * signs, rows)
                return
            for sign in (1, -1):
                row = sign * np.append(slopes[:, unit], offset[unit])
                if np.abs(row[:-1]).max() < 1e-12:  # constant where all units before it are off
                    if row[-1] > 0:
                        choose(unit + 1, [*signs, sign > 0], rows)
                elif has_interior([*rows, row]):
                    choose(unit + 1, [*signs, sign > 0], [*rows, row])

        choose(0, [], rows)

    descend(0, slopes_TD, offset_D, [])
    return found


def sampled_patterns(layers, x_ND):
    """Distinct patterns over the points."""
    bits = []
    for layer in layers:
        z = x_ND @ layer.w_DF + layer.b_F
        bits.append(z > 0)
        x_ND = np.maximum(z, 0)
    return len(np.unique(np.packbits(np.hstack(bits), axis=1), axis=0))


@pytest.mark.parametrize("widths", [(5,), (4, 3), (3, 3, 3)])
@pytest.mark.parametrize("seed", [0, 1])
def test_counts_equal_the_patterns_that_linear_programmes_find(widths, seed):
    rng = np.random.default_rng(seed)
    layers = random_stack(rng, 3, widths)
    corners, (middle, sides) = square(3, rng)
    assert regions_in_polygon(layers, corners) == feasible_patterns(layers, middle, sides)
    start, end = middle - 5 * sides[0], middle + 5 * sides[0]
    assert regions_on_segment(layers, start, end) == feasible_patterns(layers, middle, 5 * sides[:1])


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), widths=st.lists(st.integers(1, 8), min_size=1, max_size=3))
def test_dense_sampling_never_finds_more(seed, widths):
    rng = np.random.default_rng(seed)
    layers = random_stack(rng, 4, widths)
    corners, (middle, sides) = square(4, rng)
    t = np.linspace(0, 1, 4001)[:, None]
    on_segment = sampled_patterns(layers, (1 - t) * corners[0] + t * corners[2])
    assert on_segment <= regions_on_segment(layers, corners[0], corners[2])
    a, b = np.meshgrid(np.linspace(-1, 1, 150), np.linspace(-1, 1, 150))
    in_square = sampled_patterns(layers, middle + np.stack([a.ravel(), b.ravel()], axis=1) @ sides)
    assert in_square <= regions_in_polygon(layers, corners)


@pytest.mark.parametrize("num_lines", [1, 2, 7, 25])
def test_generic_lines_cut_the_whole_plane_as_zaslavsky_counts(num_lines):
    rng = np.random.default_rng(num_lines)
    angles = np.pi * (np.arange(num_lines) + 0.5 * rng.random(num_lines)) / num_lines  # none nearly parallel
    layer = ReLULayer(w_DF=np.stack([np.cos(angles), np.sin(angles)]), b_F=rng.normal(size=num_lines))
    corners = 1e4 * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    assert regions_in_polygon([layer], corners) == sum(math.comb(num_lines, j) for j in range(3))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_without_biases_a_plane_through_the_origin_is_cut_into_cones(depth):
    rng = np.random.default_rng(depth)
    layers = [
        ReLULayer(w_DF=layer.w_DF, b_F=np.zeros(len(layer.b_F))) for layer in he_normal_stack(6, 20, depth, rng=rng)
    ]
    corners, (middle, _) = square(6, rng)
    corners = corners - middle
    around = sum(regions_on_segment(layers, corners[c - 1], corners[c]) for c in range(4)) - 4  # corners cut no cone
    assert regions_in_polygon(layers, corners) == around
    if depth == 1:
        assert around == 2 * 20


def test_a_sawtooth_of_folds_doubles_its_regions_with_each_layer():
    """Telgarsky: x -> relu(2 x) - relu(4 x - 2) folds [0, 1] onto itself."""
    first = ReLULayer(w_DF=np.array([[2.0, 4.0]]), b_F=np.array([0.0, -2.0]))
    later = ReLULayer(w_DF=np.array([[2.0, 4.0], [-2.0, -4.0]]), b_F=np.array([0.0, -2.0]))
    for depth in range(1, 8):
        assert regions_on_segment([first] + [later] * (depth - 1), np.zeros(1), np.ones(1)) == 2**depth


def test_no_layers_and_units_that_never_change_leave_one_region():
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    dead = ReLULayer(w_DF=np.zeros((2, 3)), b_F=np.array([-1.0, 0.0, 1.0]))
    for layers in ([], [dead]):
        assert regions_in_polygon(layers, corners) == regions_on_segment(layers, corners[1], corners[2]) == 1


def test_he_normal_layers_have_the_stated_variances():
    layers = he_normal_stack(50, 400, 2, rng=np.random.default_rng(0))
    assert [layer.w_DF.shape for layer in layers] == [(50, 400), (400, 400)]
    assert layers[0].w_DF.var() == pytest.approx(2 / 50, rel=0.03)
    assert layers[1].w_DF.var() == pytest.approx(2 / 400, rel=0.03)
    assert layers[1].b_F.std() == pytest.approx(1e-3, rel=0.15)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_line_through_the_origin_meets_about_one_region_a_neuron_at_every_depth(depth):
    assert regions_per_neuron(64, depth, num_stacks=20) == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_units_that_change_in_one_point_cut_it_once(scale):
    """Without biases every unit changes where the segment passes the origin: two regions, whatever rounding says."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        end, start_share = rng.normal(size=5), rng.uniform(0.1, 3)
        layers = [ReLULayer(w_DF=scale * rng.normal(size=(5, 40)), b_F=np.zeros(40))]
        assert regions_on_segment(layers, -start_share * end, end) == 2
        away = ReLULayer(w_DF=layers[0].w_DF, b_F=-layers[0].w_DF.T @ (0.3 * end))  # all change at .3 of the way
        assert regions_on_segment([away], np.zeros(5), end) == 2


def test_a_unit_that_is_zero_but_for_rounding_cuts_nothing():
    """The second layer subtracts a unit from itself in an order that leaves the last digits."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        first = ReLULayer(w_DF=np.tile(rng.normal(size=(4, 1)), 3), b_F=np.full(3, 2.0))
        second = ReLULayer(w_DF=np.array([[0.1, 1.0], [0.2, 1.0], [-0.3, 1.0]]), b_F=np.zeros(2))
        start, end = rng.normal(size=(2, 4))
        alone = [first, ReLULayer(w_DF=second.w_DF[:, 1:], b_F=np.zeros(1))]
        assert regions_on_segment([first, second], start, end) == regions_on_segment(alone, start, end)
