"""Closed-form stores step by step from their descriptions: draws, targets, solves and what is left out."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from models.closed_form.bilinear_hebbian import half_step, hebbian_memory
from models.closed_form.gated_jl import gated_jl_memory, johnson_lindenstrauss, smallest_decoder
from models.closed_form.linear_memory import outer_product_memory, pseudo_inverse_memory
from models.closed_form.random_features import random_feature_memory
from models.closed_form.ridge import penalty, ridge_solution
from models.closed_form.value_directions import decision_targets, margin_optimal_directions


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def facts(num_facts=11, dim=3, num_values=5, dim_codes=4, seed=0):
    generator = seeded(seed)
    keys, codes = (
        torch.randn(num_facts, dim, generator=generator),
        torch.randn(num_values, dim_codes, generator=generator),
    )
    return keys, torch.randint(num_values, (num_facts,), generator=generator), codes


def solved(features, targets, ridge):
    """The minimum of |features w - targets|^2 + ridge (mean square column) |w|^2, as plain least squares."""
    added = ridge * np.mean((features**2).sum(axis=0))
    system = np.vstack([features, math.sqrt(added) * np.eye(features.shape[1])])
    return np.linalg.lstsq(system, np.vstack([targets, np.zeros((features.shape[1], targets.shape[1]))]))[0]


def targets_of(codes):
    """Of the centred one-hot of each value, through the pseudo-inverse of the centred codes."""
    return np.linalg.pinv(codes.double().numpy() - codes.double().numpy().mean(axis=0)).T


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5)])
@pytest.mark.parametrize("ridge", [0.01, 2.0])
def test_ridge_is_in_units_of_the_mean_square_column(shape, ridge):
    rng = np.random.default_rng(1)
    features, targets = rng.standard_normal(shape), rng.standard_normal((shape[0], 3))
    found = ridge_solution(torch.from_numpy(features), torch.from_numpy(targets), ridge)
    assert found.numpy() == pytest.approx(solved(features, targets, ridge), rel=1e-9, abs=1e-12)
    assert penalty(torch.from_numpy(features), ridge) == pytest.approx(ridge * (features**2).sum() / shape[1])


def test_ridge_of_what_has_too_low_a_rank_is_refused_or_the_shortest():
    features = torch.ones(3, 3).double()
    with pytest.raises(torch.linalg.LinAlgError):
        ridge_solution(features, torch.ones(3, 1).double(), 1e-30)
    assert ridge_solution(features, torch.ones(3, 1).double(), 0.0).tolist() == [[0.0]] * 3  # no penalty, no solve


@pytest.mark.parametrize("shape", [(4, 9), (9, 4)])
def test_a_ridge_that_vanishes_leaves_the_shortest_exact_fit(shape):
    """On the smaller side alone: the Gram matrix of the larger one is singular without it."""
    rng = np.random.default_rng(2)
    features, targets = rng.standard_normal(shape), rng.standard_normal((shape[0], 2))
    found = ridge_solution(torch.from_numpy(features), torch.from_numpy(targets), 1e-20)
    assert found.numpy() == pytest.approx(np.linalg.pinv(features) @ targets, rel=1e-9, abs=1e-9)


def test_linear_memories_are_sums_and_least_squares():
    keys, value_ids, codes = facts()
    outer = outer_product_memory(keys, value_ids, codes)
    expected = sum(np.outer(key, codes[value]) for key, value in zip(keys.numpy(), value_ids.tolist(), strict=True))
    assert outer["w_DE"].numpy() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    for ridge in (1e-9, 0.5):
        inverse = pseudo_inverse_memory(keys, value_ids, codes, ridge=ridge)["w_DE"]
        expected = solved(keys.double().numpy(), targets_of(codes)[value_ids], ridge)
        assert inverse.numpy() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_random_features_are_drawn_first_and_solved_for_after():
    keys, value_ids, codes = facts()
    found = random_feature_memory(keys, value_ids, codes, units=6, ridge=0.03, generator=seeded(4))
    w_in = torch.randn(3, 6, generator=seeded(4))
    assert torch.equal(found["w_in_DF"], w_in)
    hidden = np.maximum(keys.double().numpy() @ w_in.double().numpy(), 0)
    expected = solved(hidden, targets_of(codes)[value_ids], 0.03)
    assert found["w_out_FE"].numpy() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_directions_in_which_codes_hardly_differ_are_left_out():
    """Of the centred codes +-1 along one axis and +-s along another: s counts from a millionth on."""
    for s, counts in ((0.9e-6, False), (1.1e-6, True)):
        codes = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, s], [0.0, -s]], dtype=torch.float64)
        found = decision_targets(codes)
        across = 0.5 / s if counts else 0.0
        assert found.numpy() == pytest.approx(np.array([[0.5, 0], [-0.5, 0], [0, across], [0, -across]]), rel=1e-6)


def test_decision_targets_of_three_corners_that_are_not_around_the_origin():
    codes = torch.tensor([[4.0, 1.0], [5.0, 1.0], [4.0, 3.0]])
    found = decision_targets(codes).numpy()
    # logits less their mean over the values are the one-hot less its mean: three affinely independent codes allow it.
    logits = found @ codes.double().numpy().T
    assert logits - logits.mean(axis=1, keepdims=True) == pytest.approx(np.eye(3) - 1 / 3, abs=1e-9)


def test_margins_of_a_regular_triangle_and_of_corners_that_none_can_tell():
    """Each corner wins by cos 30 degrees along itself; the middle is no direction's largest."""
    angles = 2 * math.pi * torch.arange(3, dtype=torch.float64) / 3
    corners = torch.stack([angles.cos(), angles.sin()], dim=1)
    directions, margins = margin_optimal_directions(torch.cat([3 * corners, torch.zeros(1, 2).double() + 0.1]))
    assert directions[:3].numpy() == pytest.approx(corners.numpy(), abs=0.05)
    assert (margins[:3] > 0.8).all() and float(margins[3]) == 0.0
    assert directions[3].tolist() == pytest.approx([0.5**0.5] * 2)
    directions, margins = margin_optimal_directions(3 * corners)
    assert directions.numpy() == pytest.approx(corners.numpy(), abs=1e-6)
    assert margins.tolist() == pytest.approx([3**0.5 / 2] * 3)
    twins = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    directions, margins = margin_optimal_directions(twins, torch.tensor([2, 1]))
    assert margins.tolist() == pytest.approx([1.0, 0.0])
    assert directions.numpy() == pytest.approx(np.array([[-2 / 13**0.5, 3 / 13**0.5], [1.0, 0.0]]), abs=1e-6)


def test_margins_of_many_codes_in_few_dimensions_are_those_of_an_exhaustive_search():
    """60 codes on a circle of two radii: only the outer ones can win, each by half the angle to its neighbours."""
    angles = 2 * math.pi * torch.arange(60, dtype=torch.float64) / 60
    radii = torch.where(torch.arange(60) % 2 == 0, 1.0, 0.5)
    codes = torch.stack([angles.cos(), angles.sin()], dim=1) * radii[:, None]
    _, margins = margin_optimal_directions(codes)
    turns = torch.linspace(0, 2 * math.pi, 7201, dtype=torch.float64)[:-1]
    tried = torch.stack([turns.cos(), turns.sin()], dim=1)
    for value in (0, 1, 14, 31, 58):
        differences = torch.cat([codes[value] - codes[:value], codes[value] - codes[value + 1 :]])
        best = float((tried @ functional.normalize(differences, dim=1).T).amin(1).max())
        assert float(margins[value]) == pytest.approx(max(best, 0.0), abs=1e-3)


@pytest.mark.parametrize(("most", "stored"), [(9, [0, 1, 2, 3, 4]), (2, [0, 1, 2, 3, 4]), (9, [1, 3]), (1, [0, 2, 4])])
def test_the_decoder_is_the_best_of_eight_draws_at_the_first_size_that_keeps_a_margin(most, stored):
    codes, stored_W = facts(num_values=5, dim_codes=4)[2].double(), torch.tensor(stored)
    draw, largest = seeded(3), min(most, 4)
    for size in range(1, largest + 1):
        draws = [torch.randn(size, 4, generator=draw).double() / math.sqrt(size) for _ in range(8)]
        margins = [float(margin_optimal_directions(codes @ drawn.T, stored_W)[1].min()) for drawn in draws]
        if max(margins) > 0.05:
            break
    best = draws[margins.index(max(margins))]
    decoder, directions = smallest_decoder(codes, stored_W, most=most, generator=seeded(3))
    assert torch.equal(decoder, best)
    torch.testing.assert_close(directions, margin_optimal_directions(codes @ best.T, stored_W)[0])
    assert torch.equal(
        johnson_lindenstrauss(3, 5, generator=seeded(1)), torch.randn(3, 5, generator=seeded(1)).double() / 3**0.5
    )


@pytest.mark.parametrize(("seed", "size"), [(42, 2), (46, 3)])
def test_a_margin_of_a_twentieth_is_enough_and_less_is_not(seed, size):
    """The best of eight draws at two dimensions has a margin of .068 for these codes, and of .042 for those."""
    codes = facts(num_values=6, seed=seed)[2].double()
    assert len(smallest_decoder(codes, torch.arange(6), most=9, generator=seeded(3))[0]) == size


def test_the_gated_encoder_solves_each_coordinate_with_its_own_units():
    keys, value_ids, codes = facts(num_facts=9, dim=3, num_values=6, dim_codes=4)
    value_ids = value_ids.clamp(min=1)  # one value is never stored and needs no margin
    found = gated_jl_memory(keys, value_ids, codes, units=7, ridge=0.01, generator=seeded(5))
    draw, stored = seeded(5), sorted(set(value_ids.tolist()))
    decoder, directions = smallest_decoder(codes.double(), torch.tensor(stored), most=7, generator=draw)
    gates = math.sqrt(3) * torch.randn(3, 7, generator=draw)
    assert torch.allclose(found["w_gate_DF"], gates)
    assert torch.allclose(found["w_out_FE"], decoder.float()[torch.arange(7) % len(decoder)])
    silu = functional.silu(keys.double() @ gates.double()).numpy()
    wanted = directions.numpy()[[stored.index(value) for value in value_ids.tolist()]]
    for coordinate in range(len(decoder)):
        units = range(coordinate, 7, len(decoder))
        features = np.hstack([silu[:, [unit]] * keys.double().numpy() for unit in units])
        solution = solved(features, wanted[:, [coordinate]], 0.01)
        expected = solution.reshape(len(units), 3).T
        assert found["w_in_DF"][:, list(units)].numpy() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def conjugate_gradients(matrix, right, x, iterations):
    residual = right - matrix @ x
    direction, square = residual, residual @ residual
    for _ in range(iterations):
        if math.sqrt(square) <= 1e-10 * np.linalg.norm(right):
            break
        along = matrix @ direction
        size = square / (direction @ along)
        x, residual = x + size * direction, residual - size * along
        direction, square = residual + (residual @ residual) / square * direction, residual @ residual
    return x


@pytest.mark.parametrize("num_facts", [8, 300])  # solved within fifty iterations, and cut off there
def test_a_half_step_is_fifty_iterations_from_where_the_projection_stands(num_facts):
    generator = seeded(num_facts)
    dim, units, outputs = (4, 3, 5) if num_facts == 8 else (12, 14, 10)
    keys = torch.randn(num_facts, dim, generator=generator).double()
    held, moved = torch.randn(2, dim, units, generator=generator).double()
    w_out, targets = (
        torch.randn(units, outputs, generator=generator).double(),
        torch.randn(num_facts, outputs, generator=generator).double(),
    )
    design = torch.einsum("nd,nf,fe->nedf", keys, keys @ held, w_out).reshape(num_facts * outputs, -1).numpy()
    expected = conjugate_gradients(design.T @ design, design.T @ targets.flatten().numpy(), moved.flatten().numpy(), 50)
    found = half_step(keys, held, moved, w_out, targets)
    assert found.numpy() == pytest.approx(expected.reshape(dim, units), rel=0, abs=1e-9)  # one more moves by 3e-8


def test_the_hebbian_store_moves_its_second_projection_first():
    keys, value_ids, codes = facts(num_facts=40)
    found = hebbian_memory(keys, value_ids, codes, units=5, read_out="data_dependent", ridge=0.02, generator=seeded(6))
    draw, targets = seeded(6), codes.double()[value_ids]
    gate, into = (torch.randn(3, 5, generator=draw).double() for _ in range(2))

    def read_out():
        phi = (keys.double() @ gate) * (keys.double() @ into)
        return torch.from_numpy(solved(phi.numpy(), targets.numpy(), 0.02))

    whitened = hebbian_memory(keys, value_ids, codes, units=5, read_out="whitened", ridge=0.02, generator=seeded(6))
    w_out = read_out()
    assert whitened["w_out_FE"].numpy() == pytest.approx(w_out.numpy(), rel=1e-4, abs=1e-5)
    into = half_step(keys.double(), gate, into, w_out, targets)
    gate = half_step(keys.double(), into, gate, w_out, targets)
    assert found["w_in_DF"].numpy() == pytest.approx(into.numpy(), rel=1e-4, abs=1e-5)
    assert found["w_gate_DF"].numpy() == pytest.approx(gate.numpy(), rel=1e-4, abs=1e-5)
    assert found["w_out_FE"].numpy() == pytest.approx(read_out().numpy(), rel=1e-4, abs=1e-5)
