"""Hidden units read as key-value memories (Geva et al. 2021, arXiv 2012.14913).

The key of a unit is what its input weights respond to, its value the row of w_out that it adds to the output. What is
asked: which facts trigger a unit, whether they share a value, and whether the row of w_out says that value. A share
means little by itself: each is compared with the same share after the labels have been permuted over the facts.

`unit_scores_FV` is w_out_FE @ codes_VE.T, what a unit adds to the score of each value at activation 1. A unit that is
also active below 0 (SwiGLU) is two neurons: give [h, -h] and [w_out; -w_out].

Shape legend: N facts, B block, F hidden units, K triggers, E code dimension, V values, M candidates, P permutations,
L the triggers' own labels and P permuted ones, R distinct sets of candidates.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Triggers:
    """The facts that excite each unit most, strongest first."""

    activations_FK: Float[Tensor, "F K"]
    fact_ids_FK: Int64[Tensor, "F K"]
    """-1 where fewer than K facts have a positive activation"""


def top_triggers(hidden_blocks_BF: Iterable[Float[Tensor, "_ F"]], *, num_triggers: int) -> Triggers:
    """The facts of the highest positive activations, in one pass; beside a block, F x K numbers are kept.

    K is `num_triggers`, or N where there are fewer facts. Equal activations are ordered at will: where they are common
    (sign units), facts that are sorted by value would pass for pure triggers, so shuffle them.
    """
    best_FK, ids_FK, start = None, None, 0
    for h_BF in hidden_blocks_BF:
        block_FK, rows_FK = h_BF.detach().T.topk(min(num_triggers, len(h_BF)), dim=1)
        rows_FK += start
        if best_FK is None or ids_FK is None:
            best_FK, ids_FK = block_FK, rows_FK
        else:
            both_FK, both_ids_FK = torch.cat([best_FK, block_FK], 1), torch.cat([ids_FK, rows_FK], 1)
            best_FK, order_FK = both_FK.topk(min(num_triggers, both_FK.shape[1]), dim=1)
            ids_FK = both_ids_FK.gather(1, order_FK)
        start += len(h_BF)
    assert best_FK is not None and ids_FK is not None, "no block of activations"
    return Triggers(activations_FK=best_FK, fact_ids_FK=ids_FK.masked_fill(best_FK <= 0, -1))


@dataclass(frozen=True, kw_only=True)
class NullComparison:
    """A share, and the same with the labels permuted over the facts."""

    observed: float
    null_P: Float[Tensor, " P"]

    @property
    def null_mean(self) -> float:
        return float(self.null_P.mean())


def _lenders(
    triggers: Triggers, num_facts: int, permutations: int, generator: torch.Generator, groups_N: Tensor | None
) -> Tensor:
    """[L, F, K] fact whose label each trigger bears: its own, then that of a random other, one permutation a row."""
    ids_FK = triggers.fact_ids_FK
    permuted = (_permuted(num_facts, groups_N, generator).to(ids_FK.device)[ids_FK] for _ in range(permutations))
    return torch.stack([ids_FK, *permuted])


def _permuted(num_facts: int, groups_N: Tensor | None, generator: torch.Generator) -> Tensor:
    """A random permutation of the facts, or of those of each group among themselves."""
    order_N = torch.randperm(num_facts, generator=generator)
    if groups_N is None:
        return order_N
    within_N = torch.empty_like(order_N)
    within_N[groups_N.argsort(stable=True)] = order_N[groups_N[order_N].argsort(stable=True)]
    return within_N


def _compared(share_L: Tensor) -> NullComparison:
    return NullComparison(observed=float(share_L[0]), null_P=share_L[1:])


def trigger_purity(
    triggers: Triggers,
    labels_N: Int64[Tensor, " N"],
    *,
    permutations: int,
    generator: torch.Generator,
    groups_N: Int64[Tensor, " N"] | None = None,
) -> NullComparison:
    """Share of the most common label (value or group, from 0) among a unit's triggers, mean over units that have any.

    A unit of few triggers is pure by chance; so it is in the null. Labels are permuted among all facts, or among those
    of each group: of values that are those of one relation, triggers of that relation alone are no news.
    """
    missing_FK = triggers.fact_ids_FK < 0
    alone_K = -1 - torch.arange(missing_FK.shape[1], device=labels_N.device)
    counts_F = (~missing_FK).sum(1)
    share_L = []
    for lenders_FK in _lenders(triggers, len(labels_N), permutations, generator, groups_N):
        labels_FK = torch.where(missing_FK, alone_K, labels_N[lenders_FK])
        common_F = (labels_FK == labels_FK.mode(dim=1, keepdim=True).values).sum(1)
        share_L.append((common_F / counts_F)[counts_F > 0].double().mean())
    return _compared(torch.stack(share_L))


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Whether the row of w_out says what the triggers of the unit answer."""

    top: NullComparison
    """share of units with the value of their first trigger as the highest score among that fact's candidates"""
    reciprocal_rank: NullComparison
    """mean over all triggers of 1 / rank of the trigger's value among its candidates"""


def key_value_agreement(
    triggers: Triggers,
    unit_scores_FV: Float[Tensor, "F V"],
    value_ids_N: Int64[Tensor, " N"],
    first_candidates_N: Int64[Tensor, " N"],
    end_candidates_N: Int64[Tensor, " N"],
    *,
    permutations: int,
    generator: torch.Generator,
    groups_N: Int64[Tensor, " N"] | None = None,
) -> Agreement:
    """Agreement of keys and values (Geva et al. 2021, section 4), with the candidates [first, end) of each fact.

    A permuted fact brings its candidates along; it comes from the same group where there are groups. Of equal scores
    the first value ranks higher. Units without triggers do not count.
    """
    candidates_R2, set_N = torch.stack([first_candidates_N, end_candidates_N], 1).unique(dim=0, return_inverse=True)
    lenders_LFK = _lenders(triggers, len(value_ids_N), permutations, generator, groups_N)
    values_LFK, set_LFK = value_ids_N[lenders_LFK], set_N[lenders_LFK]
    ranks_LFK = torch.zeros_like(values_LFK)
    for number, (first, end) in enumerate(candidates_R2.tolist()):
        ranks_FM = unit_scores_FV[:, first:end].sort(dim=1, descending=True, stable=True).indices.argsort(dim=1) + 1
        columns_LFK = (values_LFK - first).clamp(0, end - first - 1)
        found_LFK = ranks_FM.expand(len(lenders_LFK), -1, -1).gather(2, columns_LFK)
        ranks_LFK = torch.where(set_LFK == number, found_LFK, ranks_LFK)
    present_FK = triggers.fact_ids_FK >= 0
    return Agreement(
        top=_compared((ranks_LFK[:, present_FK[:, 0], 0] == 1).double().mean(1)),
        reciprocal_rank=_compared((1.0 / ranks_LFK[:, present_FK].double()).mean(1)),
    )


def random_rotation(units: int, *, generator: torch.Generator) -> Float[Tensor, "F F"]:
    """An orthogonal matrix, uniform over all of them (Haar)."""
    return torch.nn.init.orthogonal_(torch.empty(units, units), generator=generator)


def rotated(
    h_NF: Float[Tensor, "N F"], w_out_FE: Float[Tensor, "F E"], q_FF: Float[Tensor, "F F"]
) -> tuple[Float[Tensor, "N F"], Float[Tensor, "F E"]]:
    """(h Q, Q^T w_out): the same outputs from other units.

    What is read as well from rotated units is a property of the layer, not of its units: only what exceeds the spread
    over several rotations speaks for a privileged basis. Labels that beat their null do not. Rotated units take both
    signs; where the units of the layer do not, their positive side alone is the like-for-like comparison.
    """
    return h_NF @ q_FF, q_FF.T @ w_out_FE
