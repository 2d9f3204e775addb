"""Deep stacks: rank, updates, dead units and ablated blocks by brute force, the page both ways."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from models.ffn_kinds import DenseConfig
from models.stack import StackFFN
from models.stack_kinds import StackConfig
from retromem.measure.trained_ffn import random_table, stored_bits
from retromem.panels.limits.depth_at_work import NO_STREAM, OTHERS, SCHEMES, UNCORRELATED, DepthAtWorkConfig
from retromem.panels.limits.depth_at_work_points import (
    bits_lost,
    dead_shares,
    depth_at_work_points,
    final_loss,
    silenced,
    stream_ranks,
    update_ratios,
)
from retromem.panels.point_spread import curve
from retromem.panels.points import Point
from retromem.report.panel_figures import draw_panel
from retromem.report.panel_page import Panel

TINY = DepthAtWorkConfig(dim=4, num_params=160, num_values=4, depths=(1, 2), steps=3)
TABLE = random_table(40, 4, 4, seed=0)


def stack_of(config: StackConfig, *, seed: int = 0) -> StackFFN:
    config = replace(config, depth=3).resized(6)
    stack = config.build(4, 4, generator=torch.Generator().manual_seed(seed))
    assert isinstance(stack, StackFFN)
    with torch.no_grad():  # rezero starts at 0, layerscale small: nothing could be told apart
        for name, weight in stack.named_parameters():
            if "scale" in name:
                weight.fill_(0.7)
    return stack


@pytest.fixture(scope="module")
def points() -> list[Point]:
    return depth_at_work_points(TINY, 0)


@pytest.mark.parametrize("scheme", [name for name, stack in {**SCHEMES, **OTHERS}.items() if stack.residual != "none"])
def test_updates_are_what_makes_the_next_state(scheme: str) -> None:
    config = {**SCHEMES, **OTHERS}[scheme]
    stack = stack_of(config)
    states = [state.detach() for state in stack.states(TABLE.keys_ND)]
    expected = []
    for layer in range(3):
        read = stack.norms[layer](states[layer]) if config.norm == "pre" else states[layer]
        out = stack.blocks[layer](read) + (stack.branches[layer](read) if config.parallel else 0)
        added = 0.7 * out if config.residual in ("layerscale", "rezero") else out
        carried = states[layer] * (6**0.25 if config.residual == "deepnorm" else 1)
        after = stack.norms[layer](carried + added) if config.norm == "post" else carried + added
        assert torch.allclose(after, states[layer + 1], atol=1e-5)
        expected.append(float((added.norm() / carried.norm()).detach()))
    assert update_ratios(stack, TABLE.keys_ND) == pytest.approx(expected, rel=1e-4)


def test_ranks_are_those_of_the_centred_states() -> None:
    stack = stack_of(SCHEMES["plain, pre-norm"])
    for state, rank in zip(stack.states(TABLE.keys_ND), stream_ranks(stack, TABLE.keys_ND), strict=True):
        a = state.detach().double().numpy()
        s = np.linalg.svd(a - a.mean(0), compute_uv=False)
        assert rank == pytest.approx((s**2).sum() ** 2 / (s**4).sum(), rel=1e-5)


def test_dead_units_are_counted_block_by_block() -> None:
    stack = stack_of(SCHEMES["plain"])
    keys_ND = TABLE.keys_ND.abs()
    with torch.no_grad():
        stack.blocks[0].w_in_DF[:, :2] = -1.0  # positive keys never reach these two
        stack.blocks[0].w_in_DF[:, 2:] = 1.0
        for layer in (1, 2):
            stack.blocks[layer].w_in_DF.copy_(torch.tensor([1.0, -1.0] * 12).reshape(4, 6))
        stack.blocks[0].w_out_FE.fill_(1.0)
        stack.blocks[1].w_out_FE.fill_(1.0)
    assert dead_shares(stack, keys_ND) == pytest.approx([2 / 6, 3 / 6, 3 / 6])


@pytest.mark.parametrize("scheme", ["plain, pre-norm", "DeepNorm, parallel"])
def test_a_silenced_block_adds_nothing_and_is_given_back(scheme: str) -> None:
    stack = stack_of(OTHERS.get(scheme, SCHEMES.get(scheme, StackConfig())))
    whole = stack(TABLE.keys_ND)
    lost = bits_lost(stack, TABLE)
    for layer in range(3):
        removed = stack_of(stack.config)
        with torch.no_grad():
            removed.blocks[layer].w_out_FE.zero_()
            if removed.branches:
                removed.branches[layer].w_DE.zero_()
        with silenced(stack, layer):
            assert torch.allclose(stack(TABLE.keys_ND), removed(TABLE.keys_ND), atol=1e-6)
        assert lost[layer] == pytest.approx((stored_bits(stack, TABLE) - stored_bits(removed, TABLE)) / 40)
    assert torch.equal(stack(TABLE.keys_ND), whole)


def test_the_loss_is_the_mean_of_minus_log_p() -> None:
    stack = stack_of(SCHEMES["plain"])
    log_p = functional.log_softmax(stack(TABLE.keys_ND) @ TABLE.codes_VE.T, dim=1).detach()
    assert final_loss(stack, TABLE) == pytest.approx(float(-log_p[range(40), TABLE.value_ids_N].mean()))


def test_one_block_without_a_stream_is_one_layer() -> None:
    config = TINY.stack(NO_STREAM, 1).resized(9)
    stack = config.build(4, 4, generator=torch.Generator().manual_seed(0))
    layer = DenseConfig(kind="relu", width=9).build(4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(stack(TABLE.keys_ND), layer(TABLE.keys_ND))
    assert config.num_params(4, 4) == 72


def test_every_scheme_that_is_allowed_is_measured(points: list[Point]) -> None:
    allowed = set()
    for residual in ("none", "plain", "layerscale", "rezero", "deepnorm"):
        for norm in ("none", "pre", "post"):
            for parallel in (False, True):
                if (residual == "deepnorm" and norm != "post") or (residual == "none" and parallel):
                    continue
                allowed.add((residual, norm, parallel))
    assert {(s.residual, s.norm, s.parallel) for s in {**SCHEMES, **OTHERS}.values()} == allowed
    for scheme in SCHEMES:
        assert list(curve(points, "accuracy", scheme)) == [1.0, 2.0]
        assert list(curve(points, "rank_trained", scheme)) == [0.0, 1.0, 2.0]
        assert list(curve(points, "bits_lost_of_block", scheme)) == [1.0, 2.0]
    for scheme in OTHERS:
        assert list(curve(points, "accuracy", scheme)) == [2.0]
    assert curve(points, "rank_trained", UNCORRELATED)[0.0].median == pytest.approx(1 / (1 / 96 + 1 / 4), rel=0.01)


def test_keys_have_the_rank_of_uncorrelated_numbers() -> None:
    config = DepthAtWorkConfig()
    keys_ND = random_table(config.num_facts, config.dim, 16, seed=0).keys_ND
    stack = SCHEMES["plain"].resized(2).build(16, 16, generator=torch.Generator())
    assert isinstance(stack, StackFFN)
    expected = 1 / (1 / config.num_facts + 1 / config.dim)
    assert stream_ranks(stack, keys_ND)[0] == pytest.approx(expected, rel=0.01)


def test_the_finding_follows_the_points(points: list[Point]) -> None:
    def finding(best: str, worst: str) -> str:
        changed = []
        for p in points:
            if p.quantity == "accuracy" and p.series in {**SCHEMES, **OTHERS} and p.x == 2.0:
                p = replace(p, y={best: 0.9, worst: 0.3}.get(p.series, 0.4))
            if p.quantity == "loss" and p.x == 2.0:
                p = replace(p, y=0.2 if p.series == best else 0.5)
            if p.quantity == "last_rank_trained" and p.x == 2.0:
                p = replace(p, y=1.5 if p.series == NO_STREAM else 3.5)
            changed.append(p)
        return TINY.page(changed).finding

    said = finding("ReZero", "DeepNorm, parallel")
    assert "after training at 1.50 and 3.50." in said
    assert "Without a stream 40 % of the facts are answered (chance 25 %)" in said
    assert "With the scheme of the lowest loss, ReZero, 90 % (0.200 nats; one layer of this size: " in said
    assert said.endswith("with the least accurate, DeepNorm, parallel, 30 %.")
    # Nothing says that a stream must win.
    assert "Without a stream 90 % of the facts are answered" in finding(NO_STREAM, "ReZero")


def test_the_page_is_drawn(points: list[Point]) -> None:
    page = TINY.page(points)
    for table in page.tables:
        assert all(len(cells) == len(table.header) for _, block in table.blocks for cells in block)
    assert [heading for heading, _ in page.tables[0].blocks] == ["1 block", "2 blocks, serial", "2 blocks, parallel"]
    assert ">DeepNorm<" in draw_panel(Panel(name="depth", page=page, points=points)).svg


def test_impossible_depths_are_refused() -> None:
    with pytest.raises(ValueError, match="depths must be"):
        DepthAtWorkConfig(depths=(0, 1))
    with pytest.raises(ValueError, match="parameters at least, more than 2,000"):
        DepthAtWorkConfig(num_params=2000)
