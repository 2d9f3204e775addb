"""FFN kinds against their formulas, their counts against torch's own, and sizes at equal parameters."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import erf, expit
from torch.utils.flop_counter import FlopCounterMode

from models.any_ffn import sized
from models.expert_kinds import ExpertsConfig
from models.ffn_kinds import Dense, DenseConfig, Gated, GatedConfig, LinearConfig, TopKConfig
from models.memory_kinds import LookupConfig, OneNeuronExpertsConfig, ProductKeysConfig
from models.stack_kinds import StackConfig

CURVES = {
    "relu": lambda h: np.maximum(h, 0),
    "gelu": lambda h: h * 0.5 * (1 + erf(h / np.sqrt(2))),
    "silu": lambda h: h * expit(h),
    "identity": lambda h: h,
}
GATE_OF = {"swiglu": "silu", "geglu": "gelu", "reglu": "relu", "bilinear": "identity"}
CONFIGS = [
    LinearConfig(),
    *(DenseConfig(kind=kind, width=9, bias=bias) for kind in get_args(Dense) for bias in (False, True)),
    *(GatedConfig(kind=kind, width=9, bias=bias) for kind in get_args(Gated) for bias in (False, True)),
    DenseConfig(kind="relu"),
    GatedConfig(),
]
SIZABLE = [
    *CONFIGS,
    TopKConfig(active_share=0.1),
    ExpertsConfig(experts=3, shared=1),
    ProductKeysConfig(heads=2, top_k=3),
    OneNeuronExpertsConfig(heads=1),
    LookupConfig(tables=2),
    StackConfig(depth=2),
]


def name(config):
    return config.label


def built(config, dim_in=5, dim_out=3, seed=0):
    """A module all of whose weights are random: new biases are 0 and would hide where they are added."""
    generator = torch.Generator().manual_seed(seed)
    ffn = config.build(dim_in, dim_out, generator=generator)
    with torch.no_grad():
        for weight in ffn.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return ffn


def reference(config, ffn, x):
    """The same in numpy."""
    weights = {name: weight.detach().double().numpy() for name, weight in ffn.named_parameters()}
    if isinstance(config, LinearConfig):
        return x @ weights["w_DE"]
    h = x @ weights["w_in_DF"] + weights.get("b_in_F", 0)
    if isinstance(config, GatedConfig):
        gate = x @ weights["w_gate_DF"] + weights.get("b_gate_F", 0)
        h = h * (expit(gate) if config.kind == "glu" else CURVES[GATE_OF[config.kind]](gate))
    else:
        h = CURVES[config.kind](h)
    return h @ weights["w_out_FE"] + weights.get("b_out_E", 0)


@pytest.mark.parametrize("config", CONFIGS, ids=name)
@pytest.mark.parametrize("batch", [0, 1, 7])
def test_forward_is_the_formula(config, batch):
    ffn = built(config)
    x = np.random.default_rng(0).standard_normal((batch, 5))
    with torch.no_grad():
        assert ffn(torch.from_numpy(x).float()).numpy() == pytest.approx(reference(config, ffn, x), abs=1e-3, rel=1e-4)


@settings(max_examples=50)
@given(config=st.sampled_from(SIZABLE), dim_in=st.integers(1, 40), dim_out=st.integers(1, 40), width=st.integers(1, 60))
def test_counted_parameters_are_the_modules(config, dim_in, dim_out, width):
    assume(not isinstance(config, StackConfig) or dim_in >= 3)  # a layer norm refuses less
    config = config.resized(width)
    ffn = config.build(dim_in, dim_out, generator=torch.Generator().manual_seed(0))
    counted = config.num_params(dim_in, dim_out)
    assert counted == sum(weight.numel() for weight in ffn.parameters())
    assert 0 < config.num_active_params(dim_in, dim_out) <= counted


@settings(max_examples=60)
@given(
    config=st.sampled_from(SIZABLE),
    dim_in=st.integers(1, 40),
    dim_out=st.integers(1, 40),
    budget=st.integers(1, 5000),
    active=st.booleans(),
)
def test_a_size_is_the_largest_within_its_budget(config, dim_in, dim_out, budget, active):
    assume(not isinstance(config, StackConfig) or dim_in >= 3)  # a layer norm refuses less

    def count(config):
        return config.num_active_params(dim_in, dim_out) if active else config.num_params(dim_in, dim_out)

    smallest = count(config.resized(1))
    if smallest > budget:
        with pytest.raises(ValueError, match=f"{smallest:,} .*more than {budget:,}"):
            sized(config, budget, dim_in, dim_out, active=active)
        return
    if active and isinstance(config, LookupConfig):
        with pytest.raises(ValueError, match="in every size"):
            sized(config, budget, dim_in, dim_out, active=True)
        return
    fitting = sized(config, budget, dim_in, dim_out, active=active)
    assert fitting == (config if fitting.size is None else config.resized(fitting.size))
    assert count(fitting) <= budget
    if fitting.size is not None:
        assert count(fitting.resized(fitting.size + 1)) > budget


def test_gated_units_are_two_thirds_of_the_dense_ones():
    assert GatedConfig(width=32).units(16, 16) == 21
    assert GatedConfig().units(48, 48) == 128  # of 4 x 48
    assert DenseConfig().units(48) == 192


def test_the_default_has_eight_times_the_squared_dimension():
    for config in (DenseConfig(), GatedConfig(), TopKConfig()):
        assert config.num_params(48, 48) == 8 * 48**2


@pytest.mark.parametrize("config", [*CONFIGS, TopKConfig(width=9)], ids=name)
def test_initial_weights_come_from_the_generator_alone(config):
    drawn = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        drawn.append(list(config.build(4, 4, generator=torch.Generator().manual_seed(3)).parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))
    assert all(weight.abs().max() <= 0.5 for weight in drawn[0])  # 1 / sqrt(fan-in) = 1/2, or 1/3
    assert any(weight.std() > 0.1 for weight in drawn[0])


@pytest.mark.parametrize("config", [*CONFIGS, TopKConfig(width=12, gradient="straight_through")], ids=name)
def test_training_flops_are_those_that_torch_counts(config):
    facts, dim_in, dim_out, num_values = 50, 24, 8, 40
    ffn = built(config, dim_in, dim_out)
    keys, codes = torch.randn(facts, dim_in), torch.randn(num_values, dim_out)
    with FlopCounterMode(display=False) as counter:
        (ffn(keys) @ codes.T).sum().backward()
    assert counter.get_total_flops() == facts * (config.training_flops(dim_in, dim_out) + 4 * codes.numel())


@pytest.mark.parametrize("wrong", [DenseConfig, GatedConfig, TopKConfig])
def test_no_units_are_refused(wrong):
    with pytest.raises(ValueError, match="width must be 1 or more, not 0"):
        wrong(width=0)
