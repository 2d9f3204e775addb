"""The step that is written out against autograd and torch.optim, in float64; and who takes it."""

import copy
import itertools
from typing import get_args

import pytest
import torch
from torch.nn import functional

from models import read_out_passes
from models.expert_kinds import ExpertsConfig
from models.ffn import DenseFFN
from models.ffn_kinds import Dense, DenseConfig, Gated, GatedConfig, LinearConfig, TopKConfig
from models.fused_step import MOST_RANGES, FusedStep, can_fuse
from models.key_value_training import KeyValueData, KeyValueModule, fit
from models.kind_passes import MOST_EXPERT_UNITS, MOST_SLOTS_A_HEAD, MOST_SLOTS_A_READ, has_passes
from models.layer_passes import ACTIVATION_PASSES
from models.memory_kinds import LookupConfig, OneNeuronExpertsConfig, ProductKeysConfig
from models.optimizers import optimizers_for
from models.precisions import PRECISIONS
from models.read_out_passes import Block
from models.stack_kinds import StackConfig
from models.training_budget import TrainingBudget, TrainingDiverged

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

NUM_FACTS, DIM, CODE_DIM = 50, 7, 6
KINDS = [
    LinearConfig(),
    *(DenseConfig(kind=kind, width=9, bias=bias) for kind in get_args(Dense) for bias in (False, True)),
    *(GatedConfig(kind=kind, width=12, bias=bias) for kind in get_args(Gated) for bias in (False, True)),
    TopKConfig(width=12),
    TopKConfig(width=12, gradient="straight_through"),
    TopKConfig(width=4, active_share=1.0),
]

MIXTURES = [
    ExpertsConfig(experts=5, top_k=1, width=3, activation="relu", balancing="none"),
    ExpertsConfig(experts=5, top_k=2, width=3, activation="gelu", auxiliary_coefficient=3.0),
    ExpertsConfig(experts=4, top_k=3, width=2, activation="swiglu", auxiliary_coefficient=3.0),
    ExpertsConfig(experts=2, top_k=2, width=1, activation="swiglu"),
    *(ExpertsConfig(experts=20, top_k=3, width=2, shared=2, activation=kind) for kind in ("relu", "swiglu")),
]
MEMORIES = [
    kind(sub_keys=sub_keys, heads=heads, dim_key=dim_key, top_k=top_k, weighting=weighting)
    for kind in (ProductKeysConfig, OneNeuronExpertsConfig)
    for sub_keys, heads, dim_key, top_k, weighting in (
        *((3, 2, 4, 4, "scored"), (5, 2, 4, 1, "scored"), (6, 1, 2, 5, "softmax"), (2, 3, 6, 4, "softmax")),
        *((7, 4, 6, 9, "scored"), (1, 2, 2, 1, "scored")),
    )
]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def module_of(config, budget=None, *, num_values=5, ranges=1, rounds_to=None, ffn=None):
    """Facts of relations whose ranges of candidates differ in length, in float64."""
    generator = seeded()
    ends = torch.tensor([-(-num_values * place**2 // ranges**2) for place in range(ranges + 1)])
    relation = torch.arange(NUM_FACTS) % ranges
    first, end = ends[relation], ends[relation + 1]
    data = KeyValueData(
        keys_ND=torch.randn(NUM_FACTS, DIM, generator=generator).double(),
        value_ids_N=first + torch.randint(10**6, (NUM_FACTS,), generator=generator) % (end - first),
        first_candidates_N=first,
        end_candidates_N=end,
    )
    codes = torch.randn(num_values, CODE_DIM, generator=generator).double()
    ffn = (ffn or config.build(DIM, CODE_DIM, generator=generator)).double()
    with torch.no_grad():
        for weight in ffn.parameters():
            if weight.dim() == 1:
                weight.normal_(generator=generator)
    return KeyValueModule(ffn, data, codes, budget or TrainingBudget(), generator=seeded(1), rounds_to=rounds_to)


def fused(module):
    module.configure_optimizers()
    assert isinstance(module._fused, FusedStep)
    return module._fused


def assert_gradients_are_autograds(module):
    step = fused(module)
    for _ in range(3):
        rows, state = next(module._batches), module._generator.get_state()
        loss = module.loss(rows)
        auxiliary = module.backbone.auxiliary_loss()
        asked = loss if auxiliary is None else loss + auxiliary
        expected = dict(module.backbone.named_parameters())
        expected = dict(zip(expected, torch.autograd.grad(asked, list(expected.values())), strict=True))
        module._generator.set_state(state)  # the same noise
        right = loss.new_empty(module.batch_facts, 1)
        step.differentiate(rows, right_B1=right)
        assert float(-right.log().mean()) == pytest.approx(float(loss.detach()), rel=1e-12)
        assert step.adam.gradients.keys() == expected.keys()
        for name, its in expected.items():
            torch.testing.assert_close(step.adam.gradients[name], its, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("config", KINDS + MIXTURES + MEMORIES, ids=lambda config: config.label)
@pytest.mark.parametrize(  # fewer and more values than code dimensions: two ways to read out
    ("num_values", "ranges"),
    [
        (3, 1),
        (40, 1),
        (40, 3),
        (40, "3 apart"),
        *(pytest.param(3, of, marks=pytest.mark.slow) for of in (3, "3 apart")),
    ],
)
def test_gradients_are_those_of_autograd(config, num_values, ranges, monkeypatch):
    if ranges == "3 apart":  # each in a block of its own, as larger ones are
        monkeypatch.setattr(read_out_passes, "MOST_SHARED", 0)
        ranges = 3
    for batch in (NUM_FACTS, 20):
        budget = TrainingBudget(full_batch_up_to=batch, batch_size=batch)
        assert_gradients_are_autograds(module_of(config, budget, num_values=num_values, ranges=ranges))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("bias", [False, True])
def test_gradients_of_rounded_weights_are_those_of_autograd(precision, bias):
    for config in (LinearConfig(), DenseConfig(width=9, bias=bias), GatedConfig(width=12, bias=bias)):
        assert_gradients_are_autograds(module_of(config, rounds_to=precision))
        assert_gradients_are_autograds(module_of(config, num_values=40, ranges=2, rounds_to=precision))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_gradients_of_rounded_weights_with_a_finer_router_are_those_of_autograd(precision):
    for config in (
        ExpertsConfig(experts=5, width=3, shared=1),
        ProductKeysConfig(sub_keys=3, heads=2, router_precision="float16"),
        OneNeuronExpertsConfig(sub_keys=3, heads=2, router_precision="float16"),
    ):
        module = module_of(config, rounds_to=precision)
        assert_gradients_are_autograds(module)
        step, apart = fused(module), module.backbone.stored_apart(precision)
        assert bool(apart) == (precision not in ("float32", "float16"))
        step.differentiate(None, right_B1=module.keys_ND.new_empty(NUM_FACTS, 1))
        for name in apart:
            assert torch.equal(step.adam.weights[name], module.backbone.get_parameter(name).half().double())


@pytest.mark.parametrize("batch", [NUM_FACTS, 20])
def test_gradients_at_noisy_keys_are_those_of_autograd(batch):
    budget = TrainingBudget(full_batch_up_to=batch, batch_size=batch, key_noise=0.4)
    assert_gradients_are_autograds(module_of(DenseConfig(width=9), budget))
    assert_gradients_are_autograds(module_of(LinearConfig(), budget))


@pytest.mark.parametrize("ranges", [1, 3])
def test_a_relation_that_is_not_of_all_values_keeps_to_its_own(ranges):
    """The first values are no candidates of anything."""
    module = module_of(DenseConfig(width=9), num_values=30, ranges=ranges)
    module.codes_VE = torch.cat([module.codes_VE[:4] + 9, module.codes_VE])
    for buffer in (module.value_ids_N, module.first_N, module.end_N):
        buffer += 4
    module._masks = True
    assert_gradients_are_autograds(module)


def torch_steps(ffn, module, optimizer, num_steps):
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, module.budget.steps)
    for _ in range(num_steps):
        optimizer.zero_grad()
        functional.cross_entropy(ffn(module.keys_ND) @ module.codes_VE.T, module.value_ids_N).backward()
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize(("name", "optimizer"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_ten_steps_are_those_of_torch(name, optimizer, weight_decay):
    budget = TrainingBudget(steps=10, optimizer=name, learning_rate=0.03, weight_decay=weight_decay)
    module = module_of(GatedConfig(width=12, bias=True), budget)
    other = copy.deepcopy(module.backbone)
    theirs = optimizer(other.parameters(), lr=0.03, weight_decay=weight_decay)
    torch_steps(other, module, theirs, 10)
    step = fused(module)
    losses = [step.run(num, module._batches, after=after) for num, after in ((3, 0), (7, 3))]
    assert [len(of) for of in losses] == [3, 7]
    for mine, its in zip(module.backbone.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-6, atol=1e-12)
    for (mean, square), state in zip(module.optimizer_moments(), theirs.state.values(), strict=True):
        torch.testing.assert_close(mean, state["exp_avg"].flatten(), rtol=1e-6, atol=1e-12)
        torch.testing.assert_close(square, state["exp_avg_sq"].flatten(), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize(
    "config",
    [
        ExpertsConfig(experts=4, width=3, shared=1, router_rate_factor=7.0),
        ProductKeysConfig(sub_keys=3, heads=2, slot_rate_factor=4.0),
        OneNeuronExpertsConfig(sub_keys=3, heads=2, slot_rate_factor=0.25),
    ],
    ids=lambda config: config.label,
)
def test_steps_at_several_rates_are_those_of_torch(config, optimizer):
    budget = TrainingBudget(steps=10, learning_rate=0.01, optimizer=optimizer, weight_decay=0.1)
    module = module_of(config, budget)
    other = module_of(config, budget)
    [theirs] = optimizers_for(other.backbone, budget)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, budget.steps)
    for _ in range(10):
        theirs.zero_grad()
        loss, auxiliary = other.loss(None), other.backbone.auxiliary_loss()
        (loss if auxiliary is None else loss + auxiliary).backward()
        theirs.step()
        schedule.step()
    step = fused(module)
    step.run(10, module._batches, after=0)
    for (name, mine), its in zip(module.backbone.named_parameters(), other.backbone.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-5, atol=1e-8, msg=name)
    other._optimizers = [theirs]
    for mine, its in zip(module.optimizer_moments(), other.optimizer_moments(), strict=True):
        for moment, its_moment in zip(mine, its, strict=True):
            torch.testing.assert_close(moment, its_moment, rtol=1e-5, atol=1e-12)


class ByAutograd(DenseFFN):
    """A kind of one's own."""


def without_passes(ffn):
    """The same as a kind of one's own."""
    ffn.__class__ = type("Derived", (type(ffn),), {})
    return ffn


@pytest.mark.parametrize(
    ("config", "rounds_to"),
    [
        (ExpertsConfig(width=4), None),
        pytest.param(
            ExpertsConfig(experts=4, top_k=1, width=8, shared=1, activation="relu"), "midrise3", marks=pytest.mark.slow
        ),
        (ProductKeysConfig(sub_keys=8, heads=4), None),
        pytest.param(ProductKeysConfig(sub_keys=8, heads=4, weighting="softmax"), "int6", marks=pytest.mark.slow),
        pytest.param(OneNeuronExpertsConfig(sub_keys=6, heads=4), None, marks=pytest.mark.slow),
    ],
    ids=lambda of: of if isinstance(of, str) or of is None else of.label,
)
def test_mixtures_and_memories_learn_as_much_as_by_autograd(config, rounds_to):
    """In float32, where another road ends at other weights; from two first weights, since one alone varies."""
    right = {False: 0.0, True: 0.0}
    for seed, by_autograd in itertools.product(range(2), right):
        generator = seeded(seed)
        keys = functional.normalize(torch.randn(250, 16, generator=generator), dim=1)
        codes = functional.normalize(torch.randn(16, 16, generator=generator), dim=1)
        data = KeyValueData.of_one_relation(keys, torch.randint(16, (250,), generator=generator), 16)
        ffn = config.build(16, 16, generator=generator)
        if by_autograd:
            ffn = without_passes(ffn)
        budget = TrainingBudget(steps=250, goal_nats=0.0)
        module = KeyValueModule(ffn, data, codes, budget, generator=generator, rounds_to=rounds_to)
        fit(module, accelerator="cpu")
        assert (module._fused is None) == by_autograd
        right[by_autograd] += module.share_right() / 2
    assert right[False] == pytest.approx(right[True], abs=0.04)
    assert right[False] > 0.6


@pytest.mark.parametrize("config", [MIXTURES[1], MEMORIES[0]], ids=lambda config: config.label)
def test_a_mixture_or_memory_that_diverges_is_told(config):
    """What is no number has no place among the largest, and yet none beyond them may be read."""
    module = module_of(config, TrainingBudget(steps=50, learning_rate=1e200))
    with pytest.raises(TrainingDiverged, match=r"the loss is nan after \d+ steps of adam"):
        fit(module, accelerator="cpu")


@pytest.mark.parametrize("rounds_to", [None, pytest.param("midrise3", marks=pytest.mark.slow)])
def test_as_much_is_learned_as_by_autograd(rounds_to):
    generator = seeded()
    keys = functional.normalize(torch.randn(400, 16, generator=generator), dim=1)
    codes = functional.normalize(torch.randn(16, 16, generator=generator), dim=1)
    data = KeyValueData.of_one_relation(keys, torch.randint(16, (400,), generator=generator), 16)
    right = {}
    for kind in (DenseFFN, ByAutograd):
        ffn = kind(DenseConfig(width=32), 16, 16, generator=seeded(3))
        budget = TrainingBudget(steps=1000, goal_nats=0.0)
        module = KeyValueModule(ffn, data, codes, budget, generator=seeded(4), rounds_to=rounds_to)
        fit(module, accelerator="cpu")
        assert (module._fused is None) == (kind is ByAutograd)
        right[kind] = float(((ffn(keys) @ codes.T).argmax(1) == data.value_ids_N).float().mean())
    assert right[DenseFFN] == pytest.approx(right[ByAutograd], abs=0.03)
    assert rounds_to or right[DenseFFN] > 0.9


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_what_diverges_is_told_in_the_words_of_autograd(optimizer):
    told = []
    for kind in (DenseFFN, ByAutograd):
        ffn = kind(DenseConfig(kind="relu", width=9), DIM, CODE_DIM, generator=seeded(3))
        budget = TrainingBudget(steps=50, learning_rate=1e200, optimizer=optimizer)
        with pytest.raises(TrainingDiverged, match=r"the loss is nan after \d+ steps of adam") as error:
            fit(module_of(None, budget, ffn=ffn), accelerator="cpu")
        told.append(str(error.value))
    assert told[0] == told[1]


def test_of_winners_there_are_as_many_as_asked_for():
    module = module_of(TopKConfig(width=40, active_share=0.1))
    step = fused(module)
    step.differentiate(None, right_B1=module.keys_ND.new_empty(NUM_FACTS, 1))
    assert (step._hidden.h_BF > 0).sum(dim=1).tolist() == [4] * NUM_FACTS


def test_every_activation_is_written_out():
    assert ACTIVATION_PASSES.keys() == {*get_args(Dense), *get_args(Gated)}


@pytest.mark.parametrize(
    "config",
    [
        TopKConfig(width=12, annealed=True),
        ExpertsConfig(experts=2, top_k=1, width=4, balancing="bias"),
        ProductKeysConfig(sub_keys=3, heads=2, query_norm="batch"),
        ProductKeysConfig(sub_keys=3, heads=2, query_norm="layer"),
        StackConfig(depth=1, block=DenseConfig(width=4)),
        LookupConfig(rows=4, tables=2),
    ],
    ids=lambda config: config.label,
)
def test_kinds_that_ask_for_more_are_trained_by_autograd(config):
    module = module_of(config)
    module.configure_optimizers()
    assert module._fused is None and module._optimizers


def test_who_takes_a_written_step():
    ffn = DenseConfig(width=3).build(DIM, CODE_DIM, generator=seeded())

    def fuses(ranges=1, **budget):
        first = torch.arange(1000) % ranges
        data = KeyValueData(
            keys_ND=torch.zeros(1000, DIM), value_ids_N=first, first_candidates_N=first, end_candidates_N=first + 1
        )
        return can_fuse(ffn, data, TrainingBudget(**budget), None)

    assert fuses() and fuses(optimizer="adamw")
    assert not fuses(optimizer="sgd") and not fuses(optimizer="muon")
    assert fuses(ranges=MOST_RANGES) and not fuses(ranges=MOST_RANGES + 1)


def test_small_ranges_share_a_block_and_large_ones_do_not():
    bounds = [[0, 4], [4, 6], [6, 100], [100, 90_000], [90_000, 90_001]]
    assert read_out_passes.blocks_of([3, 0, 2, 5, 1], bounds) == [
        Block(0, 5, 0, 100, is_shared=True), Block(5, 10, 100, 90_000), Block(10, 11, 90_000, 90_001)
    ]  # fmt: skip
    assert read_out_passes.blocks_of([0, 7, 0, 0, 0], bounds) == [Block(0, 7, 4, 6)]
    # A value that is a candidate of two ranges belongs to none of them alone.
    assert read_out_passes.blocks_of([1, 1], [[0, 4], [3, 6]]) == [Block(0, 1, 0, 4), Block(1, 2, 3, 6)]


def test_large_mixtures_and_memories_are_without_passes():
    def passes(config, rounds_to=None):
        return has_passes(config.build(4, 4, generator=seeded()), rounds_to)

    most = MOST_EXPERT_UNITS // 8
    assert passes(ExpertsConfig(width=most)) and not passes(ExpertsConfig(width=most + 1))
    assert passes(ExpertsConfig(width=most, shared=3)), "shared experts answer every key"
    for kind in (ProductKeysConfig, OneNeuronExpertsConfig):
        assert MOST_SLOTS_A_READ == 8**2
        assert passes(kind(sub_keys=16, heads=2, top_k=2)) and not passes(kind(sub_keys=17, heads=2, top_k=2))
        assert passes(kind(top_k=MOST_SLOTS_A_HEAD)) and not passes(kind(top_k=MOST_SLOTS_A_HEAD + 1))


def test_sub_keys_rounded_to_ties_are_without_passes():
    def passes(rounds_to, router=None):
        config = ProductKeysConfig(sub_keys=3, router_precision=router)
        return has_passes(config.build(4, 4, generator=seeded()), rounds_to)

    assert [precision for precision in PRECISIONS if passes(precision)] == ["float32", "float16", "int8", "int6"]
    assert all(passes(precision, "float16") for precision in PRECISIONS)
    assert not passes("midrise1", "int4")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gradients_on_a_gpu_are_those_of_autograd():
    for config, ranges in itertools.product((KINDS[0], DenseConfig(width=9), GatedConfig(), TopKConfig()), (1, 3)):
        assert_gradients_are_autograds(module_of(config, ranges=ranges, rounds_to="midrise3").cuda())
    for config, ranges in itertools.product(MIXTURES + MEMORIES, (1, 3)):
        assert_gradients_are_autograds(module_of(config, ranges=ranges, rounds_to="int8").cuda())
