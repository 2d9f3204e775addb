"""How many hidden units does an answer hang on: set to zero one at a time, and the most important ones together.

Exact for a linear read-out. `unit_scores_FV` is w_out_FE @ codes_VE.T, what a unit adds to the score of each value at
activation 1; `bias_V` is b_out . code. The candidates of fact n are the values [first, end).

Shape legend: N facts, B block, F hidden units, V values, M ablated units, P pairs of fact and unit.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

SCORES_AT_ONCE = 2**23


def deciding_units(
    hidden_blocks_BF: Iterable[Float[Tensor, "_ F"]],
    unit_scores_FV: Float[Tensor, "F V"],
    first_candidates_N: Int64[Tensor, " N"],
    end_candidates_N: Int64[Tensor, " N"],
    *,
    bias_V: Float[Tensor, " V"] | None = None,
) -> Int64[Tensor, " N"]:
    """Units of each fact that change its answer, right or wrong, when one of them alone is set to zero.

    There must be two values at least. Only pairs of fact and unit where the unit could close the margin are tried: it
    cannot where its activation times the range of its scores is smaller.
    """
    lowest_F, highest_F = unit_scores_FV.aminmax(dim=1)
    deciding = []
    for rows, h_BF in _numbered(hidden_blocks_BF):
        outside_BV = _outside(first_candidates_N[rows], end_candidates_N[rows], unit_scores_FV.shape[1])
        scores_BV = _scores(h_BF, unit_scores_FV, bias_V).masked_fill(outside_BV, -torch.inf)
        answers_B, best_B2 = scores_BV.argmax(1), scores_BV.topk(2, dim=1).values
        margin_B = best_B2[:, 0] - best_B2[:, 1]
        pairs_P2 = (h_BF.abs() * (highest_F - lowest_F) >= margin_B[:, None]).nonzero()
        deciding_B = torch.zeros_like(answers_B)
        for some_P2 in pairs_P2.split(max(1, SCORES_AT_ONCE // scores_BV.shape[1])):
            facts_P, units_P = some_P2.unbind(1)
            without_PV = scores_BV[facts_P] - h_BF[facts_P, units_P, None] * unit_scores_FV[units_P]
            changed_P = without_PV.argmax(1) != answers_B[facts_P]
            deciding_B.index_add_(0, facts_P, changed_P.long())
        deciding.append(deciding_B)
    return torch.cat(deciding)


@dataclass(frozen=True, kw_only=True)
class AblatedAnswers:
    """What is still answered."""

    right_N: Bool[Tensor, " N"]
    """whether the fact's value scores highest of its candidates; of equal scores the first counts"""
    log2_p_N: Float[Tensor, " N"]
    """log2 of the softmax over the candidates at the fact's value"""


def answers_without_top_units(
    hidden_blocks_BF: Iterable[Float[Tensor, "_ F"]],
    unit_scores_FV: Float[Tensor, "F V"],
    value_ids_N: Int64[Tensor, " N"],
    first_candidates_N: Int64[Tensor, " N"],
    end_candidates_N: Int64[Tensor, " N"],
    *,
    num_ablated: int,
    bias_V: Float[Tensor, " V"] | None = None,
) -> AblatedAnswers:
    """The answers after each fact has lost its own `num_ablated` most important units; 0 for what there is to lose.

    Importance of a unit to a fact: activation times its score of the fact's value less its mean score of the
    candidates, since what is added to all of them alike decides nothing.
    """
    # Sums over any range of candidates as the difference of two columns.
    sums_FV = functional.pad(unit_scores_FV.double().cumsum(1), (1, 0))
    right, log2_p = [], []
    for rows, h_BF in _numbered(hidden_blocks_BF):
        values_B, first_B, end_B = value_ids_N[rows], first_candidates_N[rows], end_candidates_N[rows]
        mean_FB = (sums_FV[:, end_B] - sums_FV[:, first_B]) / (end_B - first_B)
        importance_BF = h_BF * (unit_scores_FV[:, values_B] - mean_FB).T
        left_BF = h_BF.scatter(1, importance_BF.topk(num_ablated, dim=1).indices, 0.0)
        outside_BV = _outside(first_B, end_B, unit_scores_FV.shape[1])
        scores_BV = _scores(left_BF, unit_scores_FV, bias_V).masked_fill(outside_BV, -torch.inf)
        right.append(scores_BV.argmax(1) == values_B)
        log2_p.append(-functional.cross_entropy(scores_BV, values_B, reduction="none") / math.log(2))
    return AblatedAnswers(right_N=torch.cat(right), log2_p_N=torch.cat(log2_p))


def _numbered(hidden_blocks_BF: Iterable[Tensor]) -> Iterator[tuple[slice, Tensor]]:
    """Each block and the rows that it holds."""
    start = 0
    for h_BF in hidden_blocks_BF:
        yield slice(start, start := start + len(h_BF)), h_BF


def _outside(first_B: Tensor, end_B: Tensor, num_values: int) -> Tensor:
    columns_V = torch.arange(num_values, device=first_B.device)
    return (columns_V < first_B[:, None]) | (columns_V >= end_B[:, None])


def _scores(h_BF: Tensor, unit_scores_FV: Tensor, bias_V: Tensor | None) -> Tensor:
    scores_BV = h_BF @ unit_scores_FV
    return scores_BV if bias_V is None else scores_BV + bias_V
