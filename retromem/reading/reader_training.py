"""How an extractive reader is taught. Free of torch, so that a config can be read without it."""

import math
from dataclasses import dataclass

from models.dial_checks import check_one_or_more


@dataclass(frozen=True, kw_only=True)
class ReaderTraining:
    """How a reader is taught."""

    steps: int = 300
    """optimisation steps; the schedule ends there"""
    batch_size: int = 16
    """questions a step"""
    learning_rate: float = 2e-3
    """of AdamW, at its height: it rises over three tenths of the steps, then falls along a cosine"""
    weight_decay: float = 0.05
    """decoupled"""

    def __post_init__(self) -> None:
        check_one_or_more(steps=self.steps, batch_size=self.batch_size)
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be more than 0 and finite, not {self.learning_rate}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be 0 or more and finite, not {self.weight_decay}")
