"""Counts of patterns and regions against sets, sign changes and grids; the page whichever way training moves them."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from models.diagnostics.linear_regions import ReLULayer
from models.ffn_kinds import DenseConfig, GatedConfig
from retromem.measure.trained_ffn import random_table
from retromem.panels.point_spread import curve, spread_at
from retromem.panels.points import Point
from retromem.panels.theory.pattern_counts import KEYS, TWO_LAYERS, ActivationPatternsConfig
from retromem.panels.theory.pattern_counts_points import (
    counted,
    regions_in_plane,
    regions_of_two_layers,
    same_value_pairs,
    switching_weights,
)
from retromem.report.panel_figures import draw_panel
from retromem.report.panel_page import Panel
from retromem.theory.pattern_bounds import central_regions


def layer(dim: int, units: int, seed: int) -> ReLULayer:
    rng = np.random.default_rng(seed)
    return ReLULayer(w_DF=rng.standard_normal((dim, units)), b_F=np.zeros(units))


@pytest.mark.parametrize("units", [1, 7, 200])
def test_in_two_dimensions_every_line_through_the_origin_makes_two_wedges(units: int) -> None:
    keys_3D = np.random.default_rng(1).standard_normal((3, 2))
    assert regions_in_plane([layer(2, units, seed=units)], keys_3D) == 2 * units == central_regions(units, 2)


@pytest.mark.parametrize("seed", range(4))
def test_regions_in_a_plane_are_the_patterns_on_a_fine_grid(seed: int) -> None:
    rng = np.random.default_rng(seed)
    keys_3D = rng.standard_normal((3, 5))
    keys_3D /= np.linalg.norm(keys_3D, axis=1, keepdims=True)
    one = layer(5, 5, seed=seed)
    # The same plane in other coordinates: barycentric ones made orthonormal by Gram and Schmidt.
    first_D = keys_3D[1] - keys_3D[0]
    first_D /= np.linalg.norm(first_D)
    second_D = keys_3D[2] - keys_3D[0]
    second_D -= (second_D @ first_D) * first_D
    second_D /= np.linalg.norm(second_D)
    steps = np.linspace(-1, 1, 801)
    grid_GD = keys_3D.mean(axis=0) + (steps[:, None, None] * first_D + steps[None, :, None] * second_D).reshape(-1, 5)
    patterns = np.unique(np.packbits(grid_GD @ one.w_DF > 0, axis=1), axis=0)
    assert regions_in_plane([one], keys_3D) == len(patterns)


def test_pairs_of_one_value_are_all_and_only_those() -> None:
    value_ids_N = np.array([0, 1, 0, 2, 1, 0])
    brute = {(a, b) for a, b in combinations(range(6), 2) if value_ids_N[a] == value_ids_N[b]}
    found = same_value_pairs(value_ids_N, 99, np.random.default_rng(0))
    assert len(found) == len(brute) and {tuple(pair) for pair in found.tolist()} == brute
    assert len(same_value_pairs(value_ids_N, 2, np.random.default_rng(0))) == 2


def test_patterns_and_segments_of_one_layer_are_those_of_signs() -> None:
    table = random_table(30, 3, 4, seed=0)
    ffn = DenseConfig(kind="relu", width=4).build(3, 3, generator=torch.Generator().manual_seed(0))
    counts = counted(ffn, table, num_segments=1000, seed=0)
    on_NF = (table.keys_ND @ switching_weights(ffn) > 0).numpy()
    rows = [tuple(row) for row in on_NF.tolist()]
    assert counts.distinct == len(set(rows)) < 30
    assert counts.alone == sum(rows.count(row) == 1 for row in rows)
    # Without biases a unit changes sign once between two keys, or not at all. All pairs of one value are taken.
    values = table.value_ids_N.tolist()
    pairs = [(a, b) for a, b in combinations(range(30), 2) if values[a] == values[b]]
    expected = np.mean([1 + (on_NF[a] != on_NF[b]).sum() for a, b in pairs])
    assert counts.segment_regions["same_value"] == pytest.approx(expected)
    any_pair = np.mean([1 + (on_NF[a] != on_NF[b]).sum() for a, b in combinations(range(30), 2)])
    assert counts.segment_regions["stored"] == pytest.approx(any_pair, abs=0.15)


def test_the_gate_of_a_reglu_is_what_switches() -> None:
    ffn = GatedConfig(kind="reglu", width=6).build(4, 4, generator=torch.Generator().manual_seed(0))
    x_BD = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(x_BD @ switching_weights(ffn) > 0, ffn.hidden(x_BD) != 0)


TINY = ActivationPatternsConfig(
    dims=(2, 3), widths=(4, 8), bits_per_param=(0.5, 1.0), num_segments=20, steps=60, seeds=(0,)
)


def test_measured_counts_stay_below_their_bounds() -> None:
    points = TINY.measure(0, lambda knowledge: knowledge)
    for dim in TINY.dims:
        at_most = curve(points, f"log2_count_d{dim}", "Zaslavsky, no biases")
        patterns = curve(points, f"log2_count_d{dim}", "patterns of the facts")
        assert list(patterns) == [4.0, 8.0] and all(patterns[x].median <= at_most[x].median for x in patterns)
    assert spread_at(points, "units", "ReGLU", 8.0).median == 5  # 48 parameters of 9 a unit
    assert spread_at(points, "plane_regions_d2", "ReLU, initial", 8.0).median == 16
    two_layers, most = (
        spread_at(points, "log2_count_d2", series, 8.0).median for series in (TWO_LAYERS, "layerwise, two layers")
    )
    assert 2**two_layers == pytest.approx(regions_of_two_layers(4, seed=0))
    assert two_layers <= most == pytest.approx(2 * math.log2(11))  # 1 + 4 + 6 cells of each layer
    for series in ("ReLU, initial", "ReLU, trained"):  # a unit's boundary is crossed once at most, and not by most
        crossings, regions = (
            spread_at(points, quantity, series, 8.0).median
            for quantity in ("crossings_per_unit_stored", "segment_regions_d3")
        )
        assert crossings == pytest.approx((regions - 1) / 8) and 0 < crossings < 1
    page = TINY.page(points)
    assert "Two random layers of 4 units have" in page.finding and "none more than 121." in page.finding
    assert "Of the 2^8 on/off patterns of 8 units, 3 inputs can reach 2^6 at most" in page.finding  # 58 regions
    assert len(page.charts) == 3 and len(page.tables) == 2
    assert draw_panel(Panel(name="p", page=page, points=points)).alt.startswith("Activation patterns")


@pytest.mark.parametrize(("after", "said"), [(0.5, "0 apart at most"), (0.3, "0.200 apart at most")])
def test_the_finding_says_how_far_training_moved_the_boundaries(after: float, said: str) -> None:
    points = TINY.measure(0, lambda knowledge: knowledge)
    kept = [point for point in points if not point.quantity.startswith("crossings_per_unit")]
    for kind in ("ReLU", "ReGLU"):
        for state, y in (("initial", 0.5), ("trained", after if kind == "ReGLU" else 0.6)):
            for keys in KEYS:
                quantity, series = f"crossings_per_unit_{keys}", f"{kind}, {state}"
                kept.append(Point(quantity=quantity, series=series, x=8.0, y=y, seed=0))
    finding = TINY.page(kept).finding
    assert f"ReLU 0.500 and 0.600 {KEYS['stored']}" in finding and "0.100 apart at most" in finding
    assert f"ReGLU 0.500 and {after:.3f} {KEYS['stored']}" in finding and finding.endswith(f"{said}.")
