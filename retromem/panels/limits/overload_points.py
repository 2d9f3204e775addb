"""Points of the overload: the same FFN written with ever more keys."""

import math
from dataclasses import replace

import torch

from models.any_ffn import AnyFFNConfig
from models.training_budget import TrainingBudget
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.measure.answers import accuracy, answers
from retromem.measure.bits import Calibration
from retromem.measure.judgement import Setting, judge
from retromem.measure.latency import EncoderCost
from retromem.measure.robustness import with_key_noise
from retromem.measure.settings import MeasureConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.panels.limits.chosen_keys import RANDOM_KEYS, ChosenKeys
from retromem.panels.limits.overload import DIM, NUM_VALUES, OverloadConfig
from retromem.panels.points import PUBLISHED, Point

_BITS_A_FACT = math.log2(NUM_VALUES)
_PUBLISHED_BITS = {
    "ReLU": {0.5: 1.02, 1.0: 2.02, 1.5: 1.56, 2.0: 1.45, 4.0: 1.38, 8.0: 1.37},
    "SwiGLU": {0.5: 1.32, 1.0: 2.63, 1.5: 2.00, 2.0: 2.01, 4.0: 1.62, 8.0: 1.57},
}
_AS_TRAINED = Calibration(temperature=1.0, epsilon=0.0)


def overload_points(config: OverloadConfig, seed: int, keys: ChosenKeys = RANDOM_KEYS) -> list[Point]:
    """Both kinds at every load."""
    points = []
    for name, ffn in config.kinds.items():
        for load in config.loads:
            knowledge = facts_of(config.num_facts(name, load), keys, seed=seed)
            found = _measured(config, ffn, knowledge, seed)
            points += [Point(quantity=what, series=name, x=load, y=y, seed=seed) for what, y in found.items()]
            if load in _PUBLISHED_BITS[name]:
                y = _PUBLISHED_BITS[name][load]
                points.append(Point(quantity="bits_per_param", series=name, labels=PUBLISHED, x=load, y=y))
        points += [Point(quantity="loss_noisy_bits", series="guessing", x=x, y=_BITS_A_FACT) for x in config.loads]
    return points


def facts_of(num_facts: int, keys: ChosenKeys, *, seed: int) -> KnowledgeSet:
    """The keys task of this seed, with these keys."""
    knowledge = keys_set(KeysConfig(dim=DIM, num_values=NUM_VALUES, num_facts=num_facts, seed=seed))
    assert knowledge.all_keys is not None
    return replace(knowledge, all_keys=keys.in_place_of(torch.from_numpy(knowledge.all_keys)).numpy())


def _measured(config: OverloadConfig, ffn: AnyFFNConfig, knowledge: KnowledgeSet, seed: int) -> dict[str, float]:
    budget = TrainingBudget(steps=config.steps, full_batch_up_to=knowledge.num_facts)
    memory_config = FFNMemoryConfig(ffn=ffn, training=budget)
    judged = judge(
        memory_config,
        knowledge,
        setting=Setting(study="overload", role="arm", seed=seed),
        measures=MeasureConfig(),
        encoder=EncoderCost(),
        quick=True,
    )
    (row,) = judged.rows
    assert row.bits_per_param is not None and row.accuracy is not None
    noisy = with_key_noise(knowledge.ask("identical"), config.query_noise, seed=seed)
    log2_p_Q = answers(judged.memory, noisy, knowledge.values, _AS_TRAINED).log2_p_Q
    return {
        "bits_per_param": row.bits_per_param,
        "accuracy": row.accuracy,
        "accuracy_noisy": accuracy(judged.memory, noisy),
        "loss_noisy_bits": -float(log2_p_Q.mean()),
    }
