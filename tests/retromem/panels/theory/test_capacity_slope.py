"""Slopes of exact power laws, their interval against a second way to compute it, and a tiny measurement."""

import statistics

import numpy as np
import pytest
import torch
from scipy.stats import t

from retromem.panels.points import Point
from retromem.panels.theory.capacity_slope import CapacitySlopeConfig, ffn_of, slope_of, units_of

CONFIG = CapacitySlopeConfig(dim=16, widths=(8, 16, 32, 64), seeds=(0, 1))


def law(kind, exponent, noise=0.0, units=(8.0, 16.0, 32.0, 64.0)):
    rng = np.random.default_rng(0)
    points = []
    for seed in (0, 1):
        for x in units:
            y = 3 * x**exponent * float(np.exp(noise * rng.standard_normal()))
            points.append(Point(quantity="facts", series=kind, x=x, y=y, seed=seed))
            points.append(Point(quantity="bits_per_param", series=kind, x=x, y=y / x, seed=seed))
    return points


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.7])
def test_a_power_law_gives_its_exponent_and_no_interval(exponent):
    slope = slope_of(law("ReLU", exponent), "ReLU", from_units=16.0)
    assert slope is not None
    assert [slope.estimate, slope.low, slope.high] == pytest.approx([exponent] * 3, abs=1e-6)


def test_the_interval_is_that_of_least_squares():
    points = law("ReLU", 1.0, noise=0.1)
    slope = slope_of(points, "ReLU", from_units=1.0)
    own = [(p.x, p.y) for p in points if p.quantity == "facts"]
    design = np.stack([np.ones(8), np.log([x for x, _ in own])], 1)
    target = np.log([y for _, y in own])
    coefficients, residual, *_ = np.linalg.lstsq(design, target, rcond=None)
    variance = residual[0] / 6 * np.linalg.inv(design.T @ design)[1, 1]
    half = t.ppf(0.975, 6) * np.sqrt(variance)
    assert slope is not None
    assert [slope.low, slope.high] == pytest.approx([coefficients[1] - half, coefficients[1] + half])


def test_too_few_points_have_no_slope():
    assert slope_of(law("ReLU", 1.0), "ReLU", from_units=64.0) is None
    assert slope_of([], "ReLU", from_units=1.0) is None


def test_the_page_says_where_the_interval_lies():
    gated = (5.0, 10.0, 21.0, 42.0)
    points = [*law("ReLU", 1.0, 0.01), *law("SwiGLU", 1.3, 0.01, gated), *law("bilinear", 0.6, 0.01, gated)]
    page = CONFIG.page(points)
    assert "holds 1 for ReLU; lies below 1 for bilinear; lies above 1 for SwiGLU" in page.finding
    assert page.answer == (
        "The facts that an FFN holds grow in proportion to hidden units for ReLU, more slowly than hidden units for "
        "bilinear, faster than hidden units for SwiGLU."
    )
    ((_, lines),) = page.tables[0].blocks
    assert [line[0].text for line in lines] == ["ReLU", "SwiGLU", "bilinear"]
    assert all(len(line) == len(page.tables[0].header) for line in lines)


def test_the_narrowest_layers_are_shown_and_not_fitted():
    # A kind that stores nothing to speak of at width 8 keeps its slope from 16 on.
    points = [Point(**{**vars(p), "y": 1.0}) if (p.quantity, p.x) == ("facts", 8.0) else p for p in law("ReLU", 1.0)]
    assert "ReLU 1.00 (1.00)" in CONFIG.page(points).finding
    assert "ReLU, 8 to 16 units" in CONFIG.page(points).finding


def test_a_tiny_measurement_has_its_kinds_and_lines_of_slope_one():
    tiny = CapacitySlopeConfig(
        dim=4,
        num_values=4,
        widths=(4, 8),
        kinds=("ReLU", "4 experts", "product keys"),
        resolution=0.3,
        steps=40,
        seeds=(0, 1),
    )
    points = tiny.measure(0, lambda texts: texts)
    units = {(p.series, p.x) for p in points if p.quantity == "bits_per_param"}
    # 32 and 64 parameters: a unit of a dense kind has 8; 4 experts of one unit have 48 beside the 16
    # of their router. No product keys are so small.
    assert units == {("ReLU", 4.0), ("ReLU", 8.0), ("4 experts", 4.0)}
    lines = {(p.series, p.x): p.y for p in points if p.seed is None}
    for line in ("slope 1 from ReLU at d", "published 2.08 bits per parameter"):
        assert lines[line, 8.0] == pytest.approx(2 * lines[line, 4.0])
    # 2 bits a fact, (4 + 4) parameters a unit.
    assert lines["published 2.08 bits per parameter", 4.0] * 2 / (4 * 8) == pytest.approx(5 / 2.4)
    assert statistics.fmean(p.y for p in points if p.quantity == "facts") > 1
    assert tiny.page(points).finding == "Not measured: points enough for a slope."


def test_the_line_of_slope_one_goes_through_the_first_layer_as_wide_as_its_keys():
    tiny = CapacitySlopeConfig(
        dim=4, num_values=4, widths=(6, 9), kinds=("ReLU",), resolution=0.3, steps=40, seeds=(0, 1)
    )
    found = {(p.series, p.x): p.y for p in tiny.measure(0, lambda texts: texts) if p.quantity == "facts"}
    assert found["slope 1 from ReLU at d", 6.0] == found["ReLU", 6.0]
    assert found["slope 1 from ReLU at d", 9.0] == pytest.approx(1.5 * found["ReLU", 6.0])


@pytest.mark.parametrize("kind", CONFIG.kinds)
def test_every_kind_has_the_parameters_of_the_dense_one_at_most(kind):
    # 4 x 16 dense units are 2,048 parameters; one unit, or one slot, more would be too many.
    ffn = ffn_of(kind, 64, 16)
    assert ffn is not None
    params, units = ffn.num_params(16, 16), units_of(ffn, 16)
    assert params <= 2048 and ffn.resized(ffn.size + 1).num_params(16, 16) > 2048
    built = dict(ffn.build(16, 16, generator=torch.Generator().manual_seed(0)).named_parameters())
    assert sum(weights.numel() for weights in built.values()) == params
    (out,) = [weights for name, weights in built.items() if name in ("w_out_FE", "w_out_SFE", "values_SE")]
    assert out.numel() == 16 * units


def test_where_nothing_was_stored_there_is_no_slope():
    points = [Point(**{**vars(p), "y": 0.0}) if p.x == 16.0 else p for p in law("ReLU", 1.0)]
    page = CONFIG.page(points)
    assert (
        "ReLU 1.00 (1.00)" in page.finding
        and "Single steps between widths: 1.00 (ReLU, 32 to 64 units)" in page.finding
    )
    ((_, [line]),) = page.tables[0].blocks
    assert [cell.text for cell in line] == ["ReLU", "1.00", "", "", "1.00", "3.00"]
