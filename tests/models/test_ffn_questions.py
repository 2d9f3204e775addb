"""What training, storing and reporting ask of every FFN, and its first weights: all answers, from the definitions."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.expert_kinds import ExpertsConfig
from models.ffn_kinds import DenseConfig, GatedConfig, LinearConfig, TopKConfig
from models.memory_kinds import LookupConfig, OneNeuronExpertsConfig, ProductKeysConfig
from models.precisions import BITS, PRECISIONS
from models.presets import PresetConfig
from models.stack_kinds import StackConfig

DENSE = DenseConfig(width=3, bias=True)
GATED = GatedConfig(width=6)
EXPERTS = ExpertsConfig(experts=3, top_k=2, width=4, shared=2, router_rate_factor=2.5, auxiliary_coefficient=0.4)
PRODUCTS = ProductKeysConfig(sub_keys=3, heads=2, slot_rate_factor=0.25, query_norm="batch")
PEER = OneNeuronExpertsConfig(sub_keys=3, heads=2, slot_rate_factor=8.0)
LOOKUP = LookupConfig(rows=5, tables=3)


def built(config, dim_in=4, dim_out=4):
    return config.build(dim_in, dim_out, generator=torch.Generator().manual_seed(0))


def names_of(ffn, tensors):
    of_id = {id(weight): name for name, weight in ffn.named_parameters()}
    return [of_id[id(tensor)] for tensor in tensors]


ANSWERS = [
    # config, rate factors, suspects, input matrices, read-outs, drawn for inputs of length 1
    (LinearConfig(), {}, {}, [], ["w_DE"], []),
    (DENSE, {}, {}, ["w_in_DF"], ["w_out_FE"], []),
    (GATED, {}, {}, ["w_in_DF", "w_gate_DF"], ["w_out_FE"], []),
    (TopKConfig(width=5), {}, {}, ["w_in_DF"], ["w_out_FE"], []),
    (
        EXPERTS,
        {"w_router_DS": 2.5},
        {"router_rate_factor": 0.25, "auxiliary_coefficient": 4.0},
        ["w_in_SDF", "w_gate_SDF", "shared_in_DF", "shared_gate_DF"],
        ["w_out_SFE", "shared_out_FE"],
        [],
    ),
    (
        ExpertsConfig(experts=3, top_k=2, width=4, activation="gelu", balancing="bias", bias_rate=0.05),
        {"w_router_DS": 10.0},
        {"router_rate_factor": 1.0, "bias_rate": 0.5},
        ["w_in_SDF"],
        ["w_out_SFE"],
        [],
    ),
    (
        ExpertsConfig(experts=3, top_k=2, width=4, balancing="none"),
        {"w_router_DS": 10.0},
        {"router_rate_factor": 1.0},
        ["w_in_SDF", "w_gate_SDF"],
        ["w_out_SFE"],
        [],
    ),
    (PRODUCTS, {"values_SE": 0.25}, {"slot_rate_factor": 0.25}, [], ["values_SE"], ["retrieval.w_query_DQ"]),
    (
        PEER,
        {"u_SD": 8.0, "v_SE": 8.0},
        {"slot_rate_factor": 8.0},
        [],
        ["v_SE"],
        ["retrieval.w_query_DQ", "u_SD"],
    ),
    (LOOKUP, {}, {}, [], ["rows_SE"], ["w_gate_DT"]),
    (replace(LOOKUP, gate="none"), {}, {}, [], ["rows_SE"], []),
    (
        StackConfig(depth=2, block=EXPERTS, parallel=True),
        {"blocks.0.w_router_DS": 2.5, "blocks.1.w_router_DS": 2.5},
        {"block.router_rate_factor": 0.25, "block.auxiliary_coefficient": 4.0},
        [],
        [],
        [],
    ),
    (
        StackConfig(depth=1, block=PEER, norm="none"),
        {"blocks.0.u_SD": 8.0, "blocks.0.v_SE": 8.0},
        {"block.slot_rate_factor": 8.0},
        [],
        [],
        [],
    ),
    (
        StackConfig(depth=2, block=PEER, norm="none"),
        {f"blocks.{layer}.{name}": 8.0 for layer in range(2) for name in ("u_SD", "v_SE")},
        {"block.slot_rate_factor": 8.0},
        [],
        [],
        [],
    ),
]


@pytest.mark.parametrize("answers", ANSWERS, ids=lambda answers: answers[0].label)
def test_what_training_asks(answers):
    config, factors, suspects, inputs, read_outs, for_unit_inputs = answers
    ffn = built(config)
    assert ffn.learning_rate_factors() == factors
    assert ffn.divergence_suspects() == pytest.approx(suspects)
    assert names_of(ffn, ffn.input_matrices()) == inputs
    assert names_of(ffn, ffn.read_outs()) == read_outs
    assert names_of(ffn, ffn.drawn_for_unit_inputs()) == for_unit_inputs
    assert ffn.auxiliary_loss() is None and ffn.is_settled()
    has_slots = not isinstance(config, (LinearConfig, DenseConfig, GatedConfig, TopKConfig))
    assert (ffn.slot_counts(torch.ones(2, 4)) is not None) == has_slots


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("router", ["float32", "int8", "int4", "midrise4", None])
def test_routers_are_stored_apart_where_they_have_more_bits(precision, router):
    more = router is not None and BITS[router] > BITS[precision]
    products = built(replace(PEER, router_precision=router))
    of_products = ("retrieval.w_query_DQ", "retrieval.sub_keys_H2NC")
    assert products.stored_apart(precision) == (dict.fromkeys(of_products, router) if more else {})
    assert built(DENSE).stored_apart(precision) == built(LOOKUP).stored_apart(precision) == {}
    if router is not None:
        experts = replace(EXPERTS, router_precision=router)
        assert built(experts).stored_apart(precision) == ({"w_router_DS": router} if more else {})
        stack = built(StackConfig(depth=2, block=experts)).stored_apart(precision)
        assert stack == ({f"blocks.{layer}.w_router_DS": router for layer in range(2)} if more else {})


def test_a_stack_adds_up_the_losses_of_its_blocks_and_strings_their_counts_together():
    stack = built(StackConfig(depth=3, block=EXPERTS, norm="post", residual="plain"))
    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(5))
    stack(x)
    each = [float(block.auxiliary_loss().detach()) for block in stack.blocks]
    assert len(set(each)) == 3
    assert float(stack.auxiliary_loss().detach()) == pytest.approx(sum(each))
    with torch.no_grad():
        stack.eval()
        counts = [block.slot_counts(state) for block, state in zip(stack.blocks, stack.states(x), strict=False)]
        assert stack.slot_counts(x).tolist() == torch.cat(counts).tolist()
        before = built(StackConfig(depth=2, block=EXPERTS)).eval()
        normed = [norm(state) for norm, state in zip(before.norms, before.states(x), strict=False)]
        expected = [block.slot_counts(state).tolist() for block, state in zip(before.blocks, normed, strict=False)]
        assert before.slot_counts(x).tolist() == expected[0] + expected[1]
    stack.step_done(0.5)
    assert stack.auxiliary_loss() is None
    assert built(StackConfig(depth=2, block=DENSE)).slot_counts(x) is None


def test_a_stack_is_settled_once_every_block_is():
    annealed = TopKConfig(width=10, active_share=0.2, annealed=True)
    stack = built(StackConfig(depth=2, block=annealed))
    assert not stack.is_settled()
    stack.blocks[0].step_done(1.0)
    assert not stack.is_settled()
    stack.step_done(0.5)
    assert stack.is_settled()


def test_annealing_silences_units_evenly_over_the_first_half():
    ffn = built(TopKConfig(width=20, active_share=0.1, annealed=True), dim_in=60)
    x = ffn.w_in_DF.detach().sum(1, keepdim=True).T  # most units are on
    on = int((x @ ffn.w_in_DF > 0).sum())
    for progress, winners in ((0.0, 20), (0.1, 16), (0.26, 11), (0.4, 6), (0.5, 2), (0.9, 2)):
        ffn.step_done(progress)
        assert int((ffn.hidden(x) > 0).sum()) == min(winners, on)
        assert ffn.is_settled() == (winners == 2)
    never = built(TopKConfig(width=20, active_share=0.1), dim_in=60)
    never.step_done(0.1)
    assert never.is_settled() and int((never.hidden(x) > 0).sum()) == 2


def test_gradients_of_winners_go_straight_through_or_to_them_alone():
    weights, grads = torch.tensor([[1.0, 0.75, 0.5, -1.0]]), {}
    for gradient in ("winners", "straight_through"):
        ffn = TopKConfig(width=4, active_share=0.25, gradient=gradient).build(1, 2, generator=torch.Generator())
        with torch.no_grad():
            ffn.w_in_DF.copy_(weights)
            ffn.w_out_FE.copy_(torch.tensor([[1.0, 2.0], [3.0, 5.0], [7.0, 11.0], [13.0, 17.0]]))
        out = ffn(torch.tensor([[2.0]]))
        assert out.tolist() == [[2.0, 4.0]]
        out.sum().backward()
        grads[gradient] = ffn.w_in_DF.grad.tolist()
    assert grads == {"winners": [[6.0, 0, 0, 0]], "straight_through": [[6.0, 16.0, 36.0, 0]]}


def spread_of(weight):
    return float(weight.detach().double().square().mean().sqrt())


def test_first_weights_have_the_spread_of_their_fan_in():
    """Uniform within 1 / sqrt(fan-in) has the deviation of that over sqrt(3); slots and queries are normal."""
    ffns = {
        "dense": (DenseConfig(width=300, bias=True), {"w_in_DF": 50, "w_out_FE": 300}),
        "gated": (GatedConfig(width=400), {"w_in_DF": 50, "w_gate_DF": 50, "w_out_FE": 246}),
        "linear": (LinearConfig(), {"w_DE": 50}),
        "experts": (
            ExpertsConfig(experts=20, top_k=1, width=30, shared=7),
            {"w_router_DS": 50, "w_in_SDF": 50, "w_gate_SDF": 50, "w_out_SFE": 30}
            | {"shared_in_DF": 50, "shared_gate_DF": 50, "shared_out_FE": 210},
        ),
    }
    for config, fan_ins in ffns.values():
        ffn = built(config, 50, 30)
        for name, weight in ffn.named_parameters():
            if name.startswith("b_"):
                assert not weight.any()
                continue
            bound = fan_ins[name] ** -0.5
            assert spread_of(weight) == pytest.approx(bound / math.sqrt(3), rel=0.05), name
            assert 0.98 * bound < float(weight.detach().abs().max()) <= bound * (1 + 1e-6)
    peer = built(OneNeuronExpertsConfig(sub_keys=30, heads=9, dim_key=14), 50, 30)
    lookup = built(LookupConfig(rows=400, tables=40), 50, 30)
    products = built(ProductKeysConfig(sub_keys=30), 50, 30)
    expected = {
        peer.retrieval.w_query_DQ: 1.0,
        peer.retrieval.sub_keys_H2NC: 7**-0.5,
        peer.u_SD: 1.0,
        peer.v_SE: 30**-0.5,
        products.values_SE: 30**-0.5,
        lookup.rows_SE: 30**-0.5,
        lookup.w_gate_DT: 1.0,
    }
    for weight, deviation in expected.items():
        assert spread_of(weight) == pytest.approx(deviation, rel=0.05)


def test_running_statistics_of_queries_start_as_those_of_the_standard_normal_and_follow_the_keys():
    ffn = built(PRODUCTS)
    retrieval = ffn.retrieval
    assert retrieval.mean_Q.tolist() == [0.0] * 8 and retrieval.variance_Q.tolist() == [1.0] * 8
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    queries = (x @ retrieval.w_query_DQ).detach()
    normalised = (queries - queries.mean(0)) / (queries.var(0, correction=0) + 1e-5).sqrt()
    found = retrieval.train().queries(x).detach()
    torch.testing.assert_close(found.flatten(1), normalised)
    torch.testing.assert_close(retrieval.mean_Q, 0.1 * queries.mean(0))
    torch.testing.assert_close(retrieval.variance_Q, 0.9 + 0.1 * queries.var(0))
    pair = x[:2]
    retrieval.queries(pair)
    torch.testing.assert_close(
        retrieval.mean_Q, 0.9 * 0.1 * queries.mean(0) + 0.1 * (pair @ retrieval.w_query_DQ).detach().mean(0)
    )


@pytest.mark.parametrize("balancing", ["auxiliary", "bias", "none"])
def test_uneven_use_is_charged_or_moves_the_biases(balancing):
    """Six keys, loads 4, 2, 0 of experts that softmax prefers 3 : 2 : 1 at most."""
    config = ExpertsConfig(experts=3, top_k=1, width=2, balancing=balancing, auxiliary_coefficient=0.7, bias_rate=0.3)
    ffn = built(config, 3, 2)
    with torch.no_grad():
        ffn.w_router_DS.copy_(torch.tensor([[3.0, 2.0, 1.0], [2.0, 3.0, 1.0], [0, 0, 0]]).clamp(min=1e-9).log())
    x = torch.eye(3)[[0, 0, 0, 0, 1, 1]]
    ffn(x)
    loss = ffn.auxiliary_loss()
    if balancing == "auxiliary":
        mean_softmax = np.array([4 * 3 + 2 * 2, 4 * 2 + 2 * 3, 6]) / 36
        assert float(loss.detach()) == pytest.approx(0.7 * 3 * (np.array([4, 2, 0]) / 6 * mean_softmax).sum())
    else:
        assert loss is None
    ffn.step_done(0.75)
    if balancing == "bias":
        assert ffn.bias_S.tolist() == pytest.approx([-0.075, 0.0, 0.075])
    else:
        assert ffn.bias_S is None
    ffn.step_done(0.75)
    assert ffn.auxiliary_loss() is None


def test_deep_norm_draws_and_enlarges_by_the_depth():
    """beta = (8 M)^(-1/4) on Xavier's deviation; alpha = (2 M)^(1/4) on the stream."""
    config = StackConfig(depth=6, block=DenseConfig(width=150), residual="deepnorm", norm="post", parallel=True)
    stack = built(config, 90, 90)
    for layer in (0, 5):
        block, branch = stack.blocks[layer], stack.branches[layer]
        for weight, fans in ((block.w_in_DF, 240), (block.w_out_FE, 240), (branch.w_DE, 180)):
            assert spread_of(weight) == pytest.approx(48**-0.25 * math.sqrt(2 / fans), rel=0.03)
    # The number of experts is no fan of any of them.
    many = StackConfig(depth=2, block=ExpertsConfig(experts=60, width=20), residual="deepnorm", norm="post")
    for weight in (built(many, 30, 30).blocks[1].w_in_SDF, built(many, 30, 30).blocks[1].w_out_SFE):
        assert spread_of(weight) == pytest.approx(16**-0.25 * math.sqrt(2 / 50), rel=0.03)
    table = StackConfig(depth=6, block=LookupConfig(rows=300, tables=5), residual="deepnorm", norm="post")
    assert spread_of(built(table, 90, 90).blocks[5].rows_SE) == pytest.approx(48**-0.25 / math.sqrt(90), rel=0.03)


def test_presets_answer_like_their_stacks():
    preset = PresetConfig(kind="mixtral", depth=2, width=3)
    assert preset.training_flops(5, 4) == preset.stack.training_flops(5, 4)
    assert preset.num_active_params(5, 4) == preset.stack.num_active_params(5, 4) < preset.num_params(5, 4)
    assert preset.resized(9).width == 9 and preset.resized(9).depth == 2
