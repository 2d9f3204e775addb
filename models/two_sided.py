"""The two-sided construction: an FFN over pairs of tokens that holds nearly a fact a free number, without gradients.

relu(u[a] + v[b]) W over two one-hot tokens, no biases. A fact (a, b) -> l is stored as a number: the units that fire
sum to offset + l + 1, and a quadratic read-out turns a sum into the label it lies nearest to. No gate is built: which
units fire is whatever the ReLU makes of it, so that both token tables carry values. While the pattern of firing units
is held the requirement is linear, and given v each row of u appears in its own facts only: ridge for every row of u,
then for every row of v, each time with the pattern read anew.

After github.com/Eppie/sequence-memorization-challenge, 2026 (docs/twosided-construction.md), derived anew from its
description. Ours: the tables start far below what the offset asks for, the steps are over-relaxed, and the ridge
follows the steps. Drawn at full size and without the other two, half of the draws stall at 16 units.

The price is fragility: the whole margin is half a unit, in sums of the size of the offset.

Shape legend: N facts, T tokens of one place, R rows (tokens whose values move), U units that carry facts, F = U + 1
hidden units, D = 2 T inputs, E labels.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

OFFSET_PER_UNIT = 16.0
"""enough that labels hardly move the pattern; an offset of F^2 would drown half a unit in float32 at F = 128"""
CROSSING_SHARE = 0.02
"""of all units of all facts may start or stop firing in a step; full steps empty the network, for every change of the
pattern raises the sum"""
_START_SHARE = 0.3
"""of the offset, that the sums have at the start. Tables drawn at full size keep the pattern of the draw, where rows of
nearly one pattern make facts that no values satisfy together; tables that grew seldom have such rows."""
_RELAXATION = 1.5
"""times the ridge solution: a third of the sweeps that 1 takes near capacity; at 1.8 the pattern never settles"""
_LOWEST_RIDGE, _HIGHEST_RIDGE = 1e-3, 0.1
"""the low one to begin with and to end. With as many facts as units a row's system is nearly singular, and the large
solutions of a low ridge would churn the pattern for ever; a high one takes many times the sweeps near capacity."""
_RIDGE_GROWTH = 1.1
"""times the ridge after a step that had to be shortened"""
_RIDGE_DECAY = 0.9
"""times the ridge after a full step"""
_TOLERANCE = 0.3
"""furthest that a sum may lie from its requirement; the read-out errs from .5, and float32 takes a part of the rest"""


@dataclass(frozen=True, kw_only=True)
class TwoSided:
    """Weights of a bias-free ReLU FFN over [one-hot of the first token; one-hot of the second]."""

    w_in_DF: Float[Tensor, "D F"]
    """float32; the last unit is the same for every token, and so always on"""
    w_out_FE: Float[Tensor, "F E"]
    """float32"""
    accuracy: float
    """share of the facts whose label is the argmax of the output, with these weights in float32"""
    iterations: int
    """sweeps over both tables; the maximum where the sums did not all come within tolerance"""


def two_sided(
    first_tokens_N: Int64[Tensor, " N"],
    second_tokens_N: Int64[Tensor, " N"],
    labels_N: Int64[Tensor, " N"],
    *,
    num_tokens: int,
    num_labels: int,
    hidden_units: int,
    seed: int,
    max_iterations: int = 1000,
) -> TwoSided:
    """Store facts (first token, second token) -> label, all pairs distinct; tokens of each place 0 ... num_tokens - 1.

    Solved in float64. The seed draws the tables it starts from: at 16 units and fewer some draws stall where another
    does not. Near the limit of about 3.6 facts per squared unit it takes thousands of iterations.
    """
    offset = OFFSET_PER_UNIT * hidden_units
    stored_TT = torch.zeros(num_tokens, num_tokens, dtype=torch.bool)
    stored_TT[first_tokens_N, second_tokens_N] = True
    assert int(stored_TT.sum()) == len(labels_N), "a pair has two labels"
    wanted_TT = torch.zeros(num_tokens, num_tokens, dtype=torch.float64)
    wanted_TT[first_tokens_N, second_tokens_N] = offset + 1 + labels_N.double()

    units = hidden_units - 1
    # relu of a difference of two Gaussians of deviation s averages s / sqrt(pi)
    scale = _START_SHARE * math.sqrt(math.pi) * offset / units
    generator = torch.Generator().manual_seed(seed)
    first_TU, second_TU = scale * torch.randn(2, num_tokens, units, dtype=torch.float64, generator=generator)
    ridge, iterations, furthest = _LOWEST_RIDGE, 0, math.inf
    while furthest > _TOLERANCE and iterations < max_iterations:
        first_TU, ridge = _stepped(first_TU, second_TU, stored_TT, wanted_TT, ridge)
        second_TU, ridge = _stepped(second_TU, first_TU, stored_TT.T, wanted_TT.T, ridge)
        sums_TT = functional.relu(first_TU[:, None] + second_TU).sum(dim=2)
        furthest = float((sums_TT - wanted_TT)[stored_TT].abs().max())
        iterations += 1

    tables_DU = torch.cat([first_TU, second_TU])
    # The height cancels from every logit. Twice the largest value adds no larger weight to either matrix.
    height = 2.0 * float(tables_DU.abs().max())
    w_in_DF = functional.pad(tables_DU, (0, 1), value=height / 2).float()
    w_out_FE = quadratic_read_out(units, num_labels, offset=offset, height=height).float()
    hidden_NF = functional.relu(w_in_DF[first_tokens_N] + w_in_DF[num_tokens + second_tokens_N])
    right_N = (hidden_NF @ w_out_FE).argmax(dim=1) == labels_N
    return TwoSided(w_in_DF=w_in_DF, w_out_FE=w_out_FE, accuracy=float(right_N.double().mean()), iterations=iterations)


def quadratic_read_out(units: int, num_labels: int, *, offset: float, height: float) -> Float[Tensor, "F E"]:
    """Weights, float64, that make logit c = (c + 1) (s - offset) - (c + 1)^2 / 2, with s the sum of the first units.

    Up to a constant that is -(s - offset - c - 1)^2 / 2: the largest logit is that of the label nearest to
    s - offset - 1. The last unit, always at `height`, supplies what does not depend on s.
    """
    places_E = torch.arange(1, num_labels + 1, dtype=torch.float64)
    constant_E = -(places_E * offset + places_E**2 / 2) / height
    return torch.cat([places_E.expand(units, -1), constant_E[None]])


def ridge_corrections(
    active_RTU: Bool[Tensor, "R T U"], missing_RT: Float[Tensor, "R T"], ridge: float
) -> Float[Tensor, "R U"]:
    """For each row the x that minimises, over its facts, (sum of x over active units - missing)^2 + ridge x^2.

    A pair that holds no fact has no active units. Added to the row's values, x keeps what else they hold.
    """
    fires_RTU = active_RTU.float()
    # Counts of facts: exact in float32 at half the cost.
    gram_RUU = (fires_RTU.mT @ fires_RTU).double()
    gram_RUU.diagonal(dim1=1, dim2=2).add_(ridge)
    right_RU1 = active_RTU.mT.double() @ missing_RT[:, :, None]
    return torch.cholesky_solve(right_RU1, torch.linalg.cholesky(gram_RUU))[:, :, 0]


def longest_step(before_NU: Float[Tensor, "N U"], after_NU: Float[Tensor, "N U"]) -> float:
    """The longest part, up to 1, of the way from before to after on which at most CROSSING_SHARE of all change sign.

    On a straight way each crosses zero once at most, so it is an order statistic of the times of crossing.
    """
    crosses_NU = (before_NU > 0) != (after_NU > 0)
    allowed = max(1, int(CROSSING_SHARE * before_NU.numel()))
    if int(crosses_NU.sum()) <= allowed:
        return 1.0
    start, end = before_NU[crosses_NU], after_NU[crosses_NU]
    return float((start / (start - end)).kthvalue(allowed).values)


def _stepped(
    rows_TU: Tensor, others_TU: Tensor, stored_TT: Tensor, wanted_TT: Tensor, ridge: float
) -> tuple[Tensor, float]:
    """The rows after a step towards what their facts want, the pattern and the other table held; and the next ridge."""
    before_TTU = rows_TU[:, None] + others_TU
    missing_TT = (wanted_TT - functional.relu(before_TTU).sum(dim=2)) * stored_TT
    change_TU = _RELAXATION * ridge_corrections((before_TTU > 0) & stored_TT[:, :, None], missing_TT, ridge)
    before_NU = before_TTU[stored_TT]
    after_NU = before_NU + change_TU[stored_TT.nonzero()[:, 0]]
    length = longest_step(before_NU, after_NU)
    full = length == 1.0
    next_ridge = max(_LOWEST_RIDGE, ridge * _RIDGE_DECAY) if full else min(_HIGHEST_RIDGE, ridge * _RIDGE_GROWTH)
    return rows_TU + length * change_TU, next_ridge
