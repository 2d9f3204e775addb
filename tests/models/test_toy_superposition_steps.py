"""Toy models of superposition trained by steps written out for one instance after another; plateaus found by trying."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.toy_superposition import (
    Plateau,
    ToyModels,
    ToySuperpositionConfig,
    plateau,
    represented,
    sparse_features,
    train,
)
from models.training_budget import TrainingDiverged


def trained_by_hand(config):
    """Probabilities, W and b of each instance; the draws alone are made together."""
    generator = torch.Generator().manual_seed(config.seed)
    last = config.num_instances - 1
    probabilities = [config.lowest_probability ** (i / last) for i in range(config.num_instances)]
    shape = (config.num_instances, config.dim, config.num_features)
    first = torch.randn(shape, generator=generator) * (2 / (config.dim + config.num_features)) ** 0.5
    weights = [w.clone().requires_grad_() for w in first]
    biases = [torch.zeros(config.num_features, requires_grad=True) for _ in probabilities]
    optimizers = [torch.optim.AdamW(pair, lr=config.learning_rate) for pair in zip(weights, biases, strict=True)]
    for _ in range(config.steps):
        u = torch.rand(config.num_instances, config.batch_size, config.num_features, generator=generator)
        for i, p in enumerate(probabilities):
            x = torch.where(u[i] < p, 1 - u[i] / p, 0.0)
            told = (x @ weights[i].T @ weights[i] + biases[i]).clamp(min=0)
            loss = sum(config.importance_decay**n * ((x - told)[:, n] ** 2).sum() for n in range(config.num_features))
            optimizers[i].zero_grad()
            (loss / (config.batch_size * config.num_features)).backward()
            optimizers[i].step()
    return probabilities, torch.stack(weights).detach(), torch.stack(biases).detach()


@pytest.mark.parametrize(
    "config",
    [
        ToySuperpositionConfig(
            num_features=5, dim=2, num_instances=3, lowest_probability=0.3, importance_decay=0.7, steps=12,
            batch_size=3, learning_rate=0.05, seed=4,
        ),
        ToySuperpositionConfig(
            num_features=2, dim=1, num_instances=2, lowest_probability=0.01, steps=1, batch_size=1, learning_rate=0.5
        ),
    ],
)  # fmt: skip
def test_weights_are_those_of_the_steps_written_out(config):
    found, (probabilities, weights, biases) = train(config), trained_by_hand(config)
    assert found.probabilities_I.tolist() == pytest.approx(probabilities)
    assert found.w_IMN.numpy() == pytest.approx(weights.numpy(), rel=1e-3, abs=1e-4)
    assert found.b_IN.numpy() == pytest.approx(biases.numpy(), rel=1e-3, abs=1e-4)


def test_features_follow_from_one_draw():
    p = torch.tensor([0.75, 0.2])
    found = sparse_features(p, 3, 4, torch.Generator().manual_seed(8))
    u = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(8)).numpy()
    expected = np.where(u < p.numpy()[:, None, None], 1 - u / p.numpy()[:, None, None], 0)
    assert found.numpy() == pytest.approx(expected, abs=1e-6)


def models_of(d_star, full, probabilities):
    """Instances of 3 features and 2 dimensions with these D* = 2 / |W|^2, all features represented or one left out."""
    w = torch.zeros(len(d_star), 2, 3)
    for instance, (d, is_full) in enumerate(zip(d_star, full, strict=True)):
        lengths = [2 / d / 3] * 3 if is_full else [1 / d, 1 / d, 0.0]
        w[instance, 0] = torch.tensor(lengths).sqrt()
    return ToyModels(probabilities_I=torch.tensor(probabilities), w_IMN=w, b_IN=torch.zeros(len(d_star), 3))


def plateau_by_trying(d_star, full, probabilities):
    best, found = -1.0, None
    for first in range(len(d_star)):
        for last in range(first, len(d_star)):
            part = d_star[first : last + 1]
            eligible = all(d < 0.75 for d in part) and not any(full[first : last + 1])
            length = math.log(probabilities[first] / probabilities[last])
            if eligible and max(part) <= 1.1 * min(part) and length > best + 1e-6:
                best, found = length, (first, last)
    if found is None:
        return None
    first, last = found
    return Plateau(
        dimensions_per_feature=pytest.approx(np.mean(d_star[first : last + 1]), rel=1e-5),
        highest_probability=pytest.approx(probabilities[first], rel=1e-6),
        lowest_probability=pytest.approx(probabilities[last], rel=1e-6),
        num_instances=last - first + 1,
    )


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from([1.0, 0.76, 0.74, 0.7, 0.66, 0.5, 0.48, 0.44]), st.integers(0, 3), st.integers(1, 4)),
        min_size=1,
        max_size=9,
    )
)
def test_plateau_is_the_longest_stretch_that_trying_all_finds(instances):
    d_star = [d for d, _, _ in instances]
    full = [chance == 0 and d < 0.76 for d, chance, _ in instances]  # one in four
    probabilities = [0.9]
    for _, _, gap in instances[1:]:
        probabilities.append(probabilities[-1] * 0.8**gap)  # unevenly: the stretch is long in log p, not in number
    models = models_of(d_star, full, probabilities)
    expected = plateau_by_trying(d_star, full, probabilities)
    if expected is None:
        with pytest.raises(ValueError, match="no instance"):
            plateau(models)
    else:
        assert plateau(models) == expected


def test_a_feature_of_half_length_is_not_yet_represented():
    w = torch.tensor([[0.3, 0.5, 0.3], [0.4, 0.0, 0.401]])  # lengths .5, .5 and a little more
    assert represented(w.double().round(decimals=3)).tolist()[1:] == [False, True]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_features": 5, "dim": 5}, "dim must be 1 to 4 (fewer than features), not 5"),
        ({"num_features": 5, "dim": 0}, "dim must be 1 to 4 (fewer than features), not 0"),
        ({"num_instances": 1}, "num_instances must be 2 or more, not 1"),
        ({"lowest_probability": 0.0}, "lowest_probability must lie between 0 and 1, not 0.0"),
        ({"lowest_probability": 1.0}, "lowest_probability must lie between 0 and 1, not 1.0"),
        ({"importance_decay": 1.01}, "importance_decay must be more than 0 and at most 1, not 1.01"),
        ({"importance_decay": 0.0}, "importance_decay must be more than 0 and at most 1, not 0.0"),
        ({"steps": 0}, "steps and batch_size must be 1 or more, not 0 and 384"),
        ({"batch_size": 0}, "steps and batch_size must be 1 or more, not 3000 and 0"),
        ({"learning_rate": 0.0}, "learning_rate must be more than 0, not 0.0"),
    ],
)
def test_settings_are_refused_at_their_limits(given, message):
    with pytest.raises(ValueError) as refused:
        ToySuperpositionConfig(**given)
    assert str(refused.value) == message


def test_settings_at_their_limits_are_taken():
    least = {"num_features": 2, "dim": 1, "num_instances": 2, "steps": 1, "batch_size": 1, "importance_decay": 1.0}
    assert ToySuperpositionConfig(**least, lowest_probability=0.999, learning_rate=1e-9).dim == 1
    assert ToySuperpositionConfig(num_features=5, dim=4).dim == 4


@pytest.mark.parametrize(("steps", "rate", "seen"), [(250, 1e39, 1), (2, 1e18, 2), (120, 1e18, 101)])
def test_a_training_that_blows_up_is_seen_at_every_hundredth_step_and_at_the_last(steps, rate, seen):
    """At 1e39 the first step leaves the weights infinite, at 1e18 a later one."""
    config = ToySuperpositionConfig(
        num_features=3, dim=1, num_instances=2, steps=steps, batch_size=4, learning_rate=rate
    )
    with pytest.raises(TrainingDiverged, match=f"not finite after {seen} steps at learning_rate"):
        train(config)
