"""Adam over all weights of an FFN as one vector: one call a step, whatever the number of weights.

torch.optim's fused Adam is the same call behind 40 microseconds of bookkeeping.

Shape legend: P parameters.
"""

from collections.abc import Mapping
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from models.ffn import FFN
from models.precisions import Precision
from models.rounding import Operation, rounding
from models.training_budget import TrainingBudget


class FlatAdam:
    """Makes the parameters of an FFN views of one vector, and keeps their gradients and moments likewise."""

    def __init__(self, ffn: FFN, budget: TrainingBudget, *, rounds_to: Precision | None) -> None:
        self._parameters = dict(ffn.named_parameters())
        weights = list(self._parameters.values())
        self._weights_P = torch.cat([weight.detach().flatten() for weight in weights])
        self._gradients_P, self._means_P, self._squares_P = (torch.zeros_like(self._weights_P) for _ in range(3))
        own = self._by_name(self._weights_P)
        for name, weight in self._parameters.items():
            weight.data = own[name]
        self.gradients: Mapping[str, Tensor] = self._by_name(self._gradients_P)
        """written by whoever differentiates, read by `step`"""
        self.weights: Mapping[str, Tensor] = own
        """what the FFN is to be computed with: rounded where the training is one for rounded weights"""
        self.rounding: list[Operation] = []
        """brings the weights up to date; the gradient of a rounded weight is that of its own"""
        if rounds_to is not None:
            self.weights = self._by_name(torch.empty_like(self._weights_P))
            self.rounding = rounding(list(own.values()), rounds_to, out=list(self.weights.values()))
        self._update = partial(
            torch._fused_adamw_ if budget.optimizer == "adamw" else torch._fused_adam_,
            **{"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},  # torch's own
            **{"weight_decay": budget.weight_decay, "amsgrad": False, "maximize": False},
        )

    def _by_name(self, vector_P: Tensor) -> dict[str, Tensor]:
        sizes = [weight.numel() for weight in self._parameters.values()]
        parts = vector_P.split(sizes)
        return {name: part.view(like.shape) for (name, like), part in zip(self._parameters.items(), parts, strict=True)}

    def step(self, number: Float[Tensor, ""], rate: float) -> None:
        """One step along the gradients; steps are numbered from 1, in float32."""
        self._update([self._weights_P], [self._gradients_P], [self._means_P], [self._squares_P], [], [number], lr=rate)

    def moments(self) -> list[list[Tensor]]:
        """Mean and mean square of the gradients of each parameter, flat."""
        means, squares = self._by_name(self._means_P), self._by_name(self._squares_P)
        return [[means[name].flatten(), squares[name].flatten()] for name in self._parameters]
