"""Dichotomies against Cover's exact count, the bounds against their inversions, and the page on made-up points."""

import itertools
import math

import numpy as np
import pytest
import torch

from retromem.panels.point_spread import spread_at
from retromem.panels.points import Point
from retromem.panels.theory.perceptron_limits import (
    CRITERIA,
    LABELS,
    MEMORISATION,
    PER_BIT,
    VC_LOWER,
    VC_UPPER,
    WEIGHT_BITS,
    ClassicalBoundsConfig,
)
from retromem.panels.theory.perceptron_limits_points import crossing, is_separable, memorised_by, two_valued_table
from retromem.report.panel_figures import draw_panel
from retromem.report.panel_page import Panel
from retromem.theory.classical_bounds import cover_dichotomies, deep_memorisation, separability


@pytest.mark.parametrize(("num_points", "dim"), [(4, 1), (5, 2), (6, 3)])
def test_the_dichotomies_realised_are_as_many_as_cover_counts(num_points: int, dim: int) -> None:
    points_ND = np.random.default_rng(dim).standard_normal((num_points, dim))
    labellings = itertools.product((-1.0, 1.0), repeat=num_points)
    assert sum(is_separable(points_ND, np.array(each)) for each in labellings) == cover_dichotomies(num_points, dim)


def test_where_the_share_falls_through_a_half() -> None:
    assert crossing((1.0, 2.0, 3.0), [1.0, 0.75, 0.25]) == 2.5
    assert crossing((1.0, 2.0, 3.0), [1.0, 0.5, 0.25]) == 2.0
    assert crossing((1.0, 2.0), [1.0, 0.9]) is None
    # It may rise again: what counts is a fall between neighbours, and the first.
    assert crossing((1.0, 2.0, 4.0, 5.0), [0.7, 0.2, 0.8, 0.3]) == 1.4
    assert crossing((1.0, 2.0, 4.0, 5.0), [0.4, 0.6, 0.45, 0.9]) == pytest.approx(2 + 2 * 0.1 / 0.15)
    assert crossing((1.0, 2.0, 3.0), [0.7, 0.6, 0.55]) is None and crossing((1.0, 2.0), [0.4, 0.3]) is None


def test_memorisation_with_so_many_parameters_is_the_inverse_of_what_points_need() -> None:
    found = memorised_by(1000)
    num_points = round(found[LABELS] * 1000)
    deep = deep_memorisation(num_points, 2)
    assert deep.num_params == pytest.approx(1000, rel=1e-3)
    assert math.sqrt(num_points * math.log2(num_points)) == pytest.approx(1000, rel=1e-3)
    assert found[LABELS] / found[WEIGHT_BITS] == pytest.approx(1 / math.log2(num_points), rel=1e-3)


def test_labels_are_the_sign_of_one_output() -> None:
    table = two_valued_table(200, 5, seed=0)
    assert table.codes_VE.tolist() == [[1.0], [-1.0]]
    assert 70 < int(table.value_ids_N.sum()) < 130
    torch.testing.assert_close(table.keys_ND.norm(dim=1), torch.ones(200))


TINY = ClassicalBoundsConfig(
    inputs=(2, 4), loads=(1.0, 2.0, 5.0), num_dichotomies=40, dims=(3,), width=8, resolution=0.3, steps=500, seeds=(0,)
)


@pytest.mark.slow
def test_perceptrons_and_ffns_are_measured_beside_their_bounds() -> None:
    points = TINY.measure(0, lambda knowledge: knowledge)
    for n in TINY.inputs:
        # Up to n points every dichotomy is realised; at 2 n half of them, give or take four standard errors.
        assert spread_at(points, "share_realised", f"n = {n}, linear program", 1.0).median == 1
        assert abs(spread_at(points, "share_realised", f"n = {n}, linear program", 2.0).median - 0.5) < 0.32
        assert spread_at(points, "share_realised", f"n = {n}, Cover", 5.0).median == separability(5 * n, n)
    # 3 x 8 weights and 8 of the read-out; in int8 nine columns with a scale of 16 bits.
    int8 = f"ReLU, d = 3, {CRITERIA[2]}"
    assert spread_at(points, WEIGHT_BITS, int8).median == pytest.approx(8 + 9 * 16 / 32)
    labels, per_bit = spread_at(points, LABELS, int8).median, spread_at(points, PER_BIT, int8).median
    assert labels > 0 and per_bit == pytest.approx(labels / 12.5)
    assert spread_at(points, LABELS, f"{VC_LOWER}, d = 3").median == pytest.approx(2 * math.log2(32 / 2))
    page = TINY.page(points)
    assert draw_panel(Panel(name="p", page=page, points=points)).alt.startswith("Classical bounds")


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ((1.0, 0.5, 0.0), "2.00 (n = 2) points a weight; Cover: 2. Over all loads the share realised lies within 0.0"),
        (
            (1.0, 0.9, 0.6),
            "beyond the loads tried (n = 2) points a weight; Cover: 2. Over all loads the share realised ",
        ),
    ],
)
def test_the_finding_compares_with_cover(shares: tuple[float, float, float], said: str) -> None:
    config = ClassicalBoundsConfig(inputs=(2,), loads=(1.0, 2.0, 5.0), num_dichotomies=400, dims=(3,))
    points = []
    for load, share, formula in zip(config.loads, shares, (1.0, 0.5, 0.0), strict=True):
        points += [
            Point(quantity="share_realised", series="n = 2, linear program", x=load, y=share, seed=0),
            Point(quantity="share_realised", series="n = 2, Cover", x=load, y=formula),
        ]
    half = crossing(config.loads, list(shares))
    if half is not None:
        points.append(Point(quantity=LABELS, series="perceptron, n = 2: half realised", y=half, seed=0))
    for criterion in CRITERIA:
        for quantity, y in ((LABELS, 1.5), (WEIGHT_BITS, 32.0), (PER_BIT, 0.05)):
            points.append(Point(quantity=quantity, series=f"ReLU, d = 3, {criterion}", y=y, seed=0))
    points.append(Point(quantity=LABELS, series=f"{VC_UPPER}, d = 3", y=16.0))
    for quantity, y in ((LABELS, 30.0), (WEIGHT_BITS, 500.0), (PER_BIT, 0.06)):
        points.append(Point(quantity=quantity, series=f"{MEMORISATION}, d = 3", y=y))
    finding = config.page(points).finding
    assert said in finding
    assert "1.50 at d = 3 (1.50 if 99 % right will do), beside 2 of a perceptron and 16.0 of the VC bound" in finding
    assert "30.0 are possible, in weights of 500 bits: 0.0600 labels a bit." in finding
    assert "labels a stored bit: 0.0500 in float32 and 0.0500 in int8." in finding
