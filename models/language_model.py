"""What every model that writes tokens can be asked by its training.

Shape legend: B batch, T tokens, D dimension of the stream, V tokens of the vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor, nn


class LanguageModel(nn.Module, ABC):
    """Tokens, and whatever else it is given -> logits of the next token."""

    recomputes = False
    """activations in the backward pass, layer by layer, instead of keeping them (gradient checkpointing)"""

    @abstractmethod
    def hidden(self, tokens_BT: Int64[Tensor, "B T"], *context: Any) -> Float[Tensor, "B T D"]:
        """The stream as the read-out is given it, for each token."""

    @abstractmethod
    def logits(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        """Of the next token."""

    def learning_rate_factors(self) -> Mapping[str, float]:
        """Parameters, by name, that learn at another rate than the rest: times so much."""
        return {}

    def auxiliary_loss(self) -> Tensor | None:
        """What the last forward pass asks of the training beside right tokens, in nats."""
        return None

    def step_done(self, progress: float) -> None:
        """After each optimisation step; progress runs from 0 to 1."""

    def is_settled(self) -> bool:
        """Whether training has come to the form that will answer; until then no goal ends it."""
        return True
