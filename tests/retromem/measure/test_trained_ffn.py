"""Panels that look inside an FFN train it as a memory behind the seam does: the same weights, accuracy and bits."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from models.any_ffn import AnyFFNConfig
from models.expert_kinds import ExpertsConfig
from models.ffn_kinds import DenseConfig, GatedConfig, LinearConfig
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
    most_facts,
    perturbed_accuracy,
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


def test_stored_bits_of_a_map_that_knows_all_or_nothing_by_hand() -> None:
    """Of 60 facts of the values a, b and c 40 have a, 15 b and 5 c."""
    num = 60
    value_ids_N = torch.tensor([0] * 40 + [1] * 15 + [2] * 5)
    table = KeyTable(keys_ND=torch.eye(3)[value_ids_N], value_ids_N=value_ids_N, codes_VE=torch.eye(3))
    ffn = LinearConfig().build(3, 3, generator=torch.Generator())
    ffn.load_state_dict({"w_DE": 1000 * torch.eye(3)})
    epsilon = float(np.float16(1 / num))  # one fact's worth, stored in float16 and never less
    epsilon = epsilon if epsilon >= 1 / num else float(np.nextafter(np.float16(1 / num), np.float16(1)))
    smoothing = num * math.log2(1 - epsilon + epsilon / 3)
    assert stored_bits(ffn, table) == pytest.approx(num * math.log2(3) + smoothing, abs=1e-6)
    ffn.load_state_dict({"w_DE": torch.zeros(3, 3)})
    assert stored_bits(ffn, table) == pytest.approx(0, abs=1e-9)


def test_random_tables_have_unit_rows_and_a_value_a_key_where_asked() -> None:
    table = random_table(30, 8, None, seed=0)
    assert table.value_ids_N.tolist() == list(range(30))
    assert table.codes_VE.shape == (30, 8)
    for rows in (table.keys_ND, table.codes_VE):
        assert rows.norm(dim=1) == pytest.approx(torch.ones(len(rows)))
    assert random_table(30, 8, 5, seed=0).value_ids_N.max() < 5


def test_accuracy_noise_and_rounding_on_a_map_that_is_known() -> None:
    table = KeyTable(keys_ND=torch.eye(4), value_ids_N=torch.tensor([0, 1, 2, 0]), codes_VE=torch.eye(4))
    ffn = LinearConfig().build(4, 4, generator=torch.Generator())
    with torch.no_grad():
        ffn.w_DE.copy_(torch.eye(4))
    assert accuracy(ffn, table) == 0.75
    assert perturbed_accuracy(ffn, table, 0.0, trials=3, seed=0) == 0.75
    assert perturbed_accuracy(ffn, table, 50.0, trials=200, seed=0) == pytest.approx(0.25, abs=0.08)
    assert torch.equal(ffn.w_DE, torch.eye(4))
    weights = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ffn.w_DE.copy_(weights)
    assert torch.equal(rounded(ffn, "float16").w_DE, weights.half().float())


def test_training_is_what_stores() -> None:
    table = random_table(60, 8, 4, seed=0)
    config = DenseConfig(kind="relu", width=16)
    assert accuracy(train(config, table, TrainingBudget(steps=500), seed=0), table) == 1
    assert accuracy(train(config, table, TrainingBudget(steps=0), seed=0), table) < 0.6


def test_a_capacity_at_the_end_of_its_range_is_no_number() -> None:
    assert most_facts(lambda n: n <= 77, low=16, high=128, resolution=0.001) == 77
    with pytest.raises(RuntimeError, match="even 128 facts were stored"):
        most_facts(lambda n: True, low=16, high=128, resolution=0.01)
