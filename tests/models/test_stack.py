"""Residual stacks against their formulas written out, their first weights, counts and refusals."""

import math
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.any_ffn import FFN_KINDS, sized
from models.expert_kinds import ExpertsConfig
from models.ffn_kinds import DenseConfig, GatedConfig, TopKConfig
from models.memory_kinds import LookupConfig, OneNeuronExpertsConfig, ProductKeysConfig
from models.residual_schemes import layerscale_start
from models.stack_kinds import StackConfig

RELU = DenseConfig(kind="relu", width=7)
CONFIGS = [
    StackConfig(depth=3, block=RELU),
    StackConfig(depth=2, block=RELU, norm="post"),
    StackConfig(depth=2, block=RELU, norm="none"),
    StackConfig(depth=2, block=RELU, residual="none", norm="none"),
    StackConfig(depth=2, block=RELU, residual="none", norm="post"),
    StackConfig(depth=2, block=RELU, normaliser="rms"),
    StackConfig(depth=3, block=RELU, residual="layerscale"),
    StackConfig(depth=3, block=RELU, residual="rezero", norm="none"),
    StackConfig(depth=3, block=RELU, residual="deepnorm", norm="post"),
    StackConfig(depth=3, block=RELU, parallel=True),
    StackConfig(depth=2, block=RELU, parallel=True, norm="post", residual="deepnorm"),
    StackConfig(depth=2, block=RELU, parallel=True, residual="layerscale", normaliser="rms"),
]
BLOCKS = [
    GatedConfig(kind="geglu", width=9),
    TopKConfig(width=12),
    ExpertsConfig(experts=3, top_k=2, width=2, shared=1),
    ExpertsConfig(experts=3, top_k=1, width=2, activation="gelu"),
    ProductKeysConfig(sub_keys=3, heads=2),
    OneNeuronExpertsConfig(sub_keys=3, heads=2),
    LookupConfig(rows=5, tables=2),
]
"""whose outputs the tests of each compare with a reference"""


def name(config):
    return config.label


def built(config, dim_out=6, *, redraw=True):
    generator = torch.Generator().manual_seed(0)
    ffn = config.build(6, dim_out, generator=generator)
    if redraw:  # gains of 1 and numbers of 0 hide where they are used
        with torch.no_grad():
            for weight in ffn.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator))
    return ffn.double()


def normalised(config, x, gain):
    if config.normaliser == "rms":
        return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + np.finfo(np.float64).eps) * gain
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5) * gain


def reference(config, ffn, x):
    """The stream in numpy."""
    w = {name: weight.detach().numpy() for name, weight in ffn.named_parameters()}
    for layer in range(config.depth):
        h = normalised(config, x, w[f"norms.{layer}.weight"]) if config.norm == "pre" else x
        if isinstance(config.block, DenseConfig):
            update = np.maximum(h @ w[f"blocks.{layer}.w_in_DF"], 0) @ w[f"blocks.{layer}.w_out_FE"]
        else:
            with torch.no_grad():
                update = ffn.blocks[layer](torch.from_numpy(h)).numpy()
        if config.parallel:
            update = update + h @ w[f"branches.{layer}.w_DE"]
        scale = {"layerscale": "scale_LD", "rezero": "scale_L1"}.get(config.residual)
        if scale:
            update = w[scale][layer] * update
        alpha = {"none": 0.0, "deepnorm": (2 * config.depth) ** 0.25}.get(config.residual, 1.0)
        x = alpha * x + update
        if config.norm == "post":
            x = normalised(config, x, w[f"norms.{layer}.weight"])
    if config.norm == "pre":
        x = normalised(config, x, w[f"norms.{config.depth}.weight"])
    return x @ w["read_out.w_DE"] if "read_out.w_DE" in w else x


@pytest.mark.parametrize("config", CONFIGS + [StackConfig(depth=2, block=block) for block in BLOCKS], ids=name)
@pytest.mark.parametrize("dim_out", [6, 4])
def test_the_stream_is_the_formula(config, dim_out):
    ffn = built(config, dim_out)
    x = np.random.default_rng(0).standard_normal((5, 6))
    with torch.no_grad():
        assert ffn(torch.from_numpy(x)).numpy() == pytest.approx(reference(config, ffn, x), rel=1e-6, abs=1e-6)
        states = ffn.states(torch.from_numpy(x))
    assert len(states) == config.depth + 1
    assert torch.equal(states[0], torch.from_numpy(x))


@pytest.mark.parametrize("config", CONFIGS, ids=name)
@pytest.mark.parametrize("dim_out", [6, 4])
def test_counted_parameters_are_the_modules(config, dim_out):
    counted = config.num_params(6, dim_out)
    assert counted == config.num_active_params(6, dim_out)
    assert counted == sum(weight.numel() for weight in built(config, dim_out).parameters())


def test_sparse_blocks_are_active_in_part_and_anneal_together():
    config = StackConfig(depth=2, block=TopKConfig(width=20, active_share=0.1, annealed=True))
    assert config.num_params(6, 6) - config.num_active_params(6, 6) == 2 * 18 * 6
    ffn = config.build(6, 6, generator=torch.Generator().manual_seed(0))
    ffn.step_done(1.0)
    inputs = torch.randn(9, 6, generator=torch.Generator().manual_seed(1))
    assert all(int((block.hidden(inputs) > 0).sum(1).max()) == 2 for block in ffn.blocks)


@pytest.mark.parametrize("depth", [1, 18, 19, 25])
def test_layerscale_starts_as_small_as_the_depth_asks(depth):
    start = layerscale_start(depth)
    assert start == {1: 0.1, 18: 0.1, 19: 1e-5, 25: 1e-6}[depth]
    ffn = built(StackConfig(depth=depth, block=RELU, residual="layerscale"), redraw=False)
    assert ffn.scale_LD.shape == (depth, 6) and torch.allclose(ffn.scale_LD, torch.tensor(start).double())


def test_rezero_starts_as_the_identity():
    ffn = built(StackConfig(depth=5, block=RELU, residual="rezero", norm="none"), redraw=False)
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(1)).double()
    assert torch.equal(ffn(x), x)
    ffn(x).square().sum().backward()
    assert all(scale.grad.abs().sum() > 0 for scale in [ffn.scale_L1])


def first_weights(**settings):
    """Largest first weight of W_in and of W_out, beside those of a lone block."""
    config = StackConfig(depth=8, block=DenseConfig(width=200), **settings)
    block = config.build(100, 100, generator=torch.Generator().manual_seed(0)).blocks[0]
    lone = config.block.build(100, 100, generator=torch.Generator().manual_seed(0))
    ratios = [(a / b).mean().item() for a, b in zip(block.parameters(), lone.parameters(), strict=True)]
    return pytest.approx(ratios)


def test_first_weights_shrink_where_the_scheme_asks_for_it():
    assert first_weights() == [1, 1 / math.sqrt(8)]
    assert first_weights(parallel=True) == [1, 1 / math.sqrt(16)]
    assert first_weights(norm="post") == [1, 1]
    assert first_weights(residual="layerscale") == [1, 1]


def weights_beside_lone_ones(block, **settings):
    """For each parameter of the first block of four: its length over that of the same in a block that stands alone."""
    config = StackConfig(depth=4, block=block, **settings)
    stack = config.build(64, 64, generator=torch.Generator().manual_seed(0))
    lone = block.build(64, 64, generator=torch.Generator().manual_seed(0))
    return {
        name: (weight.norm() / beside.norm()).item()
        for (name, weight), beside in zip(stack.blocks[0].named_parameters(), lone.parameters(), strict=True)
    }


READ_OUTS = {"w_out_FE", "w_out_SFE", "shared_out_FE", "values_SE", "v_SE", "rows_SE"}
FOR_UNIT_INPUTS = {"retrieval.w_query_DQ", "u_SD", "w_gate_DT"}
WIDE = [block.resized(400) if hasattr(block, "width") else block.resized(60) for block in BLOCKS]


@pytest.mark.parametrize("block", WIDE, ids=name)
def test_read_outs_of_every_kind_shrink_with_depth_before_a_norm(block):
    ratios = weights_beside_lone_ones(block)
    assert ratios.keys() & READ_OUTS
    for weight, ratio in ratios.items():
        # A normalised stream of 64 dimensions has length 8.
        assert ratio == pytest.approx(
            0.5 if weight in READ_OUTS else 1 / 8 if weight in FOR_UNIT_INPUTS else 1, rel=1e-5
        )


@pytest.mark.parametrize("block", WIDE, ids=name)
def test_without_a_norm_every_first_weight_is_that_of_a_lone_block(block):
    ratios = weights_beside_lone_ones(block, norm="none")
    assert list(ratios.values()) == pytest.approx([1] * len(ratios))


@pytest.mark.parametrize("block", WIDE, ids=name)
def test_the_first_block_sees_the_key_itself_where_norms_come_after(block):
    """A key has length 1; only what a norm gave out has the length 8."""
    plain, post = (
        StackConfig(depth=3, block=block, norm=norm).build(64, 64, generator=torch.Generator().manual_seed(0)).blocks
        for norm in ("none", "post")
    )
    for layer in range(3):
        for (weight_name, weight), beside in zip(
            post[layer].named_parameters(), plain[layer].parameters(), strict=True
        ):
            expected = beside / 8 if layer and weight_name in FOR_UNIT_INPUTS else beside
            assert torch.equal(weight, expected)


@pytest.mark.parametrize("block", [DenseConfig(width=300), *WIDE], ids=name)
def test_deepnorm_draws_the_matrices_of_its_branches_as_xavier_times_beta(block):
    config = StackConfig(depth=4, block=block, residual="deepnorm", norm="post", parallel=True)
    stack = config.build(64, 64, generator=torch.Generator().manual_seed(0))
    beta = 32**-0.25
    assert stack.branches[2].w_DE.std().item() == pytest.approx(beta / math.sqrt(64), rel=0.05)
    for weight_name, weight in stack.blocks[2].named_parameters():
        if weight_name in {"w_in_DF", "w_out_FE", "w_in_SDF", "w_out_SFE", "shared_in_DF", "shared_out_FE"}:
            fan_in, fan_out = weight.shape[-2:]
            assert weight.std().item() == pytest.approx(beta * math.sqrt(2 / (fan_in + fan_out)), rel=0.1)
        elif weight_name in {"values_SE", "v_SE", "rows_SE"}:
            assert weight.std().item() == pytest.approx(beta / math.sqrt(64), rel=0.1)


def test_training_flops_are_those_of_the_matrices_where_every_input_wants_a_gradient():
    config = StackConfig(depth=3, block=GatedConfig(width=9), parallel=True)
    ffn, x = config.build(6, 4, generator=torch.Generator()), torch.randn(10, 6, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        ffn(x).sum().backward()
    assert counter.get_total_flops() == 10 * config.training_flops(6, 4)


def test_a_stack_is_sized_by_its_blocks():
    config = sized(StackConfig(depth=4, block=DenseConfig(kind="relu")), 2000, 16, 16)
    assert config.depth == 4
    assert config.num_params(16, 16) <= 2000 < config.resized(config.size + 1).num_params(16, 16)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"depth": 0}, "depth must be 1 or more, not 0"),
        ({"residual": "deepnorm"}, "norm must be post, not pre"),
        ({"residual": "none", "parallel": True}, "residual must not be none"),
    ],
)
def test_what_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(StackConfig(), **wrong)


@pytest.mark.parametrize("kind", FFN_KINDS)
def test_every_kind_can_be_the_block_of_a_stack(kind):
    block = sized(load_kind(kind), 2000, 8, 8)
    config = StackConfig(depth=2, block=block)
    ffn = config.build(8, 5, generator=torch.Generator().manual_seed(0))
    stored = ffn.state_dict().values()
    assert sum(weight.numel() for weight in stored) == config.num_params(8, 5)
    out = ffn.eval()(torch.randn(3, 8, generator=torch.Generator().manual_seed(1)))
    assert out.shape == (3, 5) and out.isfinite().all()


def load_kind(kind):
    module, _, cls = FFN_KINDS[kind].partition(":")
    return getattr(import_module(module), cls)(kind=kind)
