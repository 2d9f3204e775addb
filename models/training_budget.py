"""What one training may cost. Free of torch, so that a config can be read without it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from models.dial_checks import check_above_zero, check_one_or_more

STEPS_A_LOOK = 100
"""steps between two looks at whether a training has diverged or come to its goal: a look waits for the device"""


class TrainingDiverged(ArithmeticError):
    """Loss or weights are no numbers any more; says at which step and learning rate."""


class TrainingCutShort(TimeoutError):
    """The clock ended a training whose result would pass for a lack of capacity."""


@dataclass(frozen=True, kw_only=True)
class TrainingBudget:
    """How an FFN is written. Its fields are part of a cell's identity."""

    steps: int = 3000
    """optimisation steps at most; the cosine schedule ends there"""
    schedule: Literal["cosine", "constant"] = "cosine"
    """of the learning rate: falling to 0 at the last step, or not falling"""
    learning_rate: float = 1e-2
    """of the optimiser, at the first step"""
    optimizer: Literal["adam", "adamw", "sgd", "muon"] = "adam"
    """sgd: with Nesterov's momentum of .9; muon: matrices alone, the rest by Adam"""
    weight_decay: float = 0.0
    """decoupled (adamw, muon) or in the gradient (adam, sgd)"""
    key_noise: float = 0.0
    """length of the Gaussian noise added to each key at each step, relative to the key's length"""
    rounding: Literal["after", "aware"] = "after"
    """to the precision that is stored: once trained, or at every step, with gradients passed straight through"""
    full_batch_up_to: int = 1024
    """facts; larger sets are trained in minibatches"""
    batch_size: int = 512
    """facts a minibatch"""
    goal_nats: float = 0.003
    """mean cross-entropy a fact, over the last 100 steps, at which training ends early; 0: never"""
    goal_accuracy: float | None = None
    """share of the facts answered right, by weights rounded where they are trained to be, at which training ends early;
    looked at every 100 steps. Empty: never"""
    abandons: bool = False
    """end a training early that will not come to goal_accuracy, by the facts that it answers so far"""
    max_seconds: float = 120.0
    """cap on one training; a row that hit it says so"""

    def __post_init__(self) -> None:
        check_one_or_more(batch_size=self.batch_size)
        if self.goal_accuracy is not None and not 0 < self.goal_accuracy <= 1:
            raise ValueError(f"goal_accuracy must be more than 0 and at most 1, not {self.goal_accuracy:g}")
        if self.abandons and (self.goal_accuracy is None or self.schedule != "cosine"):
            raise ValueError("abandons needs a goal_accuracy, and the cosine schedule that it was measured for")
        check_above_zero(learning_rate=self.learning_rate)


def what_to_lower(budget: TrainingBudget, suspects: Mapping[str, float]) -> str:
    """The setting to blame for a training that diverged; `suspects` are the FFN's own, in multiples of their default.

    A decay that takes more off a weight in one step than there is of it throws the weight to the other side. Adam's
    alone is part of a gradient whose length counts for nothing.
    """
    if budget.optimizer != "adam" and budget.learning_rate * budget.weight_decay > 1:
        return "training.weight_decay" if budget.weight_decay > budget.learning_rate else "training.learning_rate"
    of_ffn = {f"ffn.{name}": times for name, times in suspects.items()}
    beyond = {"training.learning_rate": max(1.0, budget.learning_rate / TrainingBudget.learning_rate), **of_ffn}
    return max(beyond, key=lambda name: beyond[name])
