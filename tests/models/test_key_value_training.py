"""The Lightning training against a bare loop, bit for bit; its goals, caps and batches."""

import copy
import math

import pytest
import torch
from torch.nn import functional

from models.ffn import FFN
from models.key_value_training import STEPS_A_CALL, KeyValueData, KeyValueModule, fit
from models.training_budget import TrainingBudget

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


def make(num_facts=40, num_values=6, budget=None, ends=None, kind="relu", seed=0):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(num_facts, 8, generator=generator)
    values = torch.randint(num_values, (num_facts,), generator=generator)
    first = torch.zeros(num_facts, dtype=torch.int64)
    end = torch.full((num_facts,), num_values) if ends is None else ends
    data = KeyValueData(keys_ND=keys, value_ids_N=values, first_candidates_N=first, end_candidates_N=end)
    codes = functional.normalize(torch.randn(num_values, 8, generator=generator), dim=1)
    ffn = FFN(kind, 8, 16, 8, generator=generator)
    return ffn, data, codes, KeyValueModule(ffn, data, codes, budget or TrainingBudget(steps=250), generator=generator)


def bare_loop(ffn, data, codes, budget, num_steps, batches=None):
    """What the Lightning module must equal: Adam, cosine schedule, cross-entropy."""
    optimizer = torch.optim.Adam(ffn.parameters(), lr=budget.learning_rate, fused=True)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, budget.steps)
    for _ in range(num_steps):
        rows = slice(None) if batches is None else next(batches)
        loss = functional.cross_entropy(ffn(data.keys_ND[rows]) @ codes.T, data.value_ids_N[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()


def test_full_batch_training_equals_a_bare_loop_bit_for_bit():
    budget = TrainingBudget(steps=250, goal_nats=0.0)
    ffn, data, codes, module = make(budget=budget)
    other = copy.deepcopy(ffn)
    fit(module, accelerator="cpu")
    bare_loop(other, data, codes, budget, 250)
    assert module.steps_done == 250
    for mine, its in zip(ffn.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, its)


def test_minibatch_training_equals_a_bare_loop_bit_for_bit():
    budget = TrainingBudget(steps=130, goal_nats=0.0, full_batch_up_to=10, batch_size=12)
    ffn, data, codes, module = make(budget=budget)
    other, generator = copy.deepcopy(ffn), torch.Generator()
    generator.set_state(module._generator.get_state())

    def batches():
        while True:
            order = torch.randperm(40, generator=generator)
            for start in range(0, 36, 12):
                yield order[start : start + 12]

    fit(module, accelerator="cpu")
    bare_loop(other, data, codes, budget, 130, batches())
    for mine, its in zip(ffn.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, its)


def test_training_ends_at_the_goal():
    _, _, _, module = make(num_facts=10, num_values=4, budget=TrainingBudget(steps=5000, goal_nats=0.05))
    fit(module, accelerator="cpu")
    assert module.steps_done < 5000
    assert module.steps_done % STEPS_A_CALL == 0
    assert module.succeeded
    assert float(module.loss(None).detach()) < 0.05


def test_training_that_hits_its_cap_in_seconds_says_so():
    _, _, _, module = make(budget=TrainingBudget(steps=10**6, goal_nats=0.0, max_seconds=0.0))
    fit(module, accelerator="cpu")
    assert module.steps_done == STEPS_A_CALL
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
