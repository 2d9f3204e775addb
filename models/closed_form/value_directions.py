"""What a store should write at a key so that its value's code wins the argmax.

Shape legend: V values, E code dimension, W other values.
"""

import numpy as np
import torch
from jaxtyping import Float
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


def margin_optimal_directions(codes_VE: Float[Tensor, "V E"]) -> tuple[Float[Tensor, "V E"], Float[Tensor, " V"]]:
    """For each value the unit u of the largest min over j of u . (c_v - c_j) / |c_v - c_j|, and that margin.

    The margins are the decodabilities of Dugan et al. 2025 (arXiv 2512.00207). Exact: the shortest u with all these
    products at least 1 is a least-distance problem, which non-negative least squares solves (Lawson and Hanson 1974,
    chapter 23). A value that no output could decode, its code within the hull of the others, gets its own code as
    direction and margin 0; so does each of two values with one code.
    """
    codes = codes_VE.double().numpy()
    directions_VE, margins_V = np.zeros_like(codes), np.zeros(len(codes))
    for value, code_E in enumerate(codes):
        differences_WE = np.delete(code_E - codes, value, axis=0)
        lengths_W1 = np.linalg.norm(differences_WE, axis=1, keepdims=True)
        margin, direction_E = 0.0, code_E
        if lengths_W1.all():
            margin, direction_E = _least_distance(differences_WE / lengths_W1, code_E)
        directions_VE[value], margins_V[value] = direction_E / max(float(np.linalg.norm(direction_E)), 1e-300), margin
    return torch.from_numpy(directions_VE), torch.from_numpy(margins_V)


def _least_distance(walls_WE: np.ndarray, fallback_E: np.ndarray) -> tuple[float, np.ndarray]:
    """1 / |u| and u, the shortest with walls u >= 1; 0 and the fallback where there is none."""
    if not len(walls_WE):
        return 1.0, fallback_E
    with_ones = np.vstack([walls_WE.T, np.ones(len(walls_WE))])
    goal = np.zeros(len(with_ones))
    goal[-1] = 1.0
    residual = goal - with_ones @ nnls(with_ones, goal, maxiter=30 * len(walls_WE))[0]
    if np.linalg.norm(residual) < _UNDECODABLE:
        return 0.0, fallback_E
    shortest_E = -residual[:-1] / residual[-1]
    return 1.0 / float(np.linalg.norm(shortest_E)), shortest_E
