"""Rank by intervention: what limited matrices can be, cuts and noise of their size, the page both ways."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.ffn_kinds import DenseConfig
from retromem.measure.trained_ffn import KeyTable
from retromem.panels.limits.rank_limits import ARMS, FULL_RANK, GUIDE_LINE, RankLimitsConfig
from retromem.panels.limits.rank_limits_points import (
    LimitedMatrix,
    RankLimitedFFN,
    bits_left,
    cut_ffn,
    noise_of_cut,
    rank_limits_points,
    widest,
)
from retromem.panels.point_spread import curve
from retromem.panels.points import Point

TINY = RankLimitsConfig(dim=4, num_params=64, num_values=4, ranks=(1, 2), steps=40, resolution=0.5)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def points() -> list[Point]:
    return rank_limits_points(TINY, 0)


def test_a_limited_ffn_is_relu_between_two_products() -> None:
    ffn = RankLimitedFFN(5, 9, rank_in=2, rank_out=3, generator=generator())
    w_in, w_out = (matrix.factors[0] @ matrix.factors[1] for matrix in (ffn.matrix_in, ffn.matrix_out))
    x_BD = torch.randn(7, 5, generator=generator(1))
    assert torch.allclose(ffn(x_BD), (x_BD @ w_in).relu() @ w_out, atol=1e-6)
    assert torch.linalg.matrix_rank(w_in).item() == 2 and torch.linalg.matrix_rank(w_out).item() == 3
    assert ffn.stored() == 2 * (5 + 9) + 3 * (5 + 9)


def test_free_parameters_are_the_dimension_of_the_matrices_that_can_be_made() -> None:
    # Rank of the derivative of (left, right) -> left right, at a random point.
    product = LimitedMatrix(5, 2, 6, generator=generator())
    left, right = (factor.detach().double() for factor in product.factors)
    jacobians = torch.autograd.functional.jacobian(lambda a, b: a @ b, (left, right))
    derivative = torch.cat([jacobian.reshape(30, -1) for jacobian in jacobians], dim=1)
    ffn = RankLimitedFFN(5, 6, rank_in=2, rank_out=None, generator=generator())
    assert int(torch.linalg.matrix_rank(derivative)) == ffn.free() - 6 * 5 == 2 * (5 + 6) - 4
    assert RankLimitedFFN(5, 6, rank_in=None, rank_out=None, generator=generator()).free() == 60


def test_a_product_starts_with_the_variance_of_a_matrix() -> None:
    product = LimitedMatrix(400, 50, 300, generator=generator())
    entries = (product.factors[0] @ product.factors[1]).detach()
    assert float(entries.var()) == pytest.approx(1 / (3 * 400), rel=0.05)


@pytest.mark.parametrize(("rank_in", "rank_out"), [(None, None), (2, 2), (3, None), (None, 1)])
def test_the_widest_fits_and_one_unit_more_does_not(rank_in: int | None, rank_out: int | None) -> None:
    units = widest(500, 6, rank_in=rank_in, rank_out=rank_out)
    stored = [
        RankLimitedFFN(6, units + more, rank_in=rank_in, rank_out=rank_out, generator=generator()).stored()
        for more in (0, 1)
    ]
    assert stored[0] <= 500 < stored[1]


def test_a_cut_is_eckart_and_young_and_noise_is_as_long() -> None:
    ffn = DenseConfig(kind="relu", width=12).build(8, 8, generator=generator())
    less, gone = cut_ffn(ffn, 0.5)
    squares = [np.linalg.svd(w.detach().numpy(), compute_uv=False) ** 2 for w in ffn.parameters()]
    assert gone == pytest.approx(sum(s[4:].sum() for s in squares) / sum(s.sum() for s in squares), rel=1e-4)
    assert [int(torch.linalg.matrix_rank(w, atol=1e-4)) for w in less.parameters()] == [4, 4]
    noisy = noise_of_cut(ffn, less, generator())
    for w, cut, moved in zip(ffn.state_dict().values(), less.state_dict().values(), noisy.parameters(), strict=True):
        moved = moved.detach()
        assert float((moved - w).norm()) == pytest.approx(float((cut - w).norm()), rel=1e-4)
        assert not torch.allclose(moved, cut, atol=1e-2)
    whole, nothing = cut_ffn(ffn, 1.0)
    assert nothing == pytest.approx(0.0, abs=1e-6)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ffn.parameters(), whole.parameters(), strict=True))


def test_bits_left_are_the_demand_where_all_is_right() -> None:
    class Exact(RankLimitedFFN):
        def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
            return x_BD

    ffn = Exact(8, 1, rank_in=None, rank_out=None, generator=generator())
    table = KeyTable(keys_ND=torch.eye(8), value_ids_N=torch.arange(8), codes_VE=torch.eye(8))
    assert bits_left(ffn, table) == pytest.approx(8 * 3 - np.log2(9))
    assert bits_left(ffn, replace(table, value_ids_N=(torch.arange(8) + 1) % 8)) == 0.0


@pytest.mark.slow
def test_a_tiny_measurement_has_all_that_the_page_needs(points: list[Point]) -> None:
    for series in (FULL_RANK, GUIDE_LINE, *ARMS.values()):
        assert list(curve(points, "bits_per_param", series)) == [1.0, 2.0]
    # Width 8; rank 1 in and out: 64 = 2 (4 + F), F = 28, free 62 of 64.
    assert curve(points, "bits_per_param", GUIDE_LINE)[1.0].median == pytest.approx(2.06 * 62 / 64, rel=0.01)
    uncut = {p.series: p.y for p in points if p.quantity == "accuracy_uncut"}
    assert len(uncut) == 4
    page = TINY.page(points)
    assert all(len(cells) == len(page.tables[0].header) for _, block in page.tables[0].blocks for cells in block)


def test_the_finding_follows_the_capacities(points: list[Point]) -> None:
    def page(full: float, out: tuple[float, float]) -> str:
        changed = []
        for p in points:
            if p.quantity == "bits_per_param" and p.series == FULL_RANK:
                p = replace(p, y=full)
            elif p.quantity == "bits_per_param" and p.series == ARMS["out"] and p.x is not None:
                p = replace(p, y=out[int(p.x) - 1])
            changed.append(p)
        return TINY.page(changed).finding

    gains = page(2.0, (3.5, 2.5))
    assert "out limited: 3.50 at best, at rank 1 (against no limit: more)" in gains
    loses = page(2.0, (0.5, 1.0))
    assert "out limited: 0.500 at rank 1 and 1.00 at best, at rank 2 (against no limit: less)" in loses
    assert "no clear difference" in page(2.0, (0.5, 2.2))


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="ranks must lie between 1 and dim, which is 4"):
        replace(TINY, ranks=(1, 5))
    with pytest.raises(ValueError, match="num_params must be 40 or more for rank 4"):
        replace(TINY, ranks=(4,), num_params=39)
    assert widest(40, 4, rank_in=4, rank_out=4) == 1
