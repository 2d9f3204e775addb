"""What a store should write at a key so that its value's code wins the argmax.

Shape legend: V values, E code dimension, W values asked for, J the other values of one.
"""

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.optimize import nnls
from torch import Tensor

_UNDECODABLE = 1e-6
"""a margin below it is rounding: the code lies within the hull of the others"""


def decision_targets(codes_VE: Float[Tensor, "V E"]) -> Float[Tensor, "V E"]:
    """The outputs whose logits against the codes come nearest to the centred one-hot of the value.

    Regressing on them is regressing the logits on the one-hot: t = Z (Z'Z)^+ with Z the codes less their mean. A least
    squares fit that cannot reach its targets leaves an error with the covariance of the targets, and for that error
    these are Fisher's discriminant: inverse covariance times t_v is the code of v. Plain codes as targets store a
    quarter to a third fewer facts.
    """
    centred_VE = codes_VE.double() - codes_VE.double().mean(dim=0)
    inverse_EV: Tensor = torch.linalg.pinv(centred_VE, rtol=1e-6)
    return inverse_EV.T


def margin_optimal_directions(
    codes_VE: Float[Tensor, "V E"], value_ids_W: Int64[Tensor, " W"] | None = None, *, give_up_below: float = -1.0
) -> tuple[Float[Tensor, "W E"], Float[Tensor, " W"]]:
    """For each value asked for the unit u of the largest min over j of u . (c_v - c_j) / |c_v - c_j|, and that margin.

    The margins are the decodabilities of Dugan et al. 2025 (arXiv 2512.00207). Exact: the shortest u with all these
    products at least 1 is a least-distance problem, which non-negative least squares solves (Lawson and Hanson 1974,
    chapter 23). A value that no output could decode, its code within the hull of the others, gets its own code as
    direction and margin 0; so does each of two values with one code. Time grows with V for each value asked for (all
    where None): few of the others are as near as the nearest. Ends at a margin of `give_up_below` or less, the rest 0.
    """
    codes = codes_VE.double().numpy()
    asked_W = np.arange(len(codes)) if value_ids_W is None else value_ids_W.numpy()
    directions_WE, margins_W = np.zeros((len(asked_W), codes.shape[1])), np.zeros(len(asked_W))
    for row, value in enumerate(asked_W):
        code_E = codes[value]
        differences_JE = np.delete(code_E - codes, value, axis=0)
        lengths_J1 = np.linalg.norm(differences_JE, axis=1, keepdims=True)
        margin, direction_E = 0.0, code_E
        if lengths_J1.all():
            margin, direction_E = _least_distance(differences_JE / lengths_J1, code_E)
        directions_WE[row], margins_W[row] = direction_E / max(float(np.linalg.norm(direction_E)), 1e-300), margin
        if margin <= give_up_below:
            break
    return torch.from_numpy(directions_WE), torch.from_numpy(margins_W)


def _least_distance(walls_JE: np.ndarray, code_E: np.ndarray) -> tuple[float, np.ndarray]:
    """1 / |u| and u, the shortest with walls u >= 1; 0 and the code where there is none.

    From a few walls on, those that the last u breaks most are added until it breaks none: a solve over all would take
    the square of their number.
    """
    if not len(walls_JE):
        return 1.0, code_E
    few = 2 * len(code_E) + 2
    tried = np.argsort(walls_JE @ code_E, kind="stable")[:few]
    while True:
        with_ones = np.vstack([walls_JE[tried].T, np.ones(len(tried))])
        goal = np.zeros(len(with_ones))
        goal[-1] = 1.0
        residual = goal - with_ones @ nnls(with_ones, goal, maxiter=30 * len(tried))[0]
        if np.linalg.norm(residual) < _UNDECODABLE:
            return 0.0, code_E
        shortest_E = -residual[:-1] / residual[-1]
        products_J = walls_JE @ shortest_E
        products_J[tried] = np.inf
        broken = np.argsort(products_J, kind="stable")[:few]
        broken = broken[products_J[broken] < 1 - _UNDECODABLE]
        if not len(broken):
            return 1.0 / float(np.linalg.norm(shortest_E)), shortest_E
        tried = np.concatenate([tried, broken])
