"""Do the facts that activate a unit have a label in common? Purity over all active facts, against permuted labels.

Serves hidden units (ReLU, k winners) and latents of a sparse autoencoder alike. Labels are values, or groups of facts.

Shape legend: N facts, L units or latents, V labels, P permutations.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from models.diagnostics.key_value_neurons import NullComparison


@dataclass(frozen=True, kw_only=True)
class ActivePurity:
    """Purity of each unit, and what it is where the labels are dealt to the facts at random."""

    active_facts_L: Int64[Tensor, " L"]
    """facts that activate each unit"""
    purity_L: Float[Tensor, " L"]
    """share of the most common label among them; nan for a dead unit"""
    null_PL: Float[Tensor, "P L"]
    """the same with permuted labels"""

    @property
    def live_L(self) -> Bool[Tensor, " L"]:
        """Units that some fact activates."""
        return self.active_facts_L > 0

    @property
    def mean(self) -> NullComparison:
        """Mean over the live units. A unit of few facts is pure by chance; so it is in the null."""
        live_L = self.live_L
        return NullComparison(observed=float(self.purity_L[live_L].mean()), null_P=self.null_PL[:, live_L].mean(1))

    @property
    def share_above_null(self) -> float:
        """Share of the live units that are purer than by chance, each tested alone (one-sided p <= .05).

        By chance 1 in 20 at most; fewer where units have few facts. With fewer than 19 permutations always 0.
        """
        p_L = (1 + (self.null_PL >= self.purity_L).sum(0)) / (1 + len(self.null_PL))
        return float((p_L <= 0.05)[self.live_L].double().mean())


def active_purity(
    activations_NL: Float[Tensor, "N L"],
    labels_N: Int64[Tensor, " N"],
    *,
    weighted: bool = False,
    permutations: int,
    generator: torch.Generator,
) -> ActivePurity:
    """Share of the most common label (from 0) among the facts for which the activation of a unit is positive.

    Each of these facts counts once, or as much as its activation where `weighted`. The null keeps which facts a unit is
    active for, and how much, and permutes the labels among all facts.
    """
    weights_NL = activations_NL.clamp(min=0).double() if weighted else (activations_NL > 0).double()
    null = [
        _largest_share(weights_NL, labels_N[torch.randperm(len(labels_N), generator=generator)])
        for _ in range(permutations)
    ]
    return ActivePurity(
        active_facts_L=(activations_NL > 0).sum(0),
        purity_L=_largest_share(weights_NL, labels_N),
        null_PL=torch.stack(null),
    )


def _largest_share(weights_NL: Tensor, labels_N: Tensor) -> Tensor:
    """Of the weight of each column, the share that falls on the label with the most."""
    by_label_VL = weights_NL.new_zeros(int(labels_N.max()) + 1, weights_NL.shape[1]).index_add_(0, labels_N, weights_NL)
    return by_label_VL.amax(0) / by_label_VL.sum(0)
