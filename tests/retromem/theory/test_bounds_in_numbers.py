"""Formulas of the theory in numbers: exact sums, mpmath's high precision, and values worked out by hand."""

import itertools
import math
from dataclasses import asdict
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from retromem.theory.classical_bounds import (
    Memorisation,
    cover_dichotomies,
    deep_memorisation,
    separability,
    vc_lower,
    vc_upper,
)
from retromem.theory.limit_cubic import critical_documents
from retromem.theory.memory_formulas import (
    GuideLine,
    linear_memory,
    relu_memory,
    relu_memory_of_32_classes,
)
from retromem.theory.moment_curve import curve_documents, curve_queries, num_wrong_sets, smallest_margin
from retromem.theory.pattern_bounds import (
    affine_regions,
    central_regions,
    log2_all_patterns,
    log2_hanin_rolnick,
    log2_layerwise_upper,
    log2_montufar_lower,
)
from retromem.theory.physical_capacity import dense_ffn_params, facts_of_bits, physical_bits
from retromem.theory.superposition_bounds import (
    expected_max_coherence,
    johnson_lindenstrauss_dim,
    log2_cap,
    log2_greedy_code,
    log2_packing_upper,
    welch_bound,
)


def exact_log2_cap(dim: int, cosine: float) -> float:
    """log2 of the chance of |cosine| > c, by mpmath's integral of the density (1 - t^2)^((d - 3) / 2)."""
    with mpmath.workdps(40):
        a, c = mpmath.mpf(dim - 1) / 2, mpmath.mpf(cosine)
        chance = mpmath.betainc(a, mpmath.mpf(1) / 2, 0, 1 - c**2, regularized=True)
        return float(mpmath.log(chance, 2))


@pytest.mark.parametrize(
    ("dim", "cosine"), [(2, 0.3), (3, 0.62), (7, 0.05), (40, 0.5), (384, 0.3), (2300, 0.7), (9000, 0.45), (5000, 0.95)]
)
def test_caps_and_the_codes_that_follow_from_them(dim: int, cosine: float) -> None:
    exact = exact_log2_cap(dim, cosine)
    assert log2_cap(dim, cosine) == pytest.approx(exact, rel=1e-9)
    assert log2_greedy_code(dim, cosine) == pytest.approx(-exact, rel=1e-9)
    half = exact_log2_cap(dim, math.sqrt((1 + cosine) / 2))
    assert log2_packing_upper(dim, cosine) == pytest.approx(-half, rel=1e-9)


def test_bounds_on_coherence_by_hand() -> None:
    assert welch_bound(9, 4) == pytest.approx(math.sqrt(5 / (4 * 8)))
    assert welch_bound(7, 6) == pytest.approx(1 / 6)  # the simplex
    assert (welch_bound(6, 6), welch_bound(3, 6)) == (0.0, 0.0)
    assert johnson_lindenstrauss_dim(1000, 0.5) == pytest.approx(4 * math.log(1000) * 12)
    assert johnson_lindenstrauss_dim(50, 0.2) == pytest.approx(4 * math.log(50) / (0.02 - 0.008 / 3))


def test_expected_coherence_of_two_and_of_three_vectors_is_an_integral() -> None:
    # Two on a plane: the mean |cosine| of a uniform angle is 2 / pi; in three dimensions it is uniform: 1/2.
    assert expected_max_coherence(2, 2) == pytest.approx(2 / math.pi, rel=1e-6)
    assert expected_max_coherence(2, 3) == pytest.approx(0.5, rel=1e-6)
    # The largest of three and of six that are uniform.
    assert expected_max_coherence(3, 3) == pytest.approx(3 / 4, rel=1e-6)
    assert expected_max_coherence(4, 3) == pytest.approx(6 / 7, rel=1e-6)


# ---- patterns ------------------------------------------------------------------------------------------------------


def test_regions_are_sums_of_binomials() -> None:
    for num, dim in itertools.product(range(12), range(9)):
        assert affine_regions(num, dim) == sum(math.comb(num, j) for j in range(dim + 1))
        if num and dim:
            assert central_regions(num, dim) == 2 * sum(math.comb(num - 1, j) for j in range(dim))
            assert cover_dichotomies(num, dim) == central_regions(num, dim)
            assert separability(num, dim) == float(Fraction(central_regions(num, dim), 2**num))
    assert affine_regions(300, 150) == sum(math.comb(300, j) for j in range(151))  # ninety digits, each exact


def test_bounds_of_deep_networks_by_hand() -> None:
    assert log2_all_patterns([5, 3, 9]) == 17
    # 7 units on 4 dimensions, then 3 units behind 4, then 9 units behind 3.
    layers = [sum(math.comb(7, j) for j in range(5)), 8, sum(math.comb(9, j) for j in range(4))]
    assert log2_layerwise_upper([7, 3, 9], 4) == pytest.approx(math.log2(math.prod(layers)))
    # Folded 3 times (7 / 2) and 2 times (5 / 2) in each of two dimensions, then 6 units cut the plane.
    assert log2_montufar_lower([7, 5, 6], 2) == pytest.approx(math.log2(3**2 * 2**2 * (1 + 6 + 15)))
    assert log2_montufar_lower([3, 4], 3) == pytest.approx(math.log2(1 + 4 + 6 + 4))
    assert log2_hanin_rolnick(30, 3) == pytest.approx(math.log2(30**3 / 6))
    assert log2_hanin_rolnick(30, 3, density=0.5) == pytest.approx(math.log2(15**3 / 6))
    assert log2_hanin_rolnick(4, 4) == pytest.approx(math.log2(4**4 / 24))
    assert log2_hanin_rolnick(3, 4) == 3.0


# ---- parameters and facts ------------------------------------------------------------------------------------------


def test_orders_of_magnitude_by_hand() -> None:
    assert vc_lower(96, 3) == 96 * 3 * 5
    assert vc_upper(256, 3) == 256 * 3 * 8
    assert asdict(deep_memorisation(4096, 2**15, 8.0)) == {"num_params": 512.0, "bits_per_param": 8 * 15.0}
    assert deep_memorisation(2**16, 32, 4.0) == Memorisation(num_params=2**14, bits_per_param=64.0)
    shallowest = deep_memorisation(2**16, 2**20)  # depth sqrt(N / log2 N) = 64
    assert shallowest == Memorisation(num_params=1024.0, bits_per_param=64 * 20.0)
    assert dense_ffn_params(10, 0) == 0
    assert physical_bits(120, 4.25) == 510.0
    assert facts_of_bits(30.0, 8) == 10.0


def test_guide_lines_are_whole() -> None:
    # N = e^3 and e^5: weights that put just so many facts on the line.
    for found, num_weights, params, per_nat in (
        (linear_memory(11), 121, 121, 1.3),
        (relu_memory(11, 9), 99, 198, 0.35),
    ):
        num = float(mpmath.findroot(lambda n, w=num_weights, k=per_nat: k * n * mpmath.log(n) - w, 50))
        assert (found.num_params, found.num_facts) == (params, pytest.approx(num, rel=1e-9))
        assert found.bits_per_fact == pytest.approx(math.log2(num))
        assert found.bits_per_param == pytest.approx(num * math.log2(num) / params)
    assert linear_memory(1).num_facts == pytest.approx(float(mpmath.exp(mpmath.lambertw(1 / 1.3))))
    assert relu_memory_of_32_classes(12, 9) == GuideLine(num_facts=90.0, num_params=216, bits_per_fact=5.0)
    assert critical_documents(10) == pytest.approx(-10.5322 + 40.309 + 5.2 + 3.7)


# ---- documents on a curve ------------------------------------------------------------------------------------------


def test_points_of_the_curve_are_powers_of_chebyshevs() -> None:
    parameters_N, documents_ND = curve_documents(5, 2)
    wanted_N = sorted(math.cos(math.pi * (2 * place + 1) / 10) for place in range(5))
    np.testing.assert_allclose(parameters_N, wanted_N, atol=1e-15)
    np.testing.assert_allclose(documents_ND, [[t, t**2, t**3, t**4] for t in wanted_N], atol=1e-15)
    # -(t - 1/2)^2 (t + 1)^2 = -t^4 - t^3 + 3/4 t^2 + 1/2 t - 1/4, without the last.
    (query_D,) = curve_queries(np.array([0.5, 7.0, -1.0]), np.array([[0, 2]]))
    np.testing.assert_allclose(query_D, [0.5, 0.75, -1.0, -1.0], atol=1e-15)


@pytest.mark.parametrize("block", [1, 4, 1000])
def test_sets_that_are_not_found_are_counted_one_by_one(block: int) -> None:
    parameters_N, documents_ND = curve_documents(14, 2)
    low_ND = documents_ND.astype(np.float16)
    wrong, least = 0, math.inf
    longest = max(np.linalg.norm(document_D) for document_D in documents_ND)
    pairs = list(itertools.combinations(range(14), 2))
    for pair in pairs:
        (query_D,) = curve_queries(parameters_N, np.array([pair]))
        others = [row for row in range(14) if row not in pair]
        scores_N = query_D.astype(np.float16) @ low_ND.T
        wrong += not min(scores_N[list(pair)]) > max(scores_N[others])
        exact_N = documents_ND @ query_D / np.linalg.norm(query_D) / longest
        least = min(least, min(exact_N[list(pair)]) - max(exact_N[others]))
    assert 0 < wrong < len(pairs) == 91
    assert num_wrong_sets(14, 2, dtype=np.float16, block=block) == (wrong, 91)
    assert smallest_margin(14, 2, block=block) == pytest.approx(least, rel=1e-6)
