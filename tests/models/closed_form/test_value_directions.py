"""Directions and targets against brute force and plain least squares."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from models.closed_form.value_directions import decision_targets, margin_optimal_directions


def codes_of(num_values, dim, seed=0):
    codes = torch.randn(num_values, dim, generator=torch.Generator().manual_seed(seed))
    return codes / codes.norm(dim=1, keepdim=True)


def smallest_product(direction, codes, value):
    differences = np.delete(codes[value] - codes, value, axis=0)
    return (differences @ direction / np.linalg.norm(differences, axis=1)).min()


def test_in_the_plane_no_angle_has_a_larger_margin():
    codes = codes_of(7, 2)
    directions, margins = margin_optimal_directions(codes)
    angles = np.linspace(0, 2 * math.pi, 4_001)
    for value in range(7):
        best = max(
            smallest_product(np.array([math.cos(a), math.sin(a)]), codes.double().numpy(), value) for a in angles
        )
        assert float(margins[value]) == pytest.approx(best, abs=2e-3)
        assert smallest_product(directions[value].numpy(), codes.double().numpy(), value) == pytest.approx(
            best, abs=1e-3
        )


@settings(max_examples=20)
@given(num_values=st.integers(2, 12), dim=st.integers(2, 6), seed=st.integers(0, 1000))
def test_margin_is_that_of_the_direction_and_no_other_search_finds_more(num_values, dim, seed):
    codes = codes_of(num_values, dim, seed)
    directions, margins = margin_optimal_directions(codes)
    assert directions.norm(dim=1).tolist() == pytest.approx([1.0] * num_values)
    for value in range(num_values):
        numpy_codes = codes.double().numpy()
        margin = float(margins[value])
        if margin:
            assert smallest_product(directions[value].numpy(), numpy_codes, value) == pytest.approx(margin, abs=1e-6)
        sought = minimize(
            lambda u, value=value, of=numpy_codes: -smallest_product(u / np.linalg.norm(u), of, value),
            directions[value].numpy() + 0.1,
            method="Nelder-Mead",
        )
        assert -sought.fun <= max(margin, 0.0) + 1e-6


def test_a_code_within_the_hull_of_others_has_no_margin_nor_has_one_of_two_that_are_alike():
    corners = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0], [0.0, 0.1]])
    assert (margin_optimal_directions(corners)[1] > 0).tolist() == [True, True, True, False]
    twins = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert (margin_optimal_directions(twins)[1] > 0).tolist() == [False, False, True]


def test_two_values_part_along_their_difference_and_one_alone_is_always_right():
    codes = codes_of(2, 5)
    directions, margins = margin_optimal_directions(codes)
    apart = (codes[0] - codes[1]) / (codes[0] - codes[1]).norm()
    assert directions[0].tolist() == pytest.approx(apart.tolist(), abs=1e-6)
    assert margins.tolist() == pytest.approx([1.0, 1.0])
    assert margin_optimal_directions(codes[:1])[1].tolist() == [1.0]


@pytest.mark.parametrize("num_values", [3, 8, 30])
def test_decision_targets_have_the_logits_nearest_to_the_centred_one_hot(num_values):
    codes = codes_of(num_values, 8).double().numpy()
    centred_one_hot = np.eye(num_values) - 1 / num_values
    nearest = np.linalg.lstsq(codes - codes.mean(axis=0), centred_one_hot, rcond=1e-6)[0].T
    assert decision_targets(torch.from_numpy(codes)).numpy() == pytest.approx(nearest, abs=1e-9)


def test_values_asked_for_are_those_of_the_whole_table_and_cost_no_square_of_it():
    codes, asked = codes_of(3_000, 5), torch.tensor([7, 2_999])
    directions, margins = margin_optimal_directions(codes, asked)  # of 3,000 each against all: minutes
    for row, value in enumerate(asked.tolist()):
        if float(margins[row]):
            found = smallest_product(directions[row].numpy(), codes.double().numpy(), value)
            assert found == pytest.approx(float(margins[row]), abs=1e-5)
    few = codes[:40]
    assert torch.equal(margin_optimal_directions(few, torch.arange(3, 9))[1], margin_optimal_directions(few)[1][3:9])


def test_a_margin_below_what_is_wanted_ends_the_search():
    margins = margin_optimal_directions(codes_of(40, 6))[1]
    wanted = float(margins.median())
    cut = margin_optimal_directions(codes_of(40, 6), give_up_below=wanted)[1]
    first = int((margins <= wanted).nonzero()[0])
    assert torch.equal(cut[: first + 1], margins[: first + 1]) and not cut[first + 1 :].any()
