"""k winners take all against a loop over keys, its gradients, and its annealing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from models.ffn_kinds import TopKConfig
from models.key_value_training import KeyValueData, KeyValueModule, fit
from models.training_budget import TrainingBudget


def build(config, dim_in=6, dim_out=4):
    return config.build(dim_in, dim_out, generator=torch.Generator().manual_seed(0))


@settings(max_examples=30)
@given(width=st.integers(1, 40), share=st.floats(0.01, 1.0), seed=st.integers(0, 99))
def test_the_most_active_units_speak(width, share, seed):
    ffn = build(TopKConfig(width=width, active_share=share))
    x = np.random.default_rng(seed).standard_normal((5, 6)).astype(np.float32)
    h = np.maximum(x @ ffn.w_in_DF.detach().numpy(), 0)
    for row in h:
        silenced = np.argsort(-row)[max(1, round(share * width)) :]
        row[silenced] = 0
    with torch.no_grad():
        assert ffn.hidden(torch.from_numpy(x)).numpy() == pytest.approx(h, abs=1e-6)


def test_one_percent_of_a_thousand_units_is_ten():
    ffn = build(TopKConfig(width=1000, active_share=0.01))
    with torch.no_grad():
        assert (ffn.hidden(torch.randn(8, 6, generator=torch.Generator().manual_seed(1))) > 0).sum(1).tolist() == [
            10
        ] * 8


@pytest.mark.parametrize("gradient", ["winners", "straight_through"])
def test_who_learns(gradient):
    config = TopKConfig(width=12, active_share=0.25, gradient=gradient)
    ffn, x = build(config), torch.randn(1, 6, generator=torch.Generator().manual_seed(1))
    on = (x @ ffn.w_in_DF > 0)[0]
    winners = ffn.hidden(x)[0] > 0
    assert winners.sum() == 3 < on.sum()
    ffn(x).sum().backward()
    assert torch.equal(ffn.w_in_DF.grad.abs().sum(0) > 0, winners if gradient == "winners" else on)
    assert torch.equal(ffn.w_out_FE.grad.abs().sum(1) > 0, winners)


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_a_goal_reached_by_all_units_does_not_end_the_annealing():
    generator = torch.Generator().manual_seed(0)
    keys = functional.normalize(torch.randn(20, 8, generator=generator), dim=1)
    codes = functional.normalize(torch.randn(4, 8, generator=generator), dim=1)
    values = torch.randint(4, (20,), generator=generator)
    data = KeyValueData.of_one_relation(keys, values, 4)
    ffn = TopKConfig(width=40, active_share=0.05, annealed=True).build(8, 8, generator=generator)
    assert not ffn.is_settled()
    module = KeyValueModule(
        ffn, data, codes, TrainingBudget(steps=1000, learning_rate=0.03, goal_nats=0.05), generator=generator
    )
    fit(module, accelerator="cpu")
    assert ffn.is_settled() and 500 <= module.steps_done < 1000
    assert torch.equal((ffn.eval()(keys) @ codes.T).argmax(1), values)


def test_annealing_ends_halfway_and_is_forgotten_once_stored():
    ffn = build(TopKConfig(width=40, active_share=0.1, annealed=True))
    x = torch.rand(3, 6) * ffn.w_in_DF.detach().sum(1).sign()
    assert ffn.w_in_DF.shape == (6, 40)

    def winners():
        return int((ffn.hidden(x) > 0).sum(1).max())

    on = int((x @ ffn.w_in_DF > 0).sum(1).max())
    assert winners() == on > 4
    seen = []
    for step in range(1, 11):
        ffn.step_done(step / 10)
        seen.append(winners())
    assert seen[4:] == [4] * 6
    assert seen == sorted(seen, reverse=True)
    assert seen[3] > 4
    assert int((build(TopKConfig(width=40, active_share=0.1, annealed=True)).eval().hidden(x) > 0).sum(1).max()) == 4


@pytest.mark.parametrize("share", [0.0, 0.009, 1.1])
def test_shares_out_of_range_are_refused(share):
    with pytest.raises(ValueError, match="active_share must lie between .01 and 1"):
        TopKConfig(active_share=share)
