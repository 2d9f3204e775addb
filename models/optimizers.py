"""The optimisers that a budget can name, all of them torch's own.

Every weight starts at `learning_rate` times the factor that its FFN gives it.
"""

import math
from collections.abc import Iterable

import torch
from torch import nn

from models.ffn import FFN
from models.training_budget import TrainingBudget


def optimizers_for(ffn: FFN, budget: TrainingBudget) -> list[torch.optim.Optimizer]:
    """One optimiser over all weights; muon, which is made for matrices, leaves the other weights to Adam."""
    factors = ffn.learning_rate_factors()
    of_factor: dict[float, list[nn.Parameter]] = {}
    for name, weight in ffn.named_parameters():
        of_factor.setdefault(factors.get(name, 1.0), []).append(weight)
    groups = [(budget.learning_rate * factor, weights) for factor, weights in of_factor.items()]
    rate, decay = budget.learning_rate, budget.weight_decay
    match budget.optimizer:
        case "adam":
            return [torch.optim.Adam(_options(groups), lr=rate, weight_decay=decay, fused=True)]
        case "adamw":
            return [torch.optim.AdamW(_options(groups), lr=rate, weight_decay=decay, fused=True)]
        case "sgd":
            return [torch.optim.SGD(_options(groups), lr=rate, momentum=0.9, nesterov=True, weight_decay=decay)]
        case "muon":
            matrices, rest = (_of_dim(groups, matrix=matrix) for matrix in (True, False))
            found = [torch.optim.Muon(_options(matrices), lr=rate, weight_decay=decay)] if matrices else []
            others = [torch.optim.Adam(_options(rest), lr=rate, weight_decay=decay, fused=True)] if rest else []
            return [*found, *others]


def schedule_for(optimizer: torch.optim.Optimizer, budget: TrainingBudget) -> torch.optim.lr_scheduler.LRScheduler:
    """How the learning rate changes from step to step."""
    if budget.schedule == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=budget.steps)
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, budget.steps)


def rate_after(steps: int, budget: TrainingBudget) -> float:
    """Learning rate of the step that follows so many, as these schedules have it, for weights of factor 1."""
    if budget.schedule == "constant":
        return budget.learning_rate
    return budget.learning_rate * (1 + math.cos(math.pi * steps / budget.steps)) / 2


Groups = list[tuple[float, list[nn.Parameter]]]


def _options(groups: Groups) -> Iterable[dict[str, object]]:
    return [{"params": weights, "lr": rate} for rate, weights in groups]


def _of_dim(groups: Groups, *, matrix: bool) -> Groups:
    chosen = [(rate, [weight for weight in weights if (weight.dim() == 2) == matrix]) for rate, weights in groups]
    return [(rate, weights) for rate, weights in chosen if weights]
