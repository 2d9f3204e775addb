"""Names, parameters and FLOPs of every kind for keys of 7 and outputs of 5 numbers, counted by hand; and the limits."""

from dataclasses import replace

import pytest
import torch

from models.any_ffn import sized
from models.expert_kinds import ExpertsConfig
from models.ffn_kinds import DenseConfig, GatedConfig, LinearConfig, TopKConfig
from models.memory_kinds import (
    LookupConfig,
    OneNeuronExpertsConfig,
    ProductKeysConfig,
    reads_densely,
    slots_multiplied,
)
from models.precisions import BITS, INTEGER_BITS, MIDRISE_BITS, PRECISIONS
from models.presets import STACKS, PresetConfig
from models.residual_schemes import layerscale_start
from models.stack_kinds import StackConfig

# (config, family, label, size, parameters, active parameters, FLOPs of a training step)
BY_HAND = [
    (LinearConfig(), "linear", "linear", None, 35, 35, 140),
    # 28 units: 28 x 12; 28 x (4 x 7 + 6 x 5)
    (DenseConfig(), "gelu", "gelu-4d", None, 336, 336, 1624),
    # and 28 + 5 biases
    (DenseConfig(kind="relu", bias=True), "relu-bias", "relu-bias-4d", None, 369, 369, 1624),
    (DenseConfig(kind="silu", width=3), "silu", "silu-3", 3, 36, 36, 174),
    # 28 x 12 / 19 = 17.7 units, 17 of them: 17 x 19; 17 x (8 x 7 + 6 x 5)
    (GatedConfig(), "swiglu", "swiglu-4d", None, 323, 323, 1462),
    # 10 x 12 / 19 = 6.3: 6 x 19, and 2 x 6 + 5 biases
    (GatedConfig(kind="glu", width=10, bias=True), "glu-bias", "glu-bias-10", 10, 131, 131, 516),
    (GatedConfig(kind="reglu", width=1), "reglu", "reglu-1", 1, 19, 19, 86),
    # 7 of 28 units speak: 28 x 7 + 7 x 5
    (TopKConfig(), "topk25%", "topk25%-4d", None, 336, 231, 1624),
    # a tenth of 18 is 2: 18 x 12; 18 x 7 + 2 x 5; 18 x 58
    (
        TopKConfig(width=18, active_share=0.1, annealed=True, gradient="straight_through"),
        "topk10%-annealed-through", "topk10%-annealed-through-18", 18, 216, 136, 1044,
    ),
    (TopKConfig(width=4, active_share=0.01), "topk1%", "topk1%-4", 4, 48, 33, 232),
    # 28 // 8 = 3 units each: router 8 x 7, experts 8 x 3 x 19; 2 of 8 answer; 4 x 56 + 2 x 3 x 86
    (
        ExpertsConfig(),
        "experts8-top2-swiglu-auxiliary0.1", "experts8-top2-swiglu-auxiliary0.1-4d", None, 512, 170, 740,
    ),
    # router and biases 6 x 8, experts 7 x 3 x 19, 3 of which answer; 4 x 42 + 3 x 258
    (
        ExpertsConfig(
            experts=6, top_k=2, width=3, shared=1, balancing="bias", bias_rate=0.25, router_rate_factor=3.0,
            router_precision="int8",
        ),
        "experts6-top2-swiglu-shared1-bias0.25-rate3-router-int8",
        "experts6-top2-swiglu-shared1-bias0.25-rate3-router-int8-3", 3, 447, 219, 942,
    ),
    # two matrices: router 3 x 7, experts 5 x 4 x 12; 3 of 5 answer; 4 x 21 + 3 x 4 x 58
    (
        ExpertsConfig(experts=3, top_k=1, width=4, shared=2, activation="relu", balancing="none"),
        "experts3-top1-relu-shared2", "experts3-top1-relu-shared2-4", 4, 261, 165, 780,
    ),
    # 28 // 5 = 5 units each: router 3 x 7, experts 5 x 5 x 12; all answer
    (
        ExpertsConfig(experts=3, top_k=3, shared=2, activation="gelu"),
        "experts3-top3-gelu-shared2-auxiliary0.1", "experts3-top3-gelu-shared2-auxiliary0.1-4d", None, 321, 321, 1534,
    ),
    # queries and sub-keys 8 x 4 x (7 + 16), slots 256 x 5, of which 32 are read and all multiplied
    (
        ProductKeysConfig(),
        "product-keys-8x4-top4", "product-keys-8x4-top4-256", 16, 2016, 896, 32 * (28 + 96) + 256 * 30,
    ),
    # 3 x 6 x (7 + 11 + 2), slots 121 x 5, of which 6 are read and multiplied
    (
        ProductKeysConfig(
            sub_keys=11, heads=3, dim_key=6, top_k=2, query_norm="batch", weighting="softmax", slot_rate_factor=2.5,
            router_precision="float16",
        ),
        "product-keys-3x6-top2-batchnorm-softmax-rate2.5-router-float16",
        "product-keys-3x6-top2-batchnorm-softmax-rate2.5-router-float16-121", 11, 965, 390, 18 * (28 + 66) + 6 * 30,
    ),
    # 5 x 4 x (7 + 2), slots 4 x 5: 15 reads of 4 slots are 4 at most
    (
        ProductKeysConfig(sub_keys=2, heads=5, top_k=3, query_norm="layer"),
        "product-keys-5x4-top3-layernorm", "product-keys-5x4-top3-layernorm-4", 2, 200, 200, 20 * (28 + 12) + 4 * 30,
    ),
    # 2 x 4 x (7 + 9), experts 81 x 12, of which 2 are read; 81 > 16 x 2
    (
        OneNeuronExpertsConfig(sub_keys=9, heads=2, top_k=1, activation="relu"),
        "peer-relu-2x4-top1", "peer-relu-2x4-top1-81", 9, 1100, 152, 8 * (28 + 54) + 2 * 58,
    ),
    # 3 x 2 x (7 + 3), experts 9 x 12: 12 reads are 9 at most
    (
        OneNeuronExpertsConfig(sub_keys=3, heads=3, dim_key=2),
        "peer-gelu-3x2-top4", "peer-gelu-3x2-top4-9", 3, 168, 168, 6 * (28 + 18) + 9 * 58,
    ),
    # gates 8 x 7, rows 8 x 128 x 5, of which 8 are read; hashing 2 x 64 x 15, gates 4 x 56, reading 8 x 6 x 5
    (LookupConfig(), "lookup-8tables", "lookup-8tables-128", 128, 5176, 96, 1920 + 224 + 240),
    # no gates; rows 3 x 4 x 5, all multiplied: hashing 2 x 20 x 10, reading 12 x 4 x 5
    (
        LookupConfig(rows=4, tables=3, gate="none", num_signs=20, hash_seed=7),
        "lookup-3tables-gate-none-20signs-hash7", "lookup-3tables-gate-none-20signs-hash7-4", 4, 60, 15, 400 + 240,
    ),
    (
        LookupConfig(rows=17, tables=3, gate="sigmoid"),
        "lookup-3tables-gate-sigmoid", "lookup-3tables-gate-sigmoid-17", 17, 276, 36, 2 * 64 * 10 + 84 + 3 * 30,
    ),
    # blocks 4 x 28 x 14, norms 5 x 7, read-out 7 x 5; 6 x (4 x 392 + 35)
    (StackConfig(), "4xgelu-plain-pre", "4xgelu-plain-pre-4d", None, 1638, 1638, 9618),
    # blocks 3 x 2 x 14, norms 3 x 7, branches 3 x 49, read-out 35; 6 x (3 x (28 + 49) + 35)
    (
        StackConfig(
            depth=3, block=DenseConfig(kind="relu", width=2), residual="deepnorm", norm="post", normaliser="rms",
            parallel=True,
        ),
        "3xrelu-deepnorm-post-rms-parallel", "3xrelu-deepnorm-post-rms-parallel-2", 2, 287, 287, 1596,
    ),
    # blocks 2 x 14, scales 2 x 7, read-out 35
    (
        StackConfig(depth=2, block=DenseConfig(width=1), residual="layerscale", norm="none"),
        "2xgelu-layerscale", "2xgelu-layerscale-1", 1, 77, 77, 6 * (28 + 35),
    ),
    # blocks 2 x 1 x 21, norms 3 x 7, scales 2
    (
        StackConfig(depth=2, block=GatedConfig(width=2), residual="rezero"),
        "2xswiglu-rezero-pre", "2xswiglu-rezero-pre-2", 2, 100, 100, 6 * (42 + 35),
    ),
    # blocks 2 x (56 x 2), of which 2 x (4 x 7 + 1 x 7)
    (
        StackConfig(depth=2, block=TopKConfig(width=4, active_share=0.3), norm="none", residual="none"),
        "2xtopk30%-none", "2xtopk30%-none-4", 4, 147, 105, 6 * (70 + 35),
    ),
    # blocks 3 x 21 x 4, norms 4 x 7, read-out 35
    (PresetConfig(kind="llama", depth=3, width=6), "llama-3", "llama-3x6", 6, 315, 315, 6 * (252 + 35)),
    (PresetConfig(kind="bert", depth=1), "bert-1", "bert-1xusual", None, 469, 469, 6 * (392 + 35 + 35)),
]  # fmt: skip


@pytest.mark.parametrize("by_hand", BY_HAND, ids=lambda by_hand: by_hand[2])
def test_names_and_counts_are_those_by_hand(by_hand):
    config, family, label, size, parameters, active, flops = by_hand
    assert (config.family, config.label) == (family, label)
    assert getattr(config, "size", None) == size
    counted = config.num_params(7, 5), config.num_active_params(7, 5), config.training_flops(7, 5)
    assert counted == (parameters, active, flops)


def test_precisions_have_the_bits_that_their_names_say():
    assert (
        *("float32", "float16", "int8", "int6", "int4", "int3"),
        *("midrise4", "midrise3", "midrise2", "midrise1"),
    ) == PRECISIONS
    assert INTEGER_BITS == {"int8": 8, "int6": 6, "int4": 4, "int3": 3}
    assert MIDRISE_BITS == {"midrise4": 4, "midrise3": 3, "midrise2": 2, "midrise1": 1}
    assert BITS == {"float32": 32, "float16": 16, **INTEGER_BITS, **MIDRISE_BITS}


def test_tables_of_sixteen_slots_for_each_slot_read_are_multiplied_whole():
    assert [reads_densely(num_slots, 3) for num_slots in (1, 47, 48, 49)] == [True, True, True, False]
    assert [slots_multiplied(num_slots, 3) for num_slots in (48, 49)] == [48, 3]


MIXTURE = ExpertsConfig(experts=5, top_k=2)
PRODUCTS = ProductKeysConfig(sub_keys=3, heads=2)
TAKEN = [
    *(replace(config, width=1) for config in (DenseConfig(), GatedConfig(), TopKConfig(), MIXTURE, PresetConfig())),
    *(TopKConfig(active_share=share) for share in (0.01, 1.0)),
    ExpertsConfig(experts=2, top_k=1),
    *(replace(MIXTURE, top_k=top_k) for top_k in (1, 5)),
    *(replace(MIXTURE, **{name: 1e-9}) for name in ("auxiliary_coefficient", "bias_rate", "router_rate_factor")),
    *(replace(PRODUCTS, top_k=top_k) for top_k in (1, 9)),
    replace(PRODUCTS, heads=1),
    replace(PRODUCTS, dim_key=2),
    replace(PRODUCTS, dim_key=4, query_norm="layer"),
    replace(PRODUCTS, dim_key=2, query_norm="batch"),
    replace(PRODUCTS, top_k=2, weighting="softmax"),
    replace(PRODUCTS, slot_rate_factor=1e-9),
    ProductKeysConfig(sub_keys=1, top_k=1),
    *(LookupConfig(**{name: 1}) for name in ("rows", "tables", "num_signs")),
    StackConfig(depth=1),
    PresetConfig(depth=1),
    StackConfig(residual="deepnorm", norm="post"),
    StackConfig(residual="none"),
]
REFUSED = [
    (TopKConfig, {"active_share": 0.0099}, "active_share must lie between .01 and 1, not 0.0099"),
    (TopKConfig, {"active_share": 1.01}, "active_share must lie between .01 and 1, not 1.01"),
    (ExpertsConfig, {"experts": 5, "top_k": 6}, "top_k must lie between 1 and experts, which is 5, not 6"),
    (ExpertsConfig, {"auxiliary_coefficient": 0.0}, "auxiliary_coefficient must be more than 0, not 0.0"),
    (ExpertsConfig, {"bias_rate": 0.0}, "bias_rate must be more than 0, not 0.0"),
    (ExpertsConfig, {"router_rate_factor": 0.0}, "router_rate_factor must be more than 0, not 0.0"),
    (ProductKeysConfig, {"sub_keys": 3, "top_k": 10}, "top_k 10 is more than the 9 slots of sub_keys 3"),
    (ProductKeysConfig, {"dim_key": 5}, "dim_key must be even, since a query has two halves, not 5"),
    (
        ProductKeysConfig,
        {"dim_key": 2, "query_norm": "layer"},
        "query_norm layer over 2 numbers leaves only their order: dim_key must be 4 or more",
    ),
    (StackConfig, {"residual": "deepnorm", "norm": "none"}, "norm must be post, not none"),
    (PresetConfig, {"depth": 0}, "depth must be 1 or more, not 0"),
]


def test_every_setting_is_taken_up_to_its_limit():
    for config in TAKEN:
        assert config == replace(config)  # made anew, it is checked anew


@pytest.mark.parametrize(("kind", "given", "why"), REFUSED)
def test_every_setting_is_refused_beyond_its_limit(kind, given, why):
    with pytest.raises(ValueError) as refused:
        kind(**given)
    assert str(refused.value).endswith(why)


@pytest.mark.parametrize(("normaliser", "least"), [("layer", 3), ("rms", 2)])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_norms_need_dimensions_enough_to_leave_more_than_signs(normaliser, least, norm):
    stack = StackConfig(depth=1, block=DenseConfig(width=1), norm=norm, normaliser=normaliser)
    norms = 2 if norm == "pre" else 1
    assert stack.num_params(least, least) == 2 * least + norms * least
    with pytest.raises(ValueError, match=f"over {least - 1} numbers .* the keys need {least} dimensions or more"):
        stack.num_params(least - 1, 5)
    assert replace(stack, norm="none").num_params(1, 1) == 2


def test_layerscale_starts_smaller_from_19_and_from_25_blocks_on():
    assert [layerscale_start(depth) for depth in (1, 18, 19, 24, 25, 60)] == [0.1, 0.1, 1e-5, 1e-5, 1e-6, 1e-6]


def test_presets_are_these_stacks():
    gelu, swiglu = DenseConfig(kind="gelu", bias=True), GatedConfig(kind="swiglu")
    mixture = ExpertsConfig(experts=8, top_k=2, activation="swiglu", shared=0, balancing="auxiliary")
    fine = ExpertsConfig(experts=15, top_k=3, activation="swiglu", shared=1, balancing="bias")
    of_rms = {"norm": "pre", "normaliser": "rms", "parallel": False}
    of_layer = {"norm": "pre", "normaliser": "layer", "parallel": False}
    blocks = {
        "gpt2": (gelu, of_layer),
        "bert": (gelu, {**of_layer, "norm": "post"}),
        "gptj": (gelu, {**of_layer, "parallel": True}),
        "palm": (swiglu, {**of_layer, "parallel": True}),
        "llama": (swiglu, of_rms),
        "mixtral": (mixture, of_rms),
        "deepseek": (fine, of_rms),
    }
    assert {name: replace(stack, depth=9) for name, stack in STACKS.items()} == {
        name: StackConfig(depth=9, block=block, residual="plain", **around) for name, (block, around) in blocks.items()
    }
    wide = PresetConfig(kind="mixtral", depth=3, width=11).stack
    assert wide == StackConfig(depth=3, block=replace(mixture, width=11), **of_rms)


def test_sizes_at_a_budget_are_those_by_hand():
    """A ReLU layer from 7 to 5 numbers takes 12 parameters a unit; 9 of its k winners' 12 are read where k is 1."""
    relu = DenseConfig(kind="relu")
    assert [sized(relu, budget, 7, 5).size for budget in (12, 23, 24, 12_000, 12_011)] == [1, 1, 2, 1000, 1000]
    with pytest.raises(ValueError, match="^relu has 12 parameters at least, more than 11$"):
        sized(relu, 11, 7, 5)
    # Three units of 7 and a winner of 5 are 26; four are 33.
    few = TopKConfig(active_share=0.01)
    assert [sized(few, budget, 7, 5, active=True).size for budget in (12, 26, 32, 33)] == [1, 3, 3, 4]
    with pytest.raises(ValueError, match="^topk1% has 12 active parameters at least, more than 11$"):
        sized(few, 11, 7, 5, active=True)
    assert sized(LinearConfig(), 35, 7, 5) == LinearConfig()
    with pytest.raises(ValueError, match="^linear has 35 parameters at least, more than 34$"):
        sized(LinearConfig(), 34, 7, 5)
    lookup = LookupConfig(tables=2, gate="none")
    assert sized(lookup, 70, 7, 5).rows == 7
    message = "^lookup-2tables-gate-none has 10 active parameters in every size: give num_params instead$"
    with pytest.raises(ValueError, match=message):
        sized(lookup, 10, 7, 5, active=True)
    # Slots for four to be read: 2 x 2 sub-keys at least.
    products = ProductKeysConfig(heads=1, dim_key=2, top_k=4)
    assert [sized(products, budget, 7, 5).sub_keys for budget in (38, 64, 65)] == [2, 2, 3]
    assert [products.resized(size).sub_keys for size in (1, 2, 3)] == [2, 2, 3]
    assert replace(products, top_k=3).resized(1).sub_keys == 2
    assert OneNeuronExpertsConfig(heads=1, top_k=5).resized(1).sub_keys == 3


def test_what_was_built_is_what_was_counted():
    for config, *_, parameters, _active, _flops in BY_HAND:
        built = config.build(7, 5, generator=torch.Generator().manual_seed(0))
        assert sum(stored.numel() for stored in built.state_dict().values()) == parameters
