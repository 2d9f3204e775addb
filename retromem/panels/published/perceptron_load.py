"""Cover 1965, Gardner 1988: a perceptron learns two random labels a weight, the middle of what it can separate."""

from dataclasses import dataclass
from typing import Literal

from models.ffn_kinds import LinearConfig
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import accuracy, first_facts, most_facts, train
from retromem.panels.published.published_panel import PublishedPanel, of_seeds
from retromem.panels.theory.perceptron_limits_points import two_valued_table


@dataclass(frozen=True, kw_only=True)
class PerceptronLoadConfig(PublishedPanel):
    """Random labels that one output learns without an error, a weight."""

    panel: Literal["perceptron_load"] = "perceptron_load"
    weights: int = 64
    """of the perceptron"""
    steps: int = 2000
    """of each training, full batch"""
    learning_rate: float = 1.0
    """of Adam"""
    resolution: float = 0.03
    """of the search, relative"""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    """of patterns, labels and weights"""

    unit = "patterns a weight"

    @property
    def setting(self) -> str:
        return (
            f"perceptron of {self.weights} weights, random labels learnt without an error, "
            f"{of_seeds(len(self.seeds))}; {self.steps:,} full-batch steps of Adam at {self.learning_rate:g} with a "
            "cosine"
        )

    def number(self, seed: int) -> float:
        budget = TrainingBudget(steps=self.steps, learning_rate=self.learning_rate)
        whole = two_valued_table(3 * self.weights, self.weights, seed=seed)

        def reaches(num_facts: int) -> bool:
            table = first_facts(whole, num_facts)
            return accuracy(train(LinearConfig(), table, budget, seed=seed), table) == 1

        found = most_facts(reaches, low=3 * self.weights // 2, high=3 * self.weights, resolution=self.resolution)
        return found / self.weights
