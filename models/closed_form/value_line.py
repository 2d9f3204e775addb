"""Values as numbers on a line: a SwiGLU store found by repeated linear solves.

A fact asks for V - 1 margins, but one number can say which value is meant. Here the read-out starts as logit_v =
t_v s - t_v^2 / 2, which the level t_v nearest to the score s wins, so that a fact asks for one equation on s: log2 V
bits for one parameter. The two layers before the read-out have 2/3 of the parameters and answer almost as many facts;
freeing the read-out afterwards adds the rest. (The quadratic read-out is that of the two-sided construction of
Eppie/sequence-memorization-challenge; here the units are gated and every layer is solved for at once.)

Each solve is a Levenberg-Marquardt step: the network is linear in small moves, and the smallest move that meets the
rows wanted comes from the Gram matrix of their gradients. That matrix is a Hadamard product of inner products of keys
and of hidden units, so the Jacobian is never formed. Not one closed form, and the margins are thin: small noise on the
weights or the keys undoes it.

Shape legend: N facts, I inputs (key and a constant 1), F hidden units, V values, E code dimension, R rows wanted at
once (facts, later pairs of a fact and a wrong value), J wrong values looked at for each fact.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

_GATE_SCALE = 2.0
"""standard deviation of a gate before its activation, at first"""
_SCORE_SOLVES = 20
_ENOUGH_SCORES = 0.7
"""share of right scores from which on the margins finish sooner"""
_WANTED_MARGIN = 0.15
_HELD_MARGIN = 0.25
"""gaps between wanted and held keep their place in the solve, so that it does not break them; in steps of the line"""
_STORED_MARGIN = 0.01
"""counts as stored: float32 keeps it"""
_WRONG_VALUES = 4
"""the nearest of each fact"""
_GIVE_UP = 0.8
"""of the facts that the goal allows to lose, the worst this share stand back once nine in ten are stored"""
_FIRST_DAMPING = 1e-2
_STUCK_DAMPING = 1e6


@dataclass(frozen=True, kw_only=True)
class _Weights:
    gate_IF: Tensor
    in_IF: Tensor
    read_out_FV: Tensor
    """of the logits; in the first phase one column, that of the score"""
    bias_V: Tensor

    def activations(self, inputs_NI: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """silu of the gates, its slope, and what the gates multiply."""
        gates_NF = inputs_NI @ self.gate_IF
        sigmoid_NF = torch.sigmoid(gates_NF)
        slope_NF = sigmoid_NF * (1 + gates_NF * (1 - sigmoid_NF))
        return gates_NF * sigmoid_NF, slope_NF, inputs_NI @ self.in_IF

    def outputs(self, inputs_NI: Tensor) -> Tensor:
        gates_NF = functional.silu(inputs_NI @ self.gate_IF)
        return (gates_NF * (inputs_NI @ self.in_IF)) @ self.read_out_FV + self.bias_V


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """The problem near some weights: R numbers that are still missing, and how the weights give them."""

    missing_R: Tensor
    gram_RR: Tensor
    """inner products of the rows' gradients"""
    moved: Callable[[Tensor], _Weights]
    """the weights plus the rows' gradients, times these factors"""
    loss: Callable[[_Weights], float]
    stored_share: float


def value_line_memory(
    keys_ND: Float[Tensor, "N D"],
    value_ids_N: Int64[Tensor, " N"],
    codes_VE: Float[Tensor, "V E"],
    *,
    units: int,
    goal_accuracy: float = 0.99,
    max_solves: int = 60,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """{"w_gate_DF", "b_gate_F", "w_in_DF", "b_in_F", "w_out_FE", "b_out_E"} of a SwiGLU FFN with biases.

    Keys of about unit length, drawn from another seed than the generator's: weights drawn from the same numbers as the
    keys are not random to them. 2,920 facts at D = E = V = 32 and 41 units (4,050 parameters, 3.6 bits each) took about
    a minute on one core, at accuracy .99 after rounding to float32.

    Ends at the goal, after max_solves, or where no step helps: the caller measures what is stored. A solve: R^3 / 6
    multiplications and R^2 numbers in float64, with R about 1.3 N near capacity and up to 4 N beyond it.

    Raises:
        ValueError: fewer than 2 values, or codes that are not linearly independent (so at most E values).
    """
    num_values, dim_in = len(codes_VE), keys_ND.shape[1]
    if num_values < 2 or int(torch.linalg.matrix_rank(codes_VE.double())) < num_values:
        raise ValueError(f"values on a line need 2 or more linearly independent codes, not {tuple(codes_VE.shape)}")
    inputs_NI = functional.pad(keys_ND.double(), (0, 1), value=1.0)
    step = math.sqrt(12.0 / (num_values**2 - 1))  # levels of unit variance
    levels_V = step * (torch.arange(num_values).double() - (num_values - 1) / 2)

    drawn_2DF = torch.randn(2, dim_in, units, generator=generator).double()
    gate_IF, in_IF = functional.pad(drawn_2DF, (0, 0, 0, 1))
    weights = _Weights(
        gate_IF=_GATE_SCALE * gate_IF,
        in_IF=in_IF / math.sqrt(units),
        read_out_FV=torch.ones(units, 1).double(),
        bias_V=torch.zeros(1).double(),
    )
    scores = _Scores(inputs_NI, levels_V[value_ids_N], step)
    weights, solves = _solve(scores.rows, weights, goal=_ENOUGH_SCORES, most=min(_SCORE_SOLVES, max_solves))
    weights = _Weights(
        gate_IF=weights.gate_IF,
        in_IF=weights.in_IF,
        read_out_FV=weights.read_out_FV * levels_V,
        bias_V=weights.bias_V * levels_V - levels_V.square() / 2,
    )
    margins = _Margins(inputs_NI, value_ids_N, levels_V, step, goal_accuracy)
    weights, _ = _solve(margins.rows, weights, goal=goal_accuracy, most=max_solves - solves)

    to_codes_VE = torch.linalg.pinv(codes_VE.double()).T
    return {
        "w_gate_DF": weights.gate_IF[:-1].float(),
        "b_gate_F": weights.gate_IF[-1].float(),
        "w_in_DF": weights.in_IF[:-1].float(),
        "b_in_F": weights.in_IF[-1].float(),
        "w_out_FE": (weights.read_out_FV @ to_codes_VE).float(),
        "b_out_E": (weights.bias_V @ to_codes_VE).float(),
    }


def _solve(rows_at: Callable[[_Weights], _Rows], weights: _Weights, *, goal: float, most: int) -> tuple[_Weights, int]:
    """Levenberg-Marquardt until the share stored reaches the goal; the weights and the number of solves it took."""
    damping = _FIRST_DAMPING
    rows = rows_at(weights)
    for solves in range(most):
        if rows.stored_share >= goal:
            return weights, solves
        before, scale = rows.loss(weights), float(rows.gram_RR.diagonal().mean())
        while damping < _STUCK_DAMPING:
            damped_RR = rows.gram_RR.clone()
            damped_RR.diagonal().add_(damping * scale)
            factors_R = torch.cholesky_solve(rows.missing_R[:, None], torch.linalg.cholesky(damped_RR))[:, 0]
            moved = rows.moved(factors_R)
            if rows.loss(moved) < before:
                break
            damping *= 4
        else:
            return weights, solves
        weights, rows = moved, rows_at(moved)
        damping = max(damping / 5, 1e-9)
    return weights, most


class _Scores:
    """First phase: every score at its level, no wall yet; one row a fact."""

    def __init__(self, inputs_NI: Tensor, targets_N: Tensor, step: float) -> None:
        self._inputs_NI, self._targets_N, self._step = inputs_NI, targets_N, step
        self._inner_NN = inputs_NI @ inputs_NI.T

    def _missing(self, weights: _Weights) -> Tensor:
        return self._targets_N - weights.outputs(self._inputs_NI)[:, 0]

    def rows(self, weights: _Weights) -> _Rows:
        gates_NF, slope_NF, products_NF = weights.activations(self._inputs_NI)
        read_out_F = weights.read_out_FV[:, 0]
        to_in_NF, to_gate_NF = gates_NF * read_out_F, slope_NF * products_NF * read_out_F
        hidden_NF = gates_NF * products_NF
        missing_N = self._missing(weights)

        def moved(factors_N: Tensor) -> _Weights:
            weighted_IN = (self._inputs_NI * factors_N[:, None]).T
            return _Weights(
                gate_IF=weights.gate_IF + weighted_IN @ to_gate_NF,
                in_IF=weights.in_IF + weighted_IN @ to_in_NF,
                read_out_FV=weights.read_out_FV + hidden_NF.T @ factors_N[:, None],
                bias_V=weights.bias_V + factors_N.sum(),
            )

        return _Rows(
            missing_R=missing_N,
            gram_RR=self._inner_NN * (to_in_NF @ to_in_NF.T + to_gate_NF @ to_gate_NF.T) + hidden_NF @ hidden_NF.T + 1,
            moved=moved,
            loss=lambda at: float(self._missing(at).square().sum()),
            stored_share=float((missing_N.abs() < self._step / 2).double().mean()),
        )


class _Margins:
    """Second phase, the read-out free: each logit of a fact's value above those of the nearest wrong values."""

    def __init__(
        self, inputs_NI: Tensor, value_ids_N: Tensor, levels_V: Tensor, step: float, goal_accuracy: float
    ) -> None:
        self._inputs_NI, self._value_ids_N, self._step = inputs_NI, value_ids_N, step
        self._inner_NN = inputs_NI @ inputs_NI.T
        # A gap over its distance on the line is the distance of the score from the wall between the two values.
        self._distance_NV = (levels_V[value_ids_N][:, None] - levels_V).abs()
        self._true_NV = functional.one_hot(value_ids_N, len(levels_V)).bool()
        self._most_lost = int(_GIVE_UP * (1 - goal_accuracy) * len(value_ids_N))

    def _gaps(self, weights: _Weights) -> Tensor:
        logits_NV = weights.outputs(self._inputs_NI)
        gaps_NV = (logits_NV[self._true_NV][:, None] - logits_NV) / self._distance_NV
        return gaps_NV.masked_fill(self._true_NV, math.inf)

    def rows(self, weights: _Weights) -> _Rows:
        wanted, held = _WANTED_MARGIN * self._step, _HELD_MARGIN * self._step
        gaps_NJ, wrong_NJ = self._gaps(weights).topk(min(_WRONG_VALUES, self._true_NV.shape[1] - 1), largest=False)
        worst_N = gaps_NJ[:, 0]
        stored_share = float((worst_N > _STORED_MARGIN * self._step).double().mean())
        lost_N = torch.zeros(len(worst_N), dtype=torch.bool)
        if stored_share > 0.9:
            lost_N[worst_N.topk(self._most_lost, largest=False).indices] = True
        row_R, column_R = torch.nonzero((gaps_NJ < held) & ~lost_N[:, None], as_tuple=True)
        true_R, wrong_R = self._value_ids_N[row_R], wrong_NJ[row_R, column_R]
        share_R1 = 1 / self._distance_NV[row_R, wrong_R][:, None]

        gates_NF, slope_NF, products_NF = weights.activations(self._inputs_NI)
        by_value_VF = weights.read_out_FV.T
        direction_RF = (by_value_VF[true_R] - by_value_VF[wrong_R]) * share_R1
        to_in_RF, to_gate_RF = gates_NF[row_R] * direction_RF, (slope_NF * products_NF)[row_R] * direction_RF
        hidden_RF = (gates_NF * products_NF)[row_R]
        one_hot_RV = functional.one_hot(true_R, len(by_value_VF)) - functional.one_hot(wrong_R, len(by_value_VF))
        logits_RV = one_hot_RV * share_R1
        through_layers_RR = to_in_RF @ to_in_RF.T + to_gate_RF @ to_gate_RF.T
        through_read_out_RR = (hidden_RF @ hidden_RF.T + 1) * (logits_RV @ logits_RV.T)

        def moved(factors_R: Tensor) -> _Weights:
            weighted_IR = (self._inputs_NI[row_R] * factors_R[:, None]).T
            logits_moved_RV = logits_RV * factors_R[:, None]
            return _Weights(
                gate_IF=weights.gate_IF + weighted_IR @ to_gate_RF,
                in_IF=weights.in_IF + weighted_IR @ to_in_RF,
                read_out_FV=weights.read_out_FV + hidden_RF.T @ logits_moved_RV,
                bias_V=weights.bias_V + logits_moved_RV.sum(dim=0),
            )

        def loss(at: _Weights) -> float:
            nearest_NJ = self._gaps(at).topk(gaps_NJ.shape[1], largest=False).values
            return float((wanted - nearest_NJ[~lost_N]).clamp(min=0).square().sum())

        return _Rows(
            missing_R=(wanted - gaps_NJ[row_R, column_R]).clamp(min=0),
            gram_RR=self._inner_NN[row_R][:, row_R] * through_layers_RR + through_read_out_RR,
            moved=moved,
            loss=loss,
            stored_share=stored_share,
        )
