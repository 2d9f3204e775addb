"""Facts that an FFN stores under one condition, over those under another: rounded or not, few exposures or many."""

from dataclasses import dataclass
from typing import Literal

from models.precisions import Precision
from models.training_budget import TrainingBudget
from retromem.panels.published.ffn_capacity import StoredFactsPanel
from retromem.panels.published.published_panel import of_seeds


@dataclass(frozen=True, kw_only=True)
class Condition:
    """How the facts are stored."""

    expected: float
    """bits per parameter, around which is searched"""
    steps: int = 3000
    """of each training, which are exposures"""
    learning_rates: tuple[float, ...] = (1e-2,)
    """of Adam with a cosine; the better one counts"""
    precision: Precision = "float32"
    """that the weights are rounded to, once trained"""

    @property
    def budgets(self) -> list[TrainingBudget]:
        """One a learning rate."""
        return [TrainingBudget(steps=self.steps, learning_rate=rate) for rate in self.learning_rates]

    @property
    def label(self) -> str:
        rates = " and ".join(f"{rate:g}" for rate in self.learning_rates)
        better = f"at the better of {rates}" if len(self.learning_rates) > 1 else f"at {rates}"
        return f"{self.precision}, {self.steps:,} full-batch steps of Adam {better} with a cosine"


@dataclass(frozen=True, kw_only=True)
class CapacityRatioConfig(StoredFactsPanel):
    """Facts stored at accuracy .99 under the first condition over those under the second."""

    panel: Literal["capacity_ratio"] = "capacity_ratio"
    first: Condition
    """above the line"""
    second: Condition
    """below the line"""

    unit = "ratio"

    @property
    def searched_to(self) -> float:
        return 2 * self.resolution

    @property
    def setting(self) -> str:
        return (
            f"{self.ffn.label}, d = {self.dim}, {self.num_values} values: capacity in {self.first.label} over that in "
            f"{self.second.label}, {of_seeds(len(self.seeds))}"
        )

    def number(self, seed: int) -> float:
        first, second = (
            self.stored(one.expected, one.budgets, seed=seed, precision=one.precision)
            for one in (self.first, self.second)
        )
        return first / second
