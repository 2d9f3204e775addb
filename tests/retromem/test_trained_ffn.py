"""Panels that look inside an FFN train it as a memory behind the seam does: the same weights, accuracy and bits."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from models.any_ffn import AnyFFNConfig
from models.expert_kinds import ExpertsConfig
from models.ffn_kinds import DenseConfig, GatedConfig
from models.memory_kinds import ProductKeysConfig
from models.stack_kinds import StackConfig
from models.training_budget import TrainingBudget
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.measure.judgement import Setting, judge
from retromem.measure.latency import EncoderCost
from retromem.measure.settings import MeasureConfig
from retromem.measure.trained_ffn import (
    WEIGHT_SEEDS,
    KeyTable,
    accuracy,
    first_facts,
    random_table,
    rounded,
    stored_bits,
    train,
    train_built,
    weight_generator,
)
from retromem.memories.ffn_memory import FFNMemory, FFNMemoryConfig
from retromem.memories.value_codes import value_codes

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

SEED = 4
FACTS = keys_set(KeysConfig(dim=12, num_values=10, num_facts=150, seed=3))


@pytest.mark.parametrize(
    ("ffn", "precision", "settings"),
    [
        (DenseConfig(kind="relu", width=12), "float32", {}),
        (GatedConfig(width=16), "int8", {"key_noise": 0.1}),
        (ExpertsConfig(experts=4, width=6, balancing="auxiliary"), "float32", {"optimizer": "muon"}),
        (ProductKeysConfig(sub_keys=4, query_norm="batch"), "float16", {"schedule": "constant"}),
        (StackConfig(depth=2, block=DenseConfig(width=8)), "float32", {"goal_nats": 0.5}),
    ],
    ids=lambda given: given.label if hasattr(given, "label") else "",
)
def test_both_roads_give_the_same_bits(ffn: AnyFFNConfig, precision: Any, settings: dict[str, Any]) -> None:
    budget = TrainingBudget(steps=150, **settings)
    judged = judge(
        FFNMemoryConfig(ffn=ffn, precision=precision, training=replace(budget, full_batch_up_to=FACTS.num_facts)),
        FACTS,
        setting=Setting(study="study", role="arm", seed=WEIGHT_SEEDS + SEED),
        measures=MeasureConfig(),
        encoder=EncoderCost(),
        quick=True,
    )
    (row,) = judged.rows
    assert isinstance(judged.memory, FFNMemory) and FACTS.all_keys is not None
    table = KeyTable(
        keys_ND=torch.from_numpy(FACTS.all_keys),
        value_ids_N=torch.from_numpy(FACTS.all_value_ids),
        codes_VE=torch.from_numpy(value_codes(FACTS.values, 12, seed=WEIGHT_SEEDS + SEED)),
    )
    trained = rounded(train(ffn, table, budget, seed=SEED), precision)
    stored = judged.memory._ffn.ffn.state_dict()
    assert all(torch.equal(weight, stored[name]) for name, weight in trained.state_dict().items())
    assert 0.2 < accuracy(trained, table) == row.accuracy
    assert 30 < stored_bits(trained, table) == row.bits_ce


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
