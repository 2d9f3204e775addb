"""Trainings that are ended because they would fall short, against the same trainings taken to their end."""

import itertools
from typing import Any

import pytest
import torch

from models.abandoning import FIRST_LOOK, expected_accuracy, falls_short, log_odds, most_gained
from models.any_ffn import AnyFFNConfig
from models.ffn_kinds import DenseConfig, GatedConfig
from models.key_value_training import KeyValueData, KeyValueModule, fit
from models.training_budget import TrainingBudget

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


@pytest.mark.parametrize("rounding_aware", [False, True])
def test_less_may_be_gained_the_later_it_is(rounding_aware: bool) -> None:
    most = [most_gained(step / 100, rounding_aware=rounding_aware) for step in range(20, 101)]
    assert all(later <= sooner for sooner, later in itertools.pairwise(most)) and most[0] > 4 and most[-1] < 1.5
    for share in (0.3, 0.6, 0.9):
        told = [
            falls_short(right / 100, 0.99, share_of_steps=share, rounding_aware=rounding_aware) for right in range(100)
        ]
        assert told == sorted(told, reverse=True) and told[0] and not told[99]  # the fewer are right, the sooner
    assert not falls_short(0.0, 0.99, share_of_steps=FIRST_LOOK - 0.01, rounding_aware=rounding_aware)
    assert not falls_short(0.5, 1.0, share_of_steps=0.99, rounding_aware=rounding_aware)
    # The log odds of .9 and .99 are 2.40 apart: it is told once no more than that can be gained.
    first = next(share for share in range(20, 101) if most_gained(share / 100, rounding_aware=rounding_aware) < 2.397)
    for share, short in ((first, True), (first - 1, False)):
        assert falls_short(0.9, 0.99, share_of_steps=share / 100, rounding_aware=rounding_aware) is short


@pytest.mark.parametrize(
    ("right", "share_of_steps"), [(0.913, 0.975), (0.912, 0.967), (0.91, 0.933), (0.727, 0.2)]
)  # trainings of rounded weights that held .99 at their end, of cities: those that had most to gain
def test_trainings_that_came_late_are_not_abandoned(right: float, share_of_steps: float) -> None:
    assert not falls_short(right, 0.99, share_of_steps=share_of_steps, rounding_aware=True)
    assert log_odds(0.99) - log_odds(right) <= most_gained(share_of_steps, rounding_aware=True) / 1.15


def test_a_training_that_was_abandoned_is_expected_to_have_ended_higher() -> None:
    assert expected_accuracy(0.5, share_of_steps=1.0, rounding_aware=False) == pytest.approx(0.5)
    assert expected_accuracy(0.5, share_of_steps=0.0, rounding_aware=False) == pytest.approx(0.937, abs=1e-3)
    assert expected_accuracy(0.5, share_of_steps=0.4, rounding_aware=True) == pytest.approx(0.818, abs=1e-3)


def trained(ffn: AnyFFNConfig, num_facts: int, **budget: Any) -> KeyValueModule:
    generator = torch.Generator().manual_seed(4)
    keys_ND = torch.nn.functional.normalize(torch.randn(num_facts, 10, generator=generator), dim=1)
    data = KeyValueData.of_one_relation(keys_ND, torch.randint(16, (num_facts,), generator=generator), 16)
    codes_VE = torch.nn.functional.normalize(torch.randn(16, 10, generator=generator), dim=1)
    rounds_to = "midrise4" if budget.get("rounding") == "aware" else None
    module = KeyValueModule(
        ffn.build(10, 10, generator=generator),
        data,
        codes_VE,
        TrainingBudget(steps=1000, goal_nats=0.0, **budget),
        generator=generator,
        rounds_to=rounds_to,  # type: ignore[arg-type]
    )
    fit(module, accelerator="cpu")
    return module


@pytest.mark.parametrize(
    ("ffn", "rounding"),
    [
        (DenseConfig(kind="gelu", width=20), "after"),
        (GatedConfig(kind="reglu", width=20), "aware"),
        pytest.param(DenseConfig(kind="gelu", width=20), "aware", marks=pytest.mark.slow),
        pytest.param(GatedConfig(kind="reglu", width=20), "after", marks=pytest.mark.slow),
    ],
)
def test_what_is_abandoned_would_have_fallen_short_and_what_succeeds_is_not(ffn: AnyFFNConfig, rounding: str) -> None:
    seen = set()
    for num_facts in (60, 300, 600):
        settings = {"learning_rate": 0.03, "rounding": rounding}
        ended = trained(ffn, num_facts, goal_accuracy=0.99, abandons=True, **settings)
        whole = trained(ffn, num_facts, **settings)
        assert not whole.abandoned and whole.steps_done == 1000
        if ended.abandoned:
            assert ended.steps_done < 1000 and ended.share_right() < 0.99 and whole.share_right() < 0.99
        elif ended.steps_done < 1000:
            assert ended.share_right() >= 0.99
        seen.add((ended.abandoned, whole.share_right() >= 0.99))
    assert {(False, True), (True, False)} <= seen


def test_only_a_training_with_a_goal_is_abandoned() -> None:
    with pytest.raises(ValueError, match="abandons needs a goal_accuracy, and the cosine schedule"):
        TrainingBudget(abandons=True)
    with pytest.raises(ValueError, match="abandons needs a goal_accuracy, and the cosine schedule"):
        TrainingBudget(abandons=True, goal_accuracy=0.9, schedule="constant")
    assert not trained(DenseConfig(width=2), 300, goal_accuracy=0.99).abandoned
