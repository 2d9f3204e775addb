"""Random features: the read-out against least squares in numpy, and the seed that stands for the first layer."""

import numpy as np
import pytest
import torch

from models.closed_form.random_features import random_feature_memory
from models.closed_form.value_directions import decision_targets


def facts_of(num_facts, dim, num_values, seed=0):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.nn.functional.normalize(torch.randn(num_facts, dim, generator=generator), dim=1)
    codes = torch.nn.functional.normalize(torch.randn(num_values, dim, generator=generator), dim=1)
    return keys, torch.randint(num_values, (num_facts,), generator=generator), codes


def store(keys, value_ids, codes, units=64):
    return random_feature_memory(keys, value_ids, codes, units=units, generator=torch.Generator().manual_seed(7))


def test_read_out_is_least_squares_on_the_hidden_units():
    keys, value_ids, codes = facts_of(300, 8, 6)
    w = store(keys, value_ids, codes, units=20)
    hidden = np.maximum(keys.double().numpy() @ w["w_in_DF"].double().numpy(), 0)
    expected = np.linalg.lstsq(hidden, decision_targets(codes)[value_ids].numpy(), rcond=None)[0]
    assert w["w_out_FE"].numpy() == pytest.approx(expected, abs=1e-4)


def test_first_layer_is_what_the_generator_draws_first_whatever_the_facts():
    drawn = torch.randn(8, 20, generator=torch.Generator().manual_seed(7))
    for seed in (0, 1):
        assert torch.equal(store(*facts_of(30, 8, 6, seed), units=20)["w_in_DF"], drawn)


@pytest.mark.parametrize("seed", range(3))
def test_as_many_facts_as_units_are_held_and_four_times_as_many_are_not(seed):
    """Of 64 units at 32 dimensions and values: 111 to 144 facts at accuracy .99."""
    for num_facts, holds in ((64, True), (256, False)):
        keys, value_ids, codes = facts_of(num_facts, 32, 32, seed)
        w = store(keys, value_ids, codes)
        answers = ((keys @ w["w_in_DF"]).relu() @ w["w_out_FE"] @ codes.T).argmax(dim=1)
        assert (float(answers.eq(value_ids).double().mean()) >= 0.99) == holds
