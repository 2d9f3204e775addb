"""How many hidden units does an answer hang on: set to zero one at a time, and the most important ones together.

Exact for a linear read-out. `unit_scores_FV` is w_out_FE @ codes_VE.T, what a unit adds to the score of each value at
activation 1; `bias_V` is b_out . code. The candidates of fact n are the values [first, end).

Shape legend: N facts, B block, F hidden units, V values, M ablated units, P pairs of fact and unit.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from models.diagnostics.activation_patterns import numbered, outside

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
    for rows, h_BF in numbered(hidden_blocks_BF):
        outside_BV = outside(first_candidates_N[rows], end_candidates_N[rows], unit_scores_FV.shape[1])
        scores_BV = h_BF @ unit_scores_FV if bias_V is None else h_BF @ unit_scores_FV + bias_V
        scores_BV = scores_BV.masked_fill(outside_BV, -torch.inf)
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
