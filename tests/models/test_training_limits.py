"""Where a training is cut: batches, candidates, deadlines, goals and blame, at and beside each limit."""

import copy
import math
import time
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from models.ffn import FFN
from models.ffn_kinds import DenseConfig
from models.key_noise import move_by_noise
from models.key_value_training import KeyValueData, KeyValueModule, fit
from models.optimizers import optimizers_for, schedule_for
from models.training_budget import TrainingBudget, what_to_lower

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def facts(num_facts=9, num_values=4, dim=3):
    generator = seeded()
    keys = torch.randn(num_facts, dim, generator=generator)
    values = torch.randint(num_values, (num_facts,), generator=generator)
    return KeyValueData.of_one_relation(keys, values, num_values), torch.randn(num_values, 2, generator=generator)


def module_of(budget, data=None, codes=None, **options):
    if data is None or codes is None:
        data, codes = facts()
    ffn = DenseConfig(width=5, bias=True).build(data.keys_ND.shape[1], 2, generator=seeded(1))
    return KeyValueModule(ffn, data, codes, budget, generator=seeded(2), **options)


def test_in_one_relation_every_value_could_answer():
    keys, values = torch.ones(3, 2), torch.tensor([4, 0, 6])
    data = KeyValueData.of_one_relation(keys, values, 7)
    assert data.keys_ND is keys and data.value_ids_N is values
    assert (data.first_candidates_N.tolist(), data.end_candidates_N.tolist()) == ([0] * 3, [7] * 3)


@pytest.mark.parametrize(
    ("full_up_to", "size", "expected"),
    [(9, 4, 9), (8, 4, 4), (8, 9, 9), (8, 20, 9), (0, 1, 1), (20, 4, 9)],
)
def test_facts_of_a_step(full_up_to, size, expected):
    module = module_of(TrainingBudget(full_batch_up_to=full_up_to, batch_size=size))
    assert module.batch_facts == expected
    order = seeded(2)
    for _ in range(2):
        rows = torch.randperm(9, generator=order).tolist()
        for start in range(0, 9 - 9 % expected, expected):
            batch = next(module._batches)
            if expected == 9:
                assert batch is None
            else:
                assert batch.tolist() == rows[start : start + expected]


@pytest.mark.parametrize("rows", [None, [5, 0, 3]])
@pytest.mark.parametrize("rounds_to", [None, "int4"])
def test_loss_is_over_candidates_that_begin_anywhere(rows, rounds_to):
    """Ranges of 1, 3, 2, 4 values; the last would reach beyond the table of 6 if it were as long as the longest."""
    generator = seeded()
    first, end = torch.tensor([0, 1, 4, 2, 5, 0]), torch.tensor([1, 4, 6, 6, 6, 4])
    data = KeyValueData(
        keys_ND=torch.randn(6, 3, generator=generator),
        value_ids_N=torch.tensor([0, 3, 4, 5, 5, 1]),
        first_candidates_N=first,
        end_candidates_N=end,
    )
    codes = torch.randn(6, 2, generator=generator)
    module = module_of(TrainingBudget(), data, codes, rounds_to=rounds_to)
    ffn = copy.deepcopy(module.backbone)
    if rounds_to:
        from models.weight_packing import load_packed, packed

        load_packed(ffn, packed(ffn, rounds_to), rounds_to)
    logits = (ffn(data.keys_ND) @ codes.T).tolist()
    losses = []
    for n in rows or range(6):
        exponentials = {v: math.exp(logits[n][v]) for v in range(int(first[n]), int(end[n]))}
        losses.append(-math.log(exponentials[int(data.value_ids_N[n])] / sum(exponentials.values())))
    found = module.loss(None if rows is None else torch.tensor(rows))
    assert float(found.detach()) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_noisy_keys_are_the_key_and_a_direction_drawn_brought_back_to_length():
    keys = facts()[0].keys_ND
    drawn = functional.normalize(torch.randn(9, 3, generator=seeded(2)), dim=1)
    lengths = keys.norm(dim=1, keepdim=True)
    moved = keys / lengths + 0.7 * drawn
    expected = lengths * moved / moved.norm(dim=1, keepdim=True)
    found = move_by_noise(keys, 0.7, seeded(2), out=torch.empty_like(keys))
    torch.testing.assert_close(found, expected)
    assert not move_by_noise(0 * keys, 0.7, seeded(2), out=found).any()


def test_moments_are_those_of_the_first_step_of_adam_weight_by_weight():
    module = module_of(TrainingBudget(steps=1, goal_nats=0.0))
    other = copy.deepcopy(module.backbone)
    data, codes = facts()
    functional.cross_entropy(other(data.keys_ND) @ codes.T, data.value_ids_N).backward()
    fit(module, accelerator="cpu")
    for (mean, square), weight in zip(module.optimizer_moments(), other.parameters(), strict=True):
        torch.testing.assert_close(mean, 0.1 * weight.grad.flatten())
        torch.testing.assert_close(square, 0.001 * weight.grad.flatten() ** 2)


@pytest.mark.parametrize("steps", [0, 1, 100, 101])
def test_every_step_of_the_budget_is_done_and_no_more(steps):
    module = module_of(TrainingBudget(steps=steps, goal_nats=0.0))
    assert fit(module, accelerator="cpu") == "cpu"
    assert (module.steps_done, module.succeeded) == (steps, True)


@pytest.mark.parametrize(("steps", "done", "succeeded"), [(100, 100, True), (101, 100, False), (350, 100, False)])
def test_a_deadline_that_has_passed_ends_what_is_not_done(steps, done, succeeded):
    module = module_of(TrainingBudget(steps=steps, goal_nats=0.0, max_seconds=-1.0))
    fit(module, accelerator="cpu")
    assert (module.steps_done, module.succeeded) == (done, succeeded)


def test_a_goal_that_is_just_reached_ends_a_training_and_no_deadline_spoils_it():
    module = module_of(TrainingBudget(steps=300, goal_nats=0.0))
    module.configure_optimizers()
    goal = float(module._fused.run(100, module._batches, after=0).mean())
    for goal_nats, done in ((goal, 100), (goal * (1 - 1e-6), 200)):
        module = module_of(TrainingBudget(steps=300, goal_nats=goal_nats))
        fit(module, accelerator="cpu")
        assert (module.steps_done, module.succeeded) == (done, True)
    module = module_of(TrainingBudget(steps=300, goal_nats=goal, max_seconds=-1.0))
    fit(module, accelerator="cpu")
    assert (module.steps_done, module.succeeded) == (100, True)


def test_the_deadline_lies_the_seconds_of_the_budget_ahead():
    module = module_of(TrainingBudget(max_seconds=1000.0))
    assert module._deadline == math.inf
    before = time.monotonic()
    module.on_fit_start()
    assert before + 1000 <= module._deadline <= time.monotonic() + 1000


class Factors(FFN):
    """Two matrices and a vector at three rates."""

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.ones(2, 3))
        self.b = torch.nn.Parameter(torch.ones(3, 2))
        self.c = torch.nn.Parameter(torch.ones(4))
        self.d = torch.nn.Parameter(torch.ones(2, 2, 2))

    def forward(self, x_BD):
        return x_BD

    def learning_rate_factors(self):
        return {"b": 3.0, "d": 0.5}


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "muon"])
def test_every_weight_learns_at_its_rate(name):
    ffn = Factors()
    budget = TrainingBudget(optimizer=name, learning_rate=0.2, weight_decay=0.125, steps=10)
    found = [
        (type(optimizer).__name__, {id(w): (group["lr"], group["weight_decay"]) for w in group["params"]})
        for optimizer in optimizers_for(ffn, budget)
        for group in optimizer.param_groups
    ]
    rates = {id(ffn.a): 0.2, id(ffn.b): 0.2 * 3.0, id(ffn.c): 0.2, id(ffn.d): 0.2 * 0.5}
    seen = [(kind, weight, rate, decay) for kind, group in found for weight, (rate, decay) in group.items()]
    assert {weight: rate for _, weight, rate, _ in seen} == pytest.approx(rates) and len(seen) == 4
    assert {decay for *_, decay in seen} == {0.125}
    kinds = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD", "muon": "Adam"}
    of_muon = {id(ffn.a), id(ffn.b)} if name == "muon" else set()
    for kind, weight, *_ in seen:
        assert kind == ("Muon" if weight in of_muon else kinds[name])


def test_rates_fall_as_a_cosine_or_stay():
    for schedule in ("cosine", "constant"):
        budget = TrainingBudget(learning_rate=0.5, steps=8, schedule=schedule)
        [optimizer] = optimizers_for(DenseConfig(width=1).build(1, 1, generator=seeded()), budget)
        of_schedule, rates = schedule_for(optimizer, budget), []
        for _ in range(9):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            of_schedule.step()
        cosine = [0.25 * (1 + math.cos(math.pi * step / 8)) for step in range(9)]
        assert rates == pytest.approx(cosine if schedule == "cosine" else [0.5] * 9)


def test_a_single_fact_a_batch_and_any_rate_above_0_are_taken():
    assert TrainingBudget(batch_size=1, learning_rate=1e-12).batch_size == 1
    with pytest.raises(ValueError, match="^batch_size must be 1 or more, not 0$"):
        TrainingBudget(batch_size=0)
    with pytest.raises(ValueError, match=r"^learning_rate must be more than 0, not 0[.]0$"):
        TrainingBudget(learning_rate=0.0)


DECAYS = TrainingBudget(optimizer="adamw", learning_rate=0.5)


@pytest.mark.parametrize(
    ("budget", "suspects", "blamed"),
    [
        (replace(DECAYS, weight_decay=2.0), {"x": 60.0}, "ffn.x"),  # takes off all there is, and no more
        (replace(DECAYS, weight_decay=2.1), {"x": 60.0}, "training.weight_decay"),
        (replace(DECAYS, optimizer="adam", weight_decay=9.0), {"x": 60.0}, "ffn.x"),
        (replace(DECAYS, learning_rate=1.5, weight_decay=1.5), {"x": 999.0}, "training.learning_rate"),
        (replace(DECAYS, learning_rate=1.5, weight_decay=1.6), {"x": 999.0}, "training.weight_decay"),
        # 50 times the default rate
        (DECAYS, {"x": 50.0, "y": 49.0}, "training.learning_rate"),
        (DECAYS, {"x": 50.1, "y": 50.2}, "ffn.y"),
        # a rate below the default is as good as the default
        (TrainingBudget(learning_rate=0.001), {"x": 0.9}, "training.learning_rate"),
        (TrainingBudget(learning_rate=0.001), {"x": 1.1}, "ffn.x"),
    ],
)
def test_what_lies_furthest_beyond_its_default_is_blamed(budget, suspects, blamed):
    assert what_to_lower(budget, suspects) == blamed


def test_a_training_writes_no_file_and_says_nothing(tmp_path, monkeypatch, capfd, caplog):
    monkeypatch.chdir(tmp_path)
    fit(module_of(TrainingBudget(steps=101, goal_nats=0.0)), accelerator="cpu")
    assert list(tmp_path.iterdir()) == []
    assert tuple(capfd.readouterr()) == ("", "")
    assert [record for record in caplog.records if record.name.startswith("lightning")] == []
