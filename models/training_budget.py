"""What one training may cost. Free of torch, so that a config can be read without it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrainingBudget:
    """How an FFN is written. Its fields are part of a cell's identity."""

    steps: int = 3000
    """optimisation steps at most; the cosine schedule ends there"""
    learning_rate: float = 1e-2
    """of Adam, at the first step"""
    full_batch_up_to: int = 1024
    """facts; larger sets are trained in minibatches"""
    batch_size: int = 512
    """facts a minibatch"""
    goal_nats: float = 0.003
    """mean cross-entropy a fact, over the last 100 steps, at which training ends early"""
    max_seconds: float = 120.0
    """cap on one training; a row that hit it says so"""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, not {self.batch_size}")
