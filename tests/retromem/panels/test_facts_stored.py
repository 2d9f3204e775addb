"""The search that panels share: the most facts that are answered, also where hardly any are."""

import pytest

from models.ffn_kinds import DenseConfig, LinearConfig, TopKConfig
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import accuracy, first_facts, most_facts_around, random_table, train
from retromem.panels.facts_stored import facts_around, facts_stored

BUDGET = TrainingBudget(steps=300, learning_rate=3e-2)


def stored(config, expected, seed=0):
    around = facts_around(config, 6, 4, expected, seed=seed)
    return facts_stored(config, around, BUDGET, seed=seed, resolution=0.01)


def reaches(config, num_facts, expected_bits, seed=0):
    expected = expected_bits * config.num_params(6, 6) / 2
    table = first_facts(random_table(2 * int(expected) + 3, 6, 4, seed=seed), num_facts)
    return accuracy(train(config, table, BUDGET, seed=seed), table) >= 0.99


def test_the_number_found_is_answered_and_the_next_is_not():
    found = stored(LinearConfig(), 1.0)
    assert found > 2 and reaches(LinearConfig(), found, 1.0) and not reaches(LinearConfig(), found + 1, 1.0)


def test_of_fifty_facts_not_one_may_be_wrong():
    relu = DenseConfig(kind="relu", width=8)
    found = stored(relu, 1.5)
    assert found > 20 and reaches(relu, found, 1.5)


@pytest.mark.slow
def test_a_layer_that_stores_less_than_an_eighth_of_what_is_expected_is_found_by_halves():
    one_winner = TopKConfig(width=16, active_share=0.06)
    found = stored(one_winner, 24.0)
    assert 1 <= found < int(24 * one_winner.num_params(6, 6) / 2 / 8)
    assert reaches(one_winner, found, 24.0)


def test_one_wrong_answer_among_few_facts_does_not_end_the_search():
    """Accuracy .99 allows none of 30 answers to be wrong, and three of 300."""

    def reaches(num_facts):
        return num_facts < 20 or 100 <= num_facts <= 270

    assert 267 <= most_facts_around(reaches, expected=280, resolution=0.01) <= 270


def test_a_range_that_ends_too_early_is_no_capacity():
    with pytest.raises(RuntimeError, match="wider range"):
        stored(DenseConfig(kind="relu", width=24), 0.05)
