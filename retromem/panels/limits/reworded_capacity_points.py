"""Points of the capacity by what is asked: one search a phrasing, over the same trained FFNs."""

from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np

from models.ffn_kinds import GatedConfig
from models.training_budget import TrainingBudget
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.measure.answers import accuracy, written
from retromem.measure.trained_ffn import most_facts_around
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.panels.limits.reworded_capacity import ASKED, FFN, INDEX, REQUIRED, RewordedCapacityConfig
from retromem.panels.points import Point
from retromem.seam import MemoryConfig


def reworded_capacity_points(config: RewordedCapacityConfig, seed: int, encoded: Sequence[KnowledgeSet]) -> list[Point]:
    """Everything of one seed; `encoded` are its text sets, with keys: people first, then cities."""
    points = []
    for num_written, knowledge in zip(config.wordings, encoded, strict=False):
        points += _capacities(config, knowledge, float(num_written), seed)
    for num_written, knowledge in zip(config.city_wordings, encoded[len(config.wordings) :], strict=True):
        points += _other_names(config, knowledge, float(num_written), seed)
    return points


def _capacities(config: RewordedCapacityConfig, knowledge: KnowledgeSet, x: float, seed: int) -> list[Point]:
    """Of every phrasing, and what the index answers over all facts."""
    memory_config = _ffn(config, config.width)

    @cache
    def accuracies(num_facts: int) -> dict[str, float]:
        return _accuracies(memory_config, knowledge.prefix(num_facts), seed)

    points = []
    of_index = _accuracies(FaissMemoryConfig(), knowledge, seed)
    expected, high = (knowledge.num_facts - 3) // 2, knowledge.num_facts
    for phrasing, series in ASKED.items():

        def reaches(num_facts: int, phrasing: str = phrasing) -> bool:
            return accuracies(num_facts)[phrasing] >= REQUIRED

        num_facts = most_facts_around(reaches, expected=expected, resolution=config.resolution, high=high)
        points.append(Point(quantity="facts", series=series, x=x, y=float(num_facts), seed=seed))
        points.append(Point(quantity="index_accuracy", series=series, x=x, y=of_index[phrasing], seed=seed))
    return points


def _other_names(config: RewordedCapacityConfig, knowledge: KnowledgeSet, x: float, seed: int) -> list[Point]:
    # Guessing well means to name the commonest value each time.
    chance = float(np.bincount(knowledge.value_ids_N).max()) / knowledge.num_facts
    found = {"chance": chance}
    for series, memory_config in ((FFN, _ffn(config, config.city_width)), (INDEX, FaissMemoryConfig())):
        memory = written(memory_config, knowledge, seed=seed)
        found[series] = accuracy(memory, knowledge.ask("alias"))
    return [Point(quantity="accuracy_alias", series=series, x=x, y=y, seed=seed) for series, y in found.items()]


def _ffn(config: RewordedCapacityConfig, width: int) -> FFNMemoryConfig:
    return FFNMemoryConfig(
        ffn=GatedConfig(width=width),
        code_dim=config.code_dim,
        training=TrainingBudget(steps=config.steps, full_batch_up_to=config.num_facts * max(config.wordings)),
    )


def _accuracies(memory_config: MemoryConfig, knowledge: KnowledgeSet, seed: int) -> dict[str, float]:
    memory = written(memory_config, knowledge, seed=seed)
    asked: tuple[Literal["identical", "seen", "heldout"], ...] = ("identical", "seen", "heldout")
    return {phrasing: accuracy(memory, knowledge.ask(phrasing)) for phrasing in asked}
