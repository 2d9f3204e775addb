"""How an extractive reader is taught. Free of torch, so that a config can be read without it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ReaderTraining:
    """How a reader is taught."""

    steps: int = 300
    """optimisation steps; the cosine schedule ends there"""
    batch_size: int = 16
    """questions a step"""
    learning_rate: float = 2e-3
    """of AdamW, at the first step"""
    weight_decay: float = 0.05
    """decoupled"""
