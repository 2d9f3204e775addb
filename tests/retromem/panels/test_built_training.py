"""Training an FFN that is built: the same weights as through its config."""

import torch

from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import first_facts, random_table, train
from retromem.panels.built_training import train_built, weight_generator


def test_a_built_ffn_is_trained_as_one_that_a_config_names() -> None:
    table, budget = random_table(20, 4, 4, seed=1), TrainingBudget(steps=30)
    generator = weight_generator(1)
    ffn = DenseConfig(kind="relu").build(4, 4, generator=generator)
    train_built(ffn, table, budget, generator=generator)
    expected = train(DenseConfig(kind="relu"), table, budget, seed=1).state_dict()
    assert not ffn.training
    assert all(torch.equal(weight, expected[name]) for name, weight in ffn.state_dict().items())


def test_first_facts_are_nested_and_keep_all_values() -> None:
    table = random_table(20, 4, 7, seed=0)
    few = first_facts(table, 5)
    assert torch.equal(few.keys_ND, table.keys_ND[:5]) and torch.equal(few.value_ids_N, table.value_ids_N[:5])
    assert len(few.codes_VE) == 7
