"""The training of decoders: what a step sees, going on from a checkpoint, activations computed again."""

import copy

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from models.decoder_budget import DecoderBudget
from models.decoder_config import DecoderConfig
from models.decoder_training import DecoderModule, fit_decoder
from models.ffn_kinds import TopKConfig
from models.token_batches import ShuffledPasses, ShuffledTexts, padded
from models.trainer_choice import checkpoints_kept_in, trained_by
from models.trainers import _OneProcessTrainer
from models.training_budget import TrainingDiverged

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")
V = 30
TEXTS = [[0, 2 + row // 3, 12 + row % 3, 20 + (row * 7) % 9, 1, *([5] * (row % 2))] for row in range(30)]


def batches(*, exposures=12, batch_size=8, seed=0):
    tokens_NT, lengths_N = padded(TEXTS)
    learnt_NT = torch.zeros_like(tokens_NT, dtype=torch.bool)
    learnt_NT[:, 3:5] = True
    asked_N = torch.ones(len(TEXTS), dtype=torch.bool)
    passes = ShuffledPasses(len(TEXTS), exposures=exposures, batch_size=batch_size, seed=seed)
    return ShuffledTexts(tokens_NT, learnt_NT, lengths_N, asked_N, passes)


def module(budget=None, **settings):
    config = DecoderConfig(dim=8, ffn=TopKConfig(width=12, annealed=True), **settings)
    decoder = config.build(V, generator=torch.Generator().manual_seed(3))
    return DecoderModule(decoder, batches(), budget or DecoderBudget(goal_nats=0.0))


def test_each_pass_shows_each_text_once() -> None:
    def passes(**settings):
        return ShuffledPasses(30, **{"exposures": 4, "batch_size": 8, "seed": 0} | settings)

    texts = passes()
    rows = torch.cat([texts.rows(step) for step in range(texts.num_steps)])
    assert texts.num_steps == 15 and len(rows) == 120
    for number in range(4):
        assert sorted(rows[30 * number : 30 * (number + 1)].tolist()) == list(range(30))
    assert rows[:30].tolist() != rows[30:60].tolist() != list(range(30))
    assert torch.equal(passes().rows(9), texts.rows(9))  # asked out of order
    assert not torch.equal(passes(seed=1).rows(9), texts.rows(9))
    assert passes(batch_size=500).batch_size == 30


def test_a_batch_is_as_long_as_its_longest_text() -> None:
    texts = batches(batch_size=1)
    lengths = {texts.batch(step).tokens_BL.shape[1] for step in range(30)}
    assert lengths == {5, 6}


class _Fails(Callback):
    """Once, after so many steps."""

    def on_train_batch_end(self, trainer, *_) -> None:
        if trainer.global_step == 21:
            raise RuntimeError("the machine went down")


def test_a_training_goes_on_from_its_checkpoint_as_if_nothing_had_happened(tmp_path) -> None:
    whole = module()
    fit_decoder(whole, accelerator="cpu")

    def failing(**settings):
        settings["callbacks"][0]._train_time_interval = None
        settings["callbacks"][0]._every_n_train_steps = 10
        return _OneProcessTrainer(**settings | {"callbacks": [*settings["callbacks"], _Fails()]})

    cut = module()
    with checkpoints_kept_in(tmp_path), trained_by(failing), pytest.raises(RuntimeError, match="went down"):
        fit_decoder(cut, accelerator="cpu")
    assert [file.name for file in tmp_path.iterdir()] == [f"decoder-{module().identity()}.ckpt"]
    other = DecoderModule(module().decoder, batches(seed=1), DecoderBudget(goal_nats=0.0))
    with checkpoints_kept_in(tmp_path):
        fit_decoder(other, accelerator="cpu")  # what is measured may train several: it begins at its own beginning
    assert other.steps_done == 45 and len(list(tmp_path.iterdir())) == 1
    alone = DecoderModule(module().decoder, batches(seed=1), DecoderBudget(goal_nats=0.0))
    fit_decoder(alone, accelerator="cpu")
    assert all(torch.equal(*pair) for pair in zip(alone.decoder.parameters(), other.decoder.parameters(), strict=True))
    resumed = module()
    with checkpoints_kept_in(tmp_path):
        fit_decoder(resumed, accelerator="cpu")
    assert resumed.steps_done == whole.steps_done == 45
    assert resumed.positions_done == whole.positions_done
    for one, other in zip(resumed.decoder.parameters(), whole.decoder.parameters(), strict=True):
        assert torch.equal(one, other)
    assert list(tmp_path.iterdir()) == []  # a training that came to its end leaves none
    for one, other in zip(cut.decoder.parameters(), whole.decoder.parameters(), strict=True):
        assert not torch.equal(one, other)


def test_a_training_is_told_from_others_by_all_that_it_depends_on() -> None:
    same = {module().identity() for _ in range(2)}
    others = [
        DecoderModule(module().decoder, batches(exposures=13), DecoderBudget(goal_nats=0.0)),
        DecoderModule(module().decoder, batches(seed=1), DecoderBudget(goal_nats=0.0)),
        module(DecoderBudget(goal_nats=0.0, learning_rate=0.02)),
        module(tied=False),
    ]
    assert len(same) == 1 and len(same | {other.identity() for other in others}) == 5


def test_what_a_change_of_a_fact_starts_from_is_weights_and_two_moments_each() -> None:
    trained = module()
    num_params = sum(weight.numel() for weight in trained.decoder.parameters())
    assert trained.trained_state().shape == (num_params,)  # before it is trained there are no moments
    fit_decoder(trained, accelerator="cpu")
    state = trained.trained_state()
    assert state.shape == (3 * num_params,)
    first = next(iter(trained.decoder.parameters())).detach().flatten().numpy()
    assert (state[: len(first)] == first).all() and (state[2 * len(first) : 3 * len(first)] >= 0).all()


def test_activations_computed_again_give_the_same_gradients() -> None:
    decoder, tokens_BT = module().decoder, torch.tensor([text[:5] for text in TEXTS])
    gradients = []
    for recomputes in (False, True):
        again = copy.deepcopy(decoder).train()
        again.recomputes = recomputes
        again(tokens_BT).logsumexp(-1).sum().backward()
        gradients.append([weight.grad for weight in again.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.slow
def test_it_learns_and_ends_at_its_goal() -> None:
    learnt = DecoderModule(module().decoder, batches(exposures=400), DecoderBudget(goal_nats=0.05, learning_rate=1e-2))
    fit_decoder(learnt, accelerator="cpu")
    assert 50 <= learnt.steps_done < 1500 and learnt.steps_done % 50 == 0
    tokens_BT = torch.tensor([text[:4] for text in TEXTS])
    with torch.no_grad():
        assert (learnt.decoder(tokens_BT)[:, 2].argmax(-1) == tokens_BT[:, 3]).float().mean() > 0.9
    assert learnt.decoder.ffns()[0][1].winners == 3  # annealed


def test_bfloat16_learns_too() -> None:
    budget = DecoderBudget(goal_nats=0.0, computes_in="bfloat16")
    trained = module(budget)
    before = [weight.clone() for weight in trained.decoder.parameters()]
    fit_decoder(trained, accelerator="cpu")
    assert all(weight.dtype == torch.float32 and weight.isfinite().all() for weight in trained.decoder.parameters())
    assert not all(torch.equal(*pair) for pair in zip(before, trained.decoder.parameters(), strict=True))


def test_a_deadline_and_a_divergence_are_told() -> None:
    late = DecoderModule(module().decoder, batches(exposures=60), DecoderBudget(goal_nats=0.0, max_seconds=1e-9))
    fit_decoder(late, accelerator="cpu")
    assert not late.succeeded and late.steps_done == 50
    wild = module(DecoderBudget(learning_rate=1e30, most_gradient=1e30, goal_nats=0.0))
    with pytest.raises(TrainingDiverged, match=r"lower training\.learning_rate"):
        fit_decoder(wild, accelerator="cpu")


def test_the_rate_rises_and_falls() -> None:
    budget = DecoderBudget(warm_up=0.1)
    factors = [budget.rate_factor(step, 100) for step in range(100)]
    assert factors[0] == 0.1 and factors[9] == factors[10] == 1.0 and factors[-1] < 0.001
    assert factors[:10] == sorted(factors[:10]) and factors[10:] == sorted(factors[10:], reverse=True)
    assert {DecoderBudget(warm_up=0.0, schedule="constant").rate_factor(step, 9) for step in range(9)} == {1.0}
