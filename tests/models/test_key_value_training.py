"""The Lightning training against a bare loop in float64; its goals, caps and batches."""

import copy
import math
import os
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from models.ffn import DenseFFN
from models.ffn_kinds import DenseConfig, GatedConfig
from models.key_value_training import KeyValueData, KeyValueModule, fit
from models.training_budget import STEPS_A_LOOK, TrainingBudget, TrainingDiverged, what_to_lower

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


def make(num_facts=40, num_values=6, budget=None, ends=None, kind="relu", seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(num_facts, 8, generator=generator).to(dtype)
    values = torch.randint(num_values, (num_facts,), generator=generator)
    first = torch.zeros(num_facts, dtype=torch.int64)
    end = torch.full((num_facts,), num_values) if ends is None else ends
    data = KeyValueData(keys_ND=keys, value_ids_N=values, first_candidates_N=first, end_candidates_N=end)
    codes = functional.normalize(torch.randn(num_values, 8, generator=generator), dim=1).to(dtype)
    config = GatedConfig(width=16) if kind == "swiglu" else DenseConfig(kind=kind, width=16)
    ffn = config.build(8, 8, generator=generator).to(dtype)
    return ffn, data, codes, KeyValueModule(ffn, data, codes, budget or TrainingBudget(steps=250), generator=generator)


def bare_loop(ffn, data, codes, budget, num_steps, batches=None):
    """What the Lightning module must equal: Adam, cosine schedule, cross-entropy. Returns the losses."""
    losses = []
    optimizer = torch.optim.Adam(ffn.parameters(), lr=budget.learning_rate, fused=True)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, budget.steps)
    for _ in range(num_steps):
        rows = slice(None) if batches is None else next(batches)
        loss = functional.cross_entropy(ffn(data.keys_ND[rows]) @ codes.T, data.value_ids_N[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(float(loss.detach()))
    return losses


def assert_same_weights(ffn, other):
    for mine, its in zip(ffn.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-9, atol=1e-12)


class ByAutograd(DenseFFN):
    """A kind of one's own, for which no step is written out."""


def test_full_batch_training_equals_a_bare_loop():
    budget = TrainingBudget(steps=250, goal_nats=0.0)
    ffn, data, codes, module = make(budget=budget, dtype=torch.float64)
    other = copy.deepcopy(ffn)
    fit(module, accelerator="cpu")
    bare_loop(other, data, codes, budget, 250)
    assert module.steps_done == 250
    assert_same_weights(ffn, other)


def test_a_kind_of_ones_own_is_trained_by_autograd_bit_for_bit():
    budget = TrainingBudget(steps=250, goal_nats=0.0)
    _, data, codes, _ = make()
    ffn = ByAutograd(DenseConfig(kind="relu", width=16), 8, 8, generator=torch.Generator().manual_seed(1))
    other = copy.deepcopy(ffn)
    fit(KeyValueModule(ffn, data, codes, budget, generator=torch.Generator()), accelerator="cpu")
    bare_loop(other, data, codes, budget, 250)
    for mine, its in zip(ffn.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, its)


OF_OTHERS = {
    "slurm": {"SLURM_NTASKS": "16", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "exp", "SLURM_PROCID": "3"},
    "srun": {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "exp", "SLURM_NTASKS_PER_NODE": "2", "SLURM_STEP_ID": "0"},
    "torchrun": {"RANK": "1", "LOCAL_RANK": "1", "GROUP_RANK": "0", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "8"}
    | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "x", "NODE_RANK": "none"},
    "lsf": {"LSB_JOBID": "5", "LSB_DJOB_RANKFILE": "none", "JSM_NAMESPACE_LOCAL_RANK": "1", "JSM_NAMESPACE_SIZE": "2"},
    "mpi": {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2", "PMI_RANK": "2"},
    "kubeflow": {"KUBERNETES_PORT": "tcp://", "MASTER_ADDR": "m", "MASTER_PORT": "1", "WORLD_SIZE": "2", "RANK": "1"},
    "lightning": {"PL_TRAINER_MAX_STEPS": "1", "PL_TRAINER_STRATEGY": "ddp", "PL_TRAINER_NUM_NODES": "2"}
    | {"PL_TRAINER_FAST_DEV_RUN": "True", "PL_TRAINER_PRECISION": "bf16-true", "PL_GLOBAL_SEED": "3"}
    | {
        "PL_TRAINER_LIMIT_TRAIN_BATCHES": "0",
        "PL_TRAINER_MAX_TIME": "00:00:00:00",
        "PL_TRAINER_GRADIENT_CLIP_VAL": "1",
    },
}


@pytest.mark.parametrize("whose", OF_OTHERS)
def test_variables_meant_for_others_change_nothing(whose, monkeypatch):
    budget = TrainingBudget(steps=110, goal_nats=0.0)
    ffn, data, codes, module = make(budget=budget, dtype=torch.float64)
    other = copy.deepcopy(ffn)
    bare_loop(other, data, codes, budget, 110)
    for name, value in OF_OTHERS[whose].items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    assert fit(module, accelerator="cpu") == "cpu"
    assert (module.steps_done, dict(os.environ)) == (110, before)
    assert_same_weights(ffn, other)


def test_minibatch_training_equals_a_bare_loop():
    budget = TrainingBudget(steps=130, goal_nats=0.0, full_batch_up_to=10, batch_size=12)
    ffn, data, codes, module = make(budget=budget, dtype=torch.float64)
    other, generator = copy.deepcopy(ffn), torch.Generator()
    generator.set_state(module._generator.get_state())

    def batches():
        while True:
            order = torch.randperm(40, generator=generator)
            for start in range(0, 36, 12):
                yield order[start : start + 12]

    fit(module, accelerator="cpu")
    bare_loop(other, data, codes, budget, 130, batches())
    assert_same_weights(ffn, other)


def test_the_goal_is_one_of_the_mean_over_a_hundred_steps():
    budget = TrainingBudget(steps=400, goal_nats=0.0)
    ffn, data, codes, _ = make(budget=budget)
    second = torch.tensor(bare_loop(ffn, data, codes, budget, 200)[100:])
    assert second[-1] < 0.95 * second.mean()
    for goal, steps in ((float(second.mean()) * 1.001, 200), (float(second[-1]) * 1.001, 300)):
        *_, module = make(budget=TrainingBudget(steps=400, goal_nats=goal))
        fit(module, accelerator="cpu")
        assert module.steps_done == steps


def test_training_ends_at_the_goal():
    _, _, _, module = make(num_facts=10, num_values=4, budget=TrainingBudget(steps=5000, goal_nats=0.05))
    fit(module, accelerator="cpu")
    assert module.steps_done < 5000
    assert module.steps_done % STEPS_A_LOOK == 0
    assert module.succeeded
    assert float(module.loss(None).detach()) < 0.05


def test_training_that_hits_its_cap_in_seconds_says_so():
    _, _, _, module = make(budget=TrainingBudget(steps=10**6, goal_nats=0.0, max_seconds=0.0))
    fit(module, accelerator="cpu")
    assert module.steps_done == STEPS_A_LOOK
    assert not module.succeeded


def test_loss_is_over_the_candidates_of_each_key_alone():
    ends = torch.tensor([3, 6] * 20)
    ffn, data, codes, module = make(ends=ends)
    values = torch.minimum(data.value_ids_N, ends - 1)
    module.value_ids_N = values
    logits = ffn(data.keys_ND) @ codes.T
    expected = torch.stack(
        [functional.cross_entropy(logits[row, : ends[row]], values[row]) for row in range(40)]
    ).mean()
    assert float(module.loss(None).detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_every_fact_is_shown_once_a_pass():
    _, _, _, module = make(num_facts=30, budget=TrainingBudget(full_batch_up_to=4, batch_size=10))
    one_pass = torch.cat([next(module._batches) for _ in range(3)])
    assert sorted(one_pass.tolist()) == list(range(30))
    assert module.batch_facts == 10


def test_optimizer_moments_are_those_of_adam():
    ffn, _, _, module = make(budget=TrainingBudget(steps=100))
    assert module.optimizer_moments() == [[], []]
    fit(module, accelerator="cpu")
    sizes = [[moment.numel() for moment in moments] for moments in module.optimizer_moments()]
    assert sizes == [[weight.numel()] * 2 for weight in ffn.parameters()]
    assert all(math.isfinite(float(moment.sum())) for moments in module.optimizer_moments() for moment in moments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_code_trains_on_a_gpu():
    _, _, _, module = make(num_facts=10, budget=TrainingBudget(steps=3000, goal_nats=0.05))
    fit(module, accelerator="gpu")
    assert float(module.cpu().loss(None).detach()) < 0.05


OPTIMIZERS = {
    "adam": lambda matrices, vectors: [
        torch.optim.Adam([*matrices, *vectors], lr=0.01, weight_decay=0.1, fused=True),
    ],
    "adamw": lambda matrices, vectors: [
        torch.optim.AdamW([*matrices, *vectors], lr=0.01, weight_decay=0.1, fused=True),
    ],
    "sgd": lambda matrices, vectors: [
        torch.optim.SGD([*matrices, *vectors], lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.1),
    ],
    "muon": lambda matrices, vectors: [
        torch.optim.Muon(matrices, lr=0.01, weight_decay=0.1),
        torch.optim.Adam(vectors, lr=0.01, weight_decay=0.1, fused=True),
    ],
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_torchs_own(name):
    budget = TrainingBudget(steps=30, goal_nats=0.0, optimizer=name, weight_decay=0.1)
    _, data, codes, _ = make()
    config = DenseConfig(kind="silu", width=16, bias=True)
    ffn, other = (config.build(8, 8, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    fit(KeyValueModule(ffn, data, codes, budget, generator=torch.Generator()), accelerator="cpu")
    weights = list(other.parameters())
    optimizers = OPTIMIZERS[name]([w for w in weights if w.dim() == 2], [w for w in weights if w.dim() == 1])
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30) for optimizer in optimizers]
    for _ in range(30):
        loss = functional.cross_entropy(other(data.keys_ND) @ codes.T, data.value_ids_N)
        other.zero_grad()
        loss.backward()
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
    for mine, its in zip(ffn.parameters(), other.parameters(), strict=True):
        assert torch.allclose(mine, its, atol=1e-6)


@pytest.mark.parametrize(("name", "moments"), [("adam", 2), ("sgd", 1), ("muon", 1)])
def test_what_the_optimizer_remembers_is_handed_out(name, moments):
    _, data, codes, _ = make()
    ffn = DenseConfig(width=5, bias=True).build(8, 8, generator=torch.Generator())
    module = KeyValueModule(ffn, data, codes, TrainingBudget(steps=10, optimizer=name), generator=torch.Generator())
    assert module.optimizer_moments() == [[], [], [], []]
    fit(module, accelerator="cpu")
    for weight, kept in zip(ffn.parameters(), module.optimizer_moments(), strict=True):
        own = 2 if name == "muon" and weight.dim() == 1 else moments  # muon leaves vectors to Adam
        assert [len(moment) for moment in kept] == [weight.numel()] * own


def test_a_constant_rate_does_not_fall():
    budget = TrainingBudget(steps=40, goal_nats=0.0, schedule="constant")
    ffn, data, codes, module = make(budget=budget, dtype=torch.float64)
    other = copy.deepcopy(ffn)
    fit(module, accelerator="cpu")
    optimizer = torch.optim.Adam(other.parameters(), lr=budget.learning_rate, fused=True)
    for _ in range(40):
        optimizer.zero_grad()
        functional.cross_entropy(other(data.keys_ND) @ codes.T, data.value_ids_N).backward()
        optimizer.step()
    assert_same_weights(ffn, other)


class Asking(DenseFFN):
    """An FFN with every hook in use."""

    def __init__(self):
        super().__init__(DenseConfig(width=6, bias=True), 8, 8, generator=torch.Generator().manual_seed(0))
        self.progress = []

    def learning_rate_factors(self):
        return {"w_out_FE": 0.0}

    def auxiliary_loss(self):
        return (self.b_out_E - 1).square().sum()

    def step_done(self, progress):
        self.progress.append(progress)


def test_what_an_ffn_asks_of_its_training_is_heard():
    _, data, codes, _ = make()
    ffn = Asking()
    untouched = ffn.w_out_FE.detach().clone()
    budget = TrainingBudget(steps=300, learning_rate=0.05, goal_nats=0.0)
    fit(KeyValueModule(ffn, data, codes * 1e-6, budget, generator=torch.Generator()), accelerator="cpu")
    assert torch.equal(ffn.w_out_FE, untouched)
    assert ffn.b_out_E.detach() == pytest.approx(torch.ones(8), abs=0.01)  # codes of no length leave it this alone
    assert ffn.progress == pytest.approx([step / 300 for step in range(1, 301)])


def test_noise_on_keys_has_the_length_asked_for_and_is_another_at_each_step():
    _, data, codes, _ = make()
    ffn = DenseConfig(width=6).build(8, 8, generator=torch.Generator())
    seen = []
    ffn.forward = lambda keys: (seen.append(keys), keys)[1]
    module = KeyValueModule(ffn, data, codes, TrainingBudget(key_noise=0.3), generator=torch.Generator())
    for _ in range(2):
        module.loss(None)
    length = data.keys_ND.norm(dim=1)
    for keys in seen:
        assert torch.allclose(keys.norm(dim=1), length, rtol=1e-5)
        cosine = functional.cosine_similarity(keys, data.keys_ND)
        assert (cosine >= math.sqrt(1 - 0.3**2) - 1e-5).all()  # the tangent is the farthest that noise of .3 reaches
        assert (cosine < 1 - 1e-4).all()
    assert not torch.allclose(seen[0], seen[1])
    longer = replace(data, keys_ND=5 * data.keys_ND)
    KeyValueModule(ffn, longer, codes, TrainingBudget(key_noise=0.3), generator=torch.Generator()).loss(None)
    assert torch.allclose(seen[2], 5 * seen[0], rtol=1e-4)  # relative to the key


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_loss_that_is_no_number_ends_with_step_and_learning_rate():
    *_, module = make(budget=TrainingBudget(steps=300, learning_rate=1e30, optimizer="sgd"))
    with pytest.raises(TrainingDiverged, match=r"the loss is nan after \d steps of sgd, at learning_rate 1e[+]30 \(1e"):
        fit(module, accelerator="cpu")


def test_the_step_of_a_divergence_is_that_of_the_first_loss_that_is_no_number():
    _, data, codes, _ = make()
    ffn = ByAutograd(DenseConfig(width=16), 8, 8, generator=torch.Generator().manual_seed(1))
    budget = TrainingBudget(steps=300, learning_rate=0.01, goal_nats=0.0)
    module = KeyValueModule(ffn, data, codes, budget, generator=torch.Generator())
    sound, calls = module.loss, iter(range(1000))
    module.loss = lambda rows: sound(rows) * (math.nan if next(calls) >= 137 else 1.0)
    with pytest.raises(TrainingDiverged, match=r"after 137 steps of adam, at learning_rate 0[.]00568 \(0[.]01 a"):
        fit(module, accelerator="cpu")  # .01 (1 + cos(137 pi / 300)) / 2 = .00568


def test_weights_that_a_last_step_has_broken_are_no_result():
    _, data, codes, _ = make()
    ffn = ByAutograd(DenseConfig(width=16), 8, 8, generator=torch.Generator().manual_seed(1))
    ffn.step_done = lambda progress: ffn.w_out_FE.data.fill_(math.inf) if progress == 1 else None
    module = KeyValueModule(ffn, data, codes, TrainingBudget(steps=120, goal_nats=0.0), generator=torch.Generator())
    with pytest.raises(TrainingDiverged, match="the weights are not finite after 120 steps of adam, at learning_rate"):
        fit(module, accelerator="cpu")


@pytest.mark.parametrize(
    ("budget", "suspects", "blamed"),
    [
        ({"learning_rate": 1e9}, {}, "training.learning_rate"),
        ({"optimizer": "adamw", "weight_decay": 1e9}, {}, "training.weight_decay"),
        ({"optimizer": "sgd", "weight_decay": 1e4}, {"router_rate_factor": 30.0}, "training.weight_decay"),
        ({"optimizer": "muon", "learning_rate": 1e4, "weight_decay": 0.1}, {}, "training.learning_rate"),
        ({"weight_decay": 1e9}, {}, "training.learning_rate"),  # Adam's is part of a gradient
        ({}, {"router_rate_factor": 1e8, "auxiliary_coefficient": 1.0}, "ffn.router_rate_factor"),
        ({"learning_rate": 1e9}, {"bias_rate": 10.0}, "training.learning_rate"),
    ],
)
def test_the_setting_to_blame_is_named(budget, suspects, blamed):
    assert what_to_lower(TrainingBudget(**budget), suspects) == blamed


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_a_decay_that_throws_the_weights_off_is_blamed(optimizer):
    _, _, _, module = make(budget=TrainingBudget(steps=300, weight_decay=1e9, optimizer=optimizer))
    with pytest.raises(TrainingDiverged, match="lower training.weight_decay$"):
        fit(module, accelerator="cpu")


def test_keys_that_are_not_finite_are_no_matter_of_the_rate():
    _, _, _, module = make(budget=TrainingBudget(steps=10))
    module.keys_ND[3, 1] = math.nan
    with pytest.raises(TrainingDiverged, match="because keys are not finite: encode the facts anew"):
        fit(module, accelerator="cpu")
