"""Adam over all weights of an FFN as one vector: one call a step for all weights that learn at one rate.

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
        of_factor: dict[float, list[str]] = {}
        for name in self._parameters:
            of_factor.setdefault(ffn.learning_rate_factors().get(name, 1.0), []).append(name)
        # Those of one learning rate lie together.
        self._in_vector = [name for names in of_factor.values() for name in names]
        self._weights_P = torch.cat([self._parameters[name].detach().flatten() for name in self._in_vector])
        self._gradients_P, self._means_P, self._squares_P = (torch.zeros_like(self._weights_P) for _ in range(3))
        vectors = (self._weights_P, self._gradients_P, self._means_P, self._squares_P)
        sizes = [sum(self._parameters[name].numel() for name in names) for names in of_factor.values()]
        parts = zip(*(vector_P.split(sizes) for vector_P in vectors), strict=True)
        self._parts = [(factor, [[part_P] for part_P in of]) for factor, of in zip(of_factor, parts, strict=True)]
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
            apart, of_precision = ffn.stored_apart(rounds_to), dict[Precision, list[str]]()
            for name in own:
                of_precision.setdefault(apart.get(name, rounds_to), []).append(name)
            for precision, names in of_precision.items():
                stored = [self.weights[name] for name in names]
                self.rounding += rounding([own[name] for name in names], precision, out=stored)
        self._update = partial(
            torch._fused_adamw_ if budget.optimizer == "adamw" else torch._fused_adam_,
            **{"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},  # torch's own
            **{"weight_decay": budget.weight_decay, "amsgrad": False, "maximize": False},
        )

    def _by_name(self, vector_P: Tensor) -> dict[str, Tensor]:
        sizes = [self._parameters[name].numel() for name in self._in_vector]
        parts = dict(zip(self._in_vector, vector_P.split(sizes), strict=True))
        return {name: parts[name].view(like.shape) for name, like in self._parameters.items()}

    def step(self, number: Float[Tensor, ""], rate: float) -> None:
        """One step along the gradients, `rate` that of weights of factor 1; steps are numbered from 1, in float32."""
        for factor, parts in self._parts:
            self._update(*parts, [], [number], lr=rate * factor)

    def moments(self) -> list[list[Tensor]]:
        """Mean and mean square of the gradients of each parameter, flat."""
        means, squares = self._by_name(self._means_P), self._by_name(self._squares_P)
        return [[means[name].flatten(), squares[name].flatten()] for name in self._parameters]
