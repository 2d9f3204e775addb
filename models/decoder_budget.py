"""What one training of a decoder may cost. Free of torch, so that a config can be read without it."""

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

from models.dial_checks import check_above_zero, check_one_or_more


@dataclass(frozen=True, kw_only=True)
class DecoderBudget:
    """How a decoder is trained: by AdamW, on minibatches of texts."""

    exposures: int = 200
    """passes over the texts at most; each shows a fact once in each of its texts"""
    batch_size: int = 128
    """texts a step"""
    learning_rate: float = 3e-3
    """of AdamW, after the warm-up"""
    warm_up: float = 0.05
    """share of the steps over which the learning rate rises from 0"""
    schedule: Literal["cosine", "constant"] = "cosine"
    """of the learning rate after the warm-up: falling to 0 at the last step, or not falling"""
    weight_decay: float = 0.01
    """decoupled; of matrices, not of gains"""
    most_gradient: float = 1.0
    """norm that the gradients are cut to"""
    goal_nats: float = 0.003
    """mean cross-entropy a token of the answers, over the last 50 steps, at which training ends early; 0: never"""
    computes_in: Literal["float32", "bfloat16"] = "float32"
    """activations and products; weights and their moments stay in float32"""
    recomputes: bool = False
    """activations in the backward pass, layer by layer (gradient checkpointing): less memory, a third more time"""
    compiled: bool = False
    """by torch.compile: worth it where a training takes minutes"""
    max_seconds: float = 1800.0
    """cap on one training; a row that hit it says so"""

    def __post_init__(self) -> None:
        check_one_or_more(batch_size=self.batch_size)
        check_above_zero(
            learning_rate=self.learning_rate, most_gradient=self.most_gradient, max_seconds=self.max_seconds
        )
        if self.exposures < 0:
            raise ValueError(f"exposures must be 0 or more, not {self.exposures}")
        if not 0 <= self.warm_up < 1:
            raise ValueError(f"warm_up must be at least 0 and less than 1, not {self.warm_up:g}")

    def rate_factor(self, step: int, num_steps: int) -> float:
        """Of the learning rate in this step, the first being 0."""
        warming = round(self.warm_up * num_steps)
        if step < warming:
            return (step + 1) / warming
        if self.schedule == "constant":
            return 1.0
        return (1 + cos(pi * (step - warming) / max(1, num_steps - warming))) / 2
