"""Accuracy that an FFN near its capacity loses when its trained weights are rounded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from models.precisions import Precision
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import accuracy, random_table, rounded, train
from retromem.panels.points import Point
from retromem.panels.published.ffn_capacity import StoredFactsPanel
from retromem.panels.published.published_panel import of_seeds


@dataclass(frozen=True, kw_only=True)
class RoundingLossConfig(StoredFactsPanel):
    """Accuracy lost by rounding after training, at a share of the capacity; the largest of the seeds."""

    panel: Literal["rounding_loss"] = "rounding_loss"
    load: float = 0.95
    """of the capacity"""
    precision: Precision = "int8"
    """that the weights are rounded to"""
    expected: float
    """bits per parameter, around which the capacity is searched"""
    steps: int = 3000
    """of each training, full batch"""

    unit = "accuracy"

    @property
    def setting(self) -> str:
        return (
            f"{self.ffn.label} at {self.load:.0%} of its capacity, d = {self.dim}, rounded to {self.precision} after "
            f"{self.steps:,} full-batch steps: accuracy lost, worst of {of_seeds(len(self.seeds))}"
        )

    def number(self, seed: int) -> float:
        budget = TrainingBudget(steps=self.steps)
        whole = self.stored(self.expected, [budget], seed=seed)
        table = random_table(int(self.load * whole), self.dim, self.num_values, seed=seed)
        ffn = train(self.ffn, table, budget, seed=seed)
        before = accuracy(ffn, table)
        return before - accuracy(rounded(ffn, self.precision), table)

    def ours(self, points: Sequence[Point]) -> float:
        return max(point.y for point in points)
