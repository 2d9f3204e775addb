import itertools
import math

import numpy as np
import pytest
from numpy import ndarray
from scipy.optimize import brentq, linprog
from scipy.special import log_ndtr

from retromem.theory.classical_bounds import (
    GARDNER_PATTERNS_PER_WEIGHT,
    KRAUTH_MEZARD_PATTERNS_PER_WEIGHT,
    cover_dichotomies,
    deep_memorisation,
    separability,
    vc_lower,
    vc_upper,
)


def is_separable(points_ND: ndarray, labels_N: ndarray) -> bool:
    """Whether some w has label (w x) >= 1 everywhere."""
    rows = -labels_N[:, None] * points_ND
    unbounded = [(None, None)] * points_ND.shape[1]
    return bool(linprog(np.zeros(points_ND.shape[1]), A_ub=rows, b_ub=-np.ones(len(rows)), bounds=unbounded).success)


@pytest.mark.parametrize(("num_points", "dim"), [(1, 1), (4, 1), (3, 2), (5, 2), (3, 3), (5, 3), (6, 3), (6, 4)])
def test_cover_counts_the_dichotomies_that_a_perceptron_can_learn(num_points: int, dim: int) -> None:
    points_ND = np.random.default_rng(dim).standard_normal((num_points, dim))
    labellings = itertools.product((-1.0, 1.0), repeat=num_points)
    learnt = sum(is_separable(points_ND, np.array(labels)) for labels in labellings)
    assert cover_dichotomies(num_points, dim) == learnt
    assert separability(num_points, dim) == learnt / 2**num_points


def test_random_labels_are_lost_at_two_a_weight() -> None:
    for dim in (1, 10, 1000):
        assert cover_dichotomies(dim, dim) == 2**dim
        assert cover_dichotomies(dim + 1, dim) == 2 ** (dim + 1) - 2
        assert separability(2 * dim, dim) == 0.5
    at = GARDNER_PATTERNS_PER_WEIGHT * 1000
    assert separability(round(0.9 * at), 1000) > 0.999
    assert separability(round(1.1 * at), 1000) < 0.001


def replica_entropy(alpha: float) -> float:
    """Nats a weight that are left for +-1 weights after alpha random labels a weight: replica symmetric solution.

    The weights' overlap q and its conjugate are iterated to the saddle point of
    -c (1 - q) / 2 + E ln 2 cosh(sqrt(c) z) + alpha E ln H(sqrt(q / (1 - q)) z), z a standard normal.
    """
    z, weight = np.polynomial.hermite_e.hermegauss(120)
    weight = weight / weight.sum()
    q = 0.5
    for _ in range(400):
        u = math.sqrt(q / (1 - q)) * z
        hazard = np.exp(-(u**2) / 2 - log_ndtr(-u)) / math.sqrt(2 * math.pi)
        conjugate = alpha / (1 - q) * float(weight @ hazard**2)
        q = float(weight @ np.tanh(math.sqrt(conjugate) * z) ** 2)
    u = math.sqrt(q / (1 - q)) * z
    root = math.sqrt(conjugate) * z
    return float(weight @ np.logaddexp(root, -root)) - conjugate * (1 - q) / 2 + alpha * float(weight @ log_ndtr(-u))


def test_entropy_of_binary_weights_is_used_up_where_krauth_and_mezard_say() -> None:
    assert replica_entropy(1e-6) == pytest.approx(math.log(2), abs=1e-5)
    zero = brentq(replica_entropy, 0.6, 0.95, xtol=1e-4)
    assert zero == pytest.approx(KRAUTH_MEZARD_PATTERNS_PER_WEIGHT, abs=1e-3)


def test_vc_orders_enclose_lines_cut_into_pieces() -> None:
    """On a line, u units make at most u + 1 pieces, so at most u + 1 changes of sign: u + 2 points are shattered."""
    for units in (4, 30, 300):
        params, shattered = 3 * units + 1, units + 2
        assert shattered < vc_upper(params, 2)
        assert vc_lower(params, 2) == vc_upper(params, 2) - 2 * params  # log2 (W / 2) is one less
    # A perceptron's VC dimension is its number of weights exactly.
    assert cover_dichotomies(20, 20) == 2**20 > cover_dichotomies(21, 20) / 2 < 2**20
    assert 20 <= vc_upper(20, 1) == vc_lower(20, 1)


def recalled_from_packed(values: list[int], num_values: int, per_weight: int) -> tuple[list[int], int, int]:
    """Facts packed into long weights and read out of their digits: the recalled values, weights, bits a weight."""
    bits = math.ceil(math.log2(num_values))
    weights = [
        sum(value << (bits * place) for place, value in enumerate(values[start : start + per_weight]))
        for start in range(0, len(values), per_weight)
    ]
    read = [weights[n // per_weight] >> (bits * (n % per_weight)) & (1 << bits) - 1 for n in range(len(values))]
    return read, len(weights), bits * per_weight


def test_square_root_of_the_parameters_times_their_bits_is_linear_again() -> None:
    values = np.random.default_rng(0).integers(16, size=1024).tolist()
    read, num_params, bits_per_param = recalled_from_packed(values, 16, per_weight=32)
    assert read == values
    assert (num_params, bits_per_param) == (32, 128)
    found = deep_memorisation(1024, 16)
    assert found.num_params == pytest.approx(math.sqrt(1024 * 10)) == found.bits_per_param


def test_depth_trades_parameters_for_bits_and_leaves_their_product() -> None:
    for num_layers in (1.0, 8.0, 30.0):
        found = deep_memorisation(5000, 2**20, num_layers)
        assert found.num_params == pytest.approx(5000 / num_layers)
        assert found.bits_per_param == pytest.approx(20 * num_layers)
        assert found.num_params * found.bits_per_param >= 5000 * 20 * 0.99, "what the facts are worth"
