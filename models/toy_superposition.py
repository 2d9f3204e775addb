"""Toy models of superposition: how many sparse features a layer of few dimensions represents (Elhage et al. 2022).

x in [0, 1]^N, each feature present with probability p and then uniform; x' = relu(W^T W x + b); the loss is the
importance-weighted squared error. One instance for each p, all trained at once in one stacked tensor. The read-outs
take any matrix whose columns are feature directions, so they also serve the input weights of a trained FFN.

Shape legend: I instances, B batch, N features, M hidden dimensions.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from models.dial_checks import check_above_zero
from models.step_module import StepModule, take_steps
from models.training_budget import STEPS_A_LOOK, TrainingDiverged

DENSE_FROM = 0.75
"""Dimensions per feature, midway between the two published plateaus: 1 (no superposition) and 1/2 (antipodal pairs)."""
FLAT_WITHIN = 1.1
"""Largest over smallest number of dimensions per feature on one plateau."""


@dataclass(frozen=True, kw_only=True)
class ToySuperpositionConfig:
    """The defaults train in about half a minute on one idle core."""

    num_features: int = 80
    dim: int = 20
    """hidden dimensions, fewer than features"""
    num_instances: int = 20
    """feature probabilities, evenly spaced in their logarithm from 1 down to the lowest"""
    lowest_probability: float = 0.1
    importance_decay: float = 1.0
    """feature i weighs decay^i in the loss"""
    steps: int = 3000
    batch_size: int = 384
    learning_rate: float = 1e-3
    """of AdamW, its weight decay .01 as published"""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.dim < self.num_features:
            raise ValueError(f"dim must be 1 to {self.num_features - 1} (fewer than features), not {self.dim}")
        if self.num_instances < 2:
            raise ValueError(f"num_instances must be 2 or more, not {self.num_instances}")
        if not 0 < self.lowest_probability < 1:
            raise ValueError(f"lowest_probability must lie between 0 and 1, not {self.lowest_probability}")
        if not 0 < self.importance_decay <= 1:
            raise ValueError(f"importance_decay must be more than 0 and at most 1, not {self.importance_decay}")
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError(f"steps and batch_size must be 1 or more, not {self.steps} and {self.batch_size}")
        check_above_zero(learning_rate=self.learning_rate)


@dataclass(frozen=True, kw_only=True)
class ToyModels:
    """Trained instances, feature probability falling."""

    probabilities_I: Float[Tensor, " I"]
    w_IMN: Float[Tensor, "I M N"]
    b_IN: Float[Tensor, "I N"]


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """A stretch of feature probabilities over which the dimensions per feature stay put."""

    dimensions_per_feature: float
    """mean over the instances of the stretch"""
    highest_probability: float
    lowest_probability: float
    num_instances: int


def dimensions_per_feature(w_MN: Float[Tensor, "*I M N"]) -> Float[Tensor, "*I"]:
    """D* = M / ||W||_F^2: about the hidden dimensions for each feature that is represented."""
    return w_MN.shape[-2] / w_MN.square().sum((-2, -1))


def feature_dimensionality(w_MN: Float[Tensor, "*I M N"]) -> Float[Tensor, "*I N"]:
    """D_i = ||W_i||^2 / sum_j (W_i/||W_i|| . W_j)^2: the share of a dimension that feature i has, 0 where W_i = 0."""
    own_N = w_MN.square().sum(-2)
    return torch.where(own_N > 0, own_N / (own_N + interference(w_MN)), 0.0)


def interference(w_MN: Float[Tensor, "*I M N"]) -> Float[Tensor, "*I N"]:
    """sum over j other than i of (W_i/||W_i|| . W_j)^2: what the others put on the direction of feature i."""
    overlap_NN = functional.normalize(w_MN, dim=-2, eps=1e-30).transpose(-2, -1) @ w_MN
    itself_NN = torch.eye(w_MN.shape[-1], dtype=torch.bool, device=w_MN.device)
    return overlap_NN.masked_fill(itself_NN, 0.0).square().sum(-1)


def represented(w_MN: Float[Tensor, "*I M N"]) -> Bool[Tensor, "*I N"]:
    """Features longer than 1/2: trained lengths lie near 0 or near 1."""
    return w_MN.square().sum(-2) > 0.25


def sparse_features(
    probabilities_I: Float[Tensor, " I"], batch_size: int, num_features: int, generator: torch.Generator
) -> Float[Tensor, "I B N"]:
    """Each feature 0, or with probability p uniform in [0, 1]."""
    # One draw decides both: 1 - u / p is uniform where u < p and negative elsewhere.
    u_IBN = torch.rand(len(probabilities_I), batch_size, num_features, generator=generator)
    return u_IBN.div_(-probabilities_I[:, None, None]).add_(1.0).clamp_(min=0.0)


class ToySuperpositionModule(StepModule):
    """One instance for each feature probability."""

    def __init__(self, config: ToySuperpositionConfig) -> None:
        super().__init__(config.steps)
        self.config = config
        self._generator = torch.Generator().manual_seed(config.seed)
        self.probabilities_I = config.lowest_probability ** torch.linspace(0, 1, config.num_instances)
        self._importance_N = config.importance_decay ** torch.arange(config.num_features)
        scale = math.sqrt(2 / (config.dim + config.num_features))  # Xavier, as published
        drawn_IMN = torch.randn(config.num_instances, config.dim, config.num_features, generator=self._generator)
        self.w_IMN = nn.Parameter(scale * drawn_IMN)
        self.b_I1N = nn.Parameter(torch.zeros(config.num_instances, 1, config.num_features))
        self._optimizer = torch.optim.AdamW([self.w_IMN, self.b_I1N], lr=config.learning_rate, fused=True)

    def step(self, number: int) -> Tensor:
        config = self.config
        x_IBN = sparse_features(self.probabilities_I, config.batch_size, config.num_features, self._generator)
        out_IBN = torch.baddbmm(self.b_I1N, x_IBN @ self.w_IMN.transpose(1, 2), self.w_IMN).relu()
        loss: Tensor = (self._importance_N * (x_IBN - out_IBN).square()).mean((1, 2)).sum()
        self._descend(loss)
        is_last = number == config.steps - 1
        if (number % STEPS_A_LOOK == 0 or is_last) and not all(w.isfinite().all() for w in (self.w_IMN, self.b_I1N)):
            raise TrainingDiverged(
                f"the weights are not finite after {number + 1} steps at learning_rate {config.learning_rate:g}: "
                "lower it"
            )
        return loss


def train(config: ToySuperpositionConfig) -> ToyModels:
    """Train one instance for each feature probability.

    Raises:
        TrainingDiverged: the weights are no numbers any more.
    """
    module = ToySuperpositionModule(config)
    take_steps(module)
    return ToyModels(
        probabilities_I=module.probabilities_I, w_IMN=module.w_IMN.detach(), b_IN=module.b_I1N.detach().squeeze(1)
    )


def plateau(models: ToyModels) -> Plateau:
    """The longest flat stretch of D* over the logarithm of the feature probability, in superposition.

    Flat: the largest D* is at most `FLAT_WITHIN` times the smallest. In superposition: D* below `DENSE_FROM`, which
    leaves out the plateau at 1 of dense features. Instances that represent every feature are left out too: with none
    to add, D* stays near M / N whatever the geometry. The first of equally long stretches counts.

    Raises:
        ValueError: no instance is in superposition with a feature left over.
    """
    d_I = dimensions_per_feature(models.w_IMN)
    eligible_I = ((d_I < DENSE_FROM) & ~represented(models.w_IMN).all(-1)).tolist()
    if not any(eligible_I):
        raise ValueError("no instance represents some features in superposition and leaves others out")
    log_p_I = models.probabilities_I.log()
    stretches = []
    for first in range(len(d_I)):
        last = first
        while last < len(d_I) and all(eligible_I[first : last + 1]):
            window = d_I[first : last + 1]
            if window.max() > FLAT_WITHIN * window.min():
                break
            # Rounded, so that the last digits of float32 do not choose between equally long ones.
            stretches.append((round(float(log_p_I[first] - log_p_I[last]), 4), -first, last))
            last += 1
    _, minus_first, last = max(stretches)
    chosen = slice(-minus_first, last + 1)
    return Plateau(
        dimensions_per_feature=float(d_I[chosen].mean()),
        highest_probability=float(models.probabilities_I[-minus_first]),
        lowest_probability=float(models.probabilities_I[last]),
        num_instances=last + 1 + minus_first,
    )
