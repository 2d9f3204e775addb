"""Mixtures of experts against loops over keys and experts, their counts against torch's, and what balancing does."""

import copy
import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf, expit, softmax
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from models.expert_kinds import ExpertsConfig
from models.key_value_training import KeyValueData, KeyValueModule, fit
from models.training_budget import TrainingBudget
from models.weight_packing import pack, unpack

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

CONFIGS = [
    ExpertsConfig(experts=4, top_k=1, width=3, activation="relu", balancing="none"),
    ExpertsConfig(experts=5, top_k=2, width=3, activation="gelu", shared=1),
    ExpertsConfig(experts=4, top_k=3, width=2, activation="swiglu", shared=2, balancing="bias"),
    ExpertsConfig(experts=2, top_k=2, width=1, activation="swiglu", balancing="bias"),
    ExpertsConfig(experts=40, top_k=3, width=1, activation="gelu"),
]
CURVES = {
    "relu": lambda h: np.maximum(h, 0),
    "gelu": lambda h: h * 0.5 * (1 + erf(h / np.sqrt(2))),
    "swiglu": lambda h: h * expit(h),
}


def name(config):
    return config.label


def built(config, dim_in=6, dim_out=4, seed=0):
    """All numbers random: new biases are 0 and would hide where they are added."""
    generator = torch.Generator().manual_seed(seed)
    ffn = config.build(dim_in, dim_out, generator=generator)
    with torch.no_grad():
        for weight in ffn.state_dict().values():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return ffn


def keys(num_keys, dim=6, seed=1):
    return torch.randn(num_keys, dim, generator=torch.Generator().manual_seed(seed))


def reference(config, ffn, x):
    """One key and one expert after another, in float64."""
    w = {name: weight.detach().double().numpy() for name, weight in ffn.state_dict().items()}
    curve = CURVES[config.activation]

    def expert(row, w_in, w_gate, w_out):
        h = row @ w_in
        return (curve(h) if w_gate is None else curve(row @ w_gate) * h) @ w_out

    out, chosen = np.zeros((len(x), w["w_out_SFE"].shape[2])), []
    for n, row in enumerate(x):
        logits = row @ w["w_router_DS"]
        gates = config.experts * softmax(logits)
        chosen.append(np.argsort(-(logits + w.get("bias_S", 0)))[: config.top_k])
        for s in chosen[-1]:
            gate = w["w_gate_SDF"][s] if "w_gate_SDF" in w else None
            out[n] += gates[s] * expert(row, w["w_in_SDF"][s], gate, w["w_out_SFE"][s])
        for first in range(0, config.shared * config.width, config.width):
            units = slice(first, first + config.width)
            gate = w["shared_gate_DF"][:, units] if "shared_gate_DF" in w else None
            out[n] += expert(row, w["shared_in_DF"][:, units], gate, w["shared_out_FE"][units])
    return out, np.array(chosen, dtype=int).reshape(len(x), config.top_k)


@pytest.mark.parametrize("config", CONFIGS, ids=name)
@pytest.mark.parametrize("batch", [0, 1, 3, 50])
def test_answers_and_use_are_those_of_a_loop(config, batch):
    ffn, x = built(config).eval(), keys(batch)
    expected, chosen = reference(config, ffn, x.double().numpy())
    with torch.inference_mode():
        assert ffn(x).numpy() == pytest.approx(expected, rel=1e-4, abs=1e-4)
        assert ffn.slot_counts(x).tolist() == np.bincount(chosen.flatten(), minlength=config.experts).tolist()
    assert ffn.slot_counts(x).dtype == torch.int64


@pytest.mark.parametrize("favourite", [0, 4])
def test_an_expert_that_gets_every_key_answers_every_key(favourite):
    config = ExpertsConfig(experts=5, top_k=1, width=3, balancing="bias")
    ffn, x = built(config).eval(), keys(40)
    ffn.bias_S[favourite] = 100.0
    assert ffn.slot_counts(x).tolist() == [40 * (expert == favourite) for expert in range(5)]
    with torch.no_grad():
        assert ffn(x).numpy() == pytest.approx(reference(config, ffn, x.double().numpy())[0], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_gradients_are_those_of_every_expert_computed_and_masked(config):
    ffn, x = built(config).double(), keys(30).double()
    w = dict(ffn.state_dict(keep_vars=True))
    act = {"relu": functional.relu, "gelu": functional.gelu, "swiglu": functional.silu}[config.activation]

    def hidden(w_in, w_gate):
        return act(x @ w_in) if w_gate is None else act(x @ w_gate) * (x @ w_in)

    logits = x @ w["w_router_DS"]
    chosen = (logits + w.get("bias_S", 0)).topk(config.top_k, dim=1).indices
    mask = torch.zeros_like(logits).scatter(1, chosen, 1.0)
    y = hidden(w["w_in_SDF"], w.get("w_gate_SDF")) @ w["w_out_SFE"]
    plain = torch.einsum("bs,sbe->be", mask * config.experts * logits.softmax(1), y)
    if config.shared:
        plain = plain + hidden(w["shared_in_DF"], w.get("shared_gate_DF")) @ w["shared_out_FE"]
    weights = list(ffn.parameters())
    of_plain = torch.autograd.grad((plain**3).sum(), weights)
    of_grouped = torch.autograd.grad((ffn(x) ** 3).sum(), weights)
    for mine, its in zip(of_grouped, of_plain, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-9, atol=1e-9)
    # A single expert's gate too depends on the router.
    assert of_grouped[0].abs().max() > 1e-3


@settings(max_examples=15)
@given(config=st.sampled_from(CONFIGS), sizes=st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_answers_do_not_depend_on_the_batches(config, sizes):
    ffn, x = config.build(6, 4, generator=torch.Generator().manual_seed(2)).eval(), keys(sum(sizes), seed=len(sizes))
    with torch.no_grad():
        at_once, in_parts = ffn(x), torch.cat([ffn(part) for part in x.split(sizes)])
    assert (at_once - in_parts).abs().max() < 1e-5


@settings(max_examples=40)
@given(config=st.sampled_from(CONFIGS), dim_in=st.integers(1, 40), dim_out=st.integers(1, 40), width=st.integers(1, 9))
def test_counted_parameters_are_the_stored_numbers(config, dim_in, dim_out, width):
    config = config.resized(width)
    stored = config.build(dim_in, dim_out, generator=torch.Generator().manual_seed(0)).state_dict()
    assert config.num_params(dim_in, dim_out) == sum(weight.numel() for weight in stored.values())
    idle = sum(w.numel() for name, w in stored.items() if name.endswith(("SDF", "SFE"))) / config.experts
    idle *= config.experts - config.top_k
    assert config.num_active_params(dim_in, dim_out) == config.num_params(dim_in, dim_out) - idle


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_training_flops_are_those_that_torch_counts(config):
    # Keys that are unit vectors, and a router that sends them round: even use, so that no row of a block is empty.
    facts = config.experts
    ffn, x = built(config, facts, 8).eval(), torch.eye(facts)
    with torch.no_grad():
        rounds = sum(x.roll(shift, dims=1) for shift in range(config.top_k))
        ffn.w_router_DS.copy_(9.0 * rounds)
        if ffn.bias_S is not None:
            ffn.bias_S.zero_()
    assert ffn.slot_counts(x).tolist() == [config.top_k] * config.experts
    with FlopCounterMode(display=False) as counter:
        ffn(x).sum().backward()
    assert counter.get_total_flops() == facts * config.training_flops(facts, 8)


def test_initial_weights_come_from_the_generator_alone():
    drawn = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        drawn.append(list(CONFIGS[2].build(4, 4, generator=torch.Generator().manual_seed(3)).parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))
    assert all(weight.std() > 0.1 for weight in drawn[0])


def test_where_no_width_is_given_all_experts_together_have_four_times_the_dimension():
    assert ExpertsConfig(experts=8).units(48) * 8 == 4 * 48
    assert ExpertsConfig(experts=6, shared=2).units(48) * 8 == 4 * 48
    assert ExpertsConfig(experts=256).units(16) == 1


# ---- balancing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("top_k", [1, 2])
def test_auxiliary_loss_is_the_published_formula(top_k):
    config = ExpertsConfig(experts=5, top_k=top_k, width=2, auxiliary_coefficient=0.3)
    ffn, x = built(config), keys(20)
    assert ffn.auxiliary_loss() is None
    ffn(x)
    shares = ffn.slot_counts(x).double().numpy() / (20 * top_k)
    mean_softmax = softmax((x @ ffn.w_router_DS).detach().double().numpy(), axis=1).mean(axis=0)
    assert ffn.auxiliary_loss().item() == pytest.approx(0.3 * 5 * (shares * mean_softmax).sum(), rel=1e-5)
    ffn.step_done(0.5)
    assert ffn.auxiliary_loss() is None
    ffn.eval()(x)
    assert ffn.auxiliary_loss() is None


def test_even_use_costs_the_coefficient():
    ffn = built(ExpertsConfig(experts=4, top_k=1, width=2, auxiliary_coefficient=0.3), dim_in=4)
    with torch.no_grad():
        ffn.w_router_DS.copy_(torch.eye(4))
    ffn(torch.eye(4))
    assert ffn.auxiliary_loss().item() == pytest.approx(0.3)


def test_biases_move_against_the_load():
    ffn = built(ExpertsConfig(experts=3, top_k=1, width=2, balancing="bias", bias_rate=0.5), dim_in=3)
    with torch.no_grad():
        ffn.w_router_DS.copy_(torch.eye(3))
        ffn.bias_S.zero_()
    x = torch.eye(3)[[0, 0, 0, 1, 1, 2]]  # loads 3, 2, 1, of which 2 is even
    ffn(x)
    assert ffn.auxiliary_loss() is None
    ffn.step_done(0.2)
    assert ffn.bias_S.tolist() == pytest.approx([-0.4, 0.0, 0.4])
    ffn(x)
    ffn.step_done(1.0)
    assert ffn.bias_S.tolist() == pytest.approx([-0.4, 0.0, 0.4])


def test_biases_choose_and_do_not_weigh():
    """The answer of an expert that a bias has chosen is weighted as if there were none."""
    config = ExpertsConfig(experts=3, top_k=3, width=2, balancing="bias")
    ffn, x = built(config).eval(), keys(9)
    with torch.no_grad():
        before = ffn(x)
        ffn.bias_S += torch.tensor([5.0, 0.0, -5.0])
        assert (ffn(x) - before).abs().max() < 1e-5


@functools.cache
def trained(balancing, top_k=1):
    """Of 120 keys with a common direction; and the KL of the experts' use to even use, in bits."""
    generator = torch.Generator().manual_seed(4)
    common = functional.normalize(torch.randn(1, 12, generator=generator), dim=1)
    keys_ND = functional.normalize(0.35 * torch.randn(120, 12, generator=generator) + common, dim=1)
    zeros = torch.zeros(120, dtype=torch.int64)
    data = KeyValueData(
        keys_ND=keys_ND,
        value_ids_N=torch.randint(8, (120,), generator=generator),
        first_candidates_N=zeros,
        end_candidates_N=zeros + 8,
    )
    codes_VE = functional.normalize(torch.randn(8, 12, generator=generator), dim=1)
    ffn = ExpertsConfig(experts=8, top_k=top_k, width=3, balancing=balancing).build(12, 12, generator=generator)
    fit(
        KeyValueModule(ffn, data, codes_VE, TrainingBudget(steps=200, goal_nats=0.0), generator=generator),
        accelerator="cpu",
    )
    use = ffn.eval().slot_counts(keys_ND).double() / (120 * top_k)
    return ffn, keys_ND, float(torch.special.xlogy(use, 8 * use).sum()) / np.log(2)


@pytest.mark.parametrize("top_k", [1, 2])
def test_both_kinds_of_balancing_even_the_use_out(top_k):
    kl = {balancing: trained(balancing, top_k)[2] for balancing in ("none", "auxiliary", "bias")}
    assert kl["none"] > 0.3
    assert kl["auxiliary"] < kl["none"] / 3
    assert kl["bias"] < kl["none"] / 3


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_biases_are_stored_with_the_weights(precision):
    ffn, x, _ = trained("bias")
    state = ffn.state_dict()
    assert state["bias_S"].abs().min() > 0.01
    packed = pack(state, precision)
    back = ExpertsConfig(experts=8, top_k=1, width=3, balancing="bias").build(12, 12, generator=torch.Generator())
    back.load_state_dict(unpack(packed, {name: tuple(weight.shape) for name, weight in state.items()}, precision))
    assert torch.allclose(back.bias_S, ffn.bias_S, rtol=1e-3)
    moved = (back.slot_counts(x) - ffn.slot_counts(x)).abs().sum()
    assert moved == 0 if precision == "float32" else moved < 12
    with torch.no_grad():
        assert precision != "float32" or torch.equal(back.eval()(x), ffn(x))


def test_a_module_in_training_can_be_copied():
    ffn = built(CONFIGS[1])
    ffn(keys(5))
    ffn.step_done(0.1)
    assert torch.equal(copy.deepcopy(ffn).w_in_SDF, ffn.w_in_SDF)


def test_only_the_router_learns_at_another_rate():
    ffn = built(ExpertsConfig(width=2, router_rate_factor=7.0))
    assert ffn.learning_rate_factors() == {"w_router_DS": 7.0}
    assert ffn.learning_rate_factors().keys() <= dict(ffn.named_parameters()).keys()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"width": 0}, "width must be 1 or more, not 0"),
        ({"experts": 1, "top_k": 1}, "experts must be 2 or more, not 1"),
        ({"experts": 4, "top_k": 5}, "top_k must lie between 1 and experts, which is 4, not 5"),
        ({"top_k": 0}, "top_k must lie between 1 and experts"),
        ({"shared": -1}, "shared must be 0 or more, not -1"),
        ({"auxiliary_coefficient": 0.0}, "auxiliary_coefficient must be more than 0"),
        ({"bias_rate": -1.0}, "bias_rate must be more than 0, not -1.0"),
        ({"router_rate_factor": 0.0}, "router_rate_factor must be more than 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, why):
    with pytest.raises(ValueError, match=why):
        ExpertsConfig(**wrong)
