"""Architecture at equal parameters: what is searched, its bits by hand, the page both ways."""

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest

from models.any_ffn import sized
from models.presets import PresetConfig
from models.stack_kinds import StackConfig
from retromem.panels.limits.architecture import GUIDE_LINE, PRESETS, STACKS, ArchitectureConfig, one_layer
from retromem.panels.limits.architecture_points import architecture_points
from retromem.panels.point_spread import curve
from retromem.panels.points import Point
from retromem.report.panel_figures import draw_panel
from retromem.report.panel_page import Panel

TINY = ArchitectureConfig(dim=4, num_params=560, num_values=4, depths=(1, 2), steps=20, resolution=0.5)


@pytest.fixture(scope="module")
def points() -> list[Point]:
    return architecture_points(TINY, 0)


def test_all_are_of_equal_size_and_as_large_as_they_may_be() -> None:
    config = ArchitectureConfig()
    for _, kind in [*config.stacks, *config.whole.items()]:
        of_size = sized(kind, config.num_params, config.dim, config.dim)
        assert of_size.size is not None
        larger = of_size.resized(of_size.size + 6)  # a gated FFN's dial moves its units every other step
        assert 0.85 * config.num_params <= of_size.num_params(16, 16) <= config.num_params
        assert larger.num_params(16, 16) > config.num_params


def test_parallel_presets_are_the_serial_ones_with_a_matrix_beside() -> None:
    whole = ArchitectureConfig().whole
    stacks = {name: kind.stack for name, kind in whole.items() if name in PRESETS}
    assert stacks["gptj"] == replace(stacks["gpt2"], parallel=True)
    assert stacks["palm"] == replace(STACKS["swiglu"], depth=2, parallel=True)
    assert all(isinstance(stack, StackConfig) for stack in stacks.values())


@pytest.mark.slow
def test_a_tiny_measurement_has_all_that_the_page_needs(points: list[Point]) -> None:
    for series in (*STACKS, one_layer("gelu"), one_layer("swiglu"), GUIDE_LINE):
        assert list(curve(points, "bits_per_param", series)) == [1.0, 2.0]
    for point in points:
        if point.quantity == "bits_per_param" and point.series in PRESETS:
            (facts,) = [p.y for p in points if (p.quantity, p.series) == ("facts", point.series)]
            (params,) = [p.y for p in points if (p.quantity, p.series) == ("params", point.series)]
            assert point.y == pytest.approx(facts * 2 / params) and facts > 1
            of_size = sized(PresetConfig(kind=point.series, depth=2), 560, 4, 4)
            assert params == of_size.num_params(4, 4)
    page = TINY.page(points)
    assert all(len(cells) == len(page.tables[0].header) for _, block in page.tables[0].blocks for cells in block)
    assert ">deepseek<" in draw_panel(Panel(name="architecture", page=page, points=points)).svg


def with_bits(points: list[Point], bits: Mapping[tuple[str, float | None], float]) -> list[Point]:
    return [replace(p, y=bits.get((p.series, p.x), p.y)) if p.quantity == "bits_per_param" else p for p in points]


@pytest.mark.slow
def test_the_finding_follows_the_points(points: list[Point]) -> None:
    bits: dict[tuple[str, float | None], float] = {
        (one_layer("gelu"), None): 2.0,
        ("gelu", 1.0): 1.5,
        ("gelu", 2.0): 3.5,
        (one_layer("swiglu"), None): 2.6,
        ("swiglu", 1.0): 1.2,
        ("swiglu", 2.0): 1.0,
        **{(name, None): float(rank) for rank, name in enumerate(PRESETS, start=1)},
    }
    finding = TINY.page(with_bits(points, bits)).finding
    assert "gelu holds 2.00 bits per parameter in one layer and 3.50 in its best stack, of 2 blocks (more)" in finding
    assert "swiglu holds 2.60 bits per parameter in one layer and 1.20 in its best stack, of 1 block (less)" in finding
    assert "gptj 3.00 against 1.00 of the same blocks in series (more)" in finding
    assert "palm 4.00 against 1.00 of the same blocks in series (more)" in finding
    assert "Presets: deepseek 7.00, mixtral 6.00" in finding
    answer = TINY.page(with_bits(points, bits)).answer
    assert (
        "2.00 in one gelu layer and 3.50 in its best stack" in answer and "Presets hold 7.00 (deepseek) to " in answer
    )
    # Closer than the search could tell.
    close = TINY.page(with_bits(points, {**bits, ("gelu", 2.0): 2.5})).finding
    assert "2.50 in its best stack, of 2 blocks (no clear difference)" in close
    assert f"{math.log2(math.e) / 0.7:.2f}" in close  # the guide line: 1 / (.7 ln 2)


def test_only_the_presets_asked_for_are_measured() -> None:
    config = ArchitectureConfig(presets=("gpt2", "llama"))
    assert [name for name in config.whole if name in PRESETS] == ["gpt2", "llama"]
    with pytest.raises(ValueError, match="presets must name one or more"):
        ArchitectureConfig(presets=())


def test_presets_need_stacks_of_their_depth() -> None:
    with pytest.raises(ValueError, match="preset_depth must be one of depths"):
        ArchitectureConfig(depths=(1, 4))


def test_too_few_parameters_are_refused_with_the_smallest() -> None:
    with pytest.raises(ValueError, match="deepseek-2 has 2,094 parameters at least, more than 2,000"):
        ArchitectureConfig(num_params=2000)
