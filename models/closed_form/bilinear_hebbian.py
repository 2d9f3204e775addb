"""The bilinear Hebbian store: products of two projections of the key, read out by what fired together.

phi(x) = (x A0) * (x A1) ("MLPs are Hebbians", Garcia et al. 2026, arXiv 2607.10034; derived anew from its formulas).

Shape legend: N facts, D key dimension, F hidden units, V values, E code dimension.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.sparse.linalg import LinearOperator, cg
from torch import Tensor

from models.closed_form.ridge import ridge_solution

ReadOut = Literal["raw", "whitened", "data_dependent"]

_HALF_STEP_ITERATIONS = 50
"""of conjugate gradients: 10 store 2 to 15 % fewer facts, 200 no more"""


def hebbian_memory(
    keys_ND: Float[Tensor, "N D"],
    value_ids_N: Int64[Tensor, " N"],
    codes_VE: Float[Tensor, "V E"],
    *,
    units: int,
    read_out: ReadOut,
    ridge: float = 1e-6,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """{"w_gate_DF": A0, "w_in_DF": A1, "w_out_FE": the read-out}, for a bilinear FFN.

    - raw: mean over facts of phi(key) (outer) code. A0 and A1 are drawn.
    - whitened: ridge from phi(keys) to the codes, in units of the mean square of phi. A0 and A1 are drawn.
    - data_dependent: from the whitened store, A1 and then A0 are moved towards the least squares solution with all else
      held (each a linear problem), and the read-out is solved anew.

    The targets are the codes themselves: with moving projections they hold a third more than decision targets.
    """
    keys_ND, targets_NE = keys_ND.double(), codes_VE.double()[value_ids_N]
    shape = (keys_ND.shape[1], units)
    gate_DF, in_DF = (torch.randn(shape, generator=generator).double() for _ in range(2))
    if read_out == "raw":
        w_out_FE = _phi(keys_ND, gate_DF, in_DF).T @ targets_NE / len(keys_ND)
    else:
        w_out_FE = ridge_solution(_phi(keys_ND, gate_DF, in_DF), targets_NE, ridge)
    if read_out == "data_dependent":
        in_DF = half_step(keys_ND, gate_DF, in_DF, w_out_FE, targets_NE)
        gate_DF = half_step(keys_ND, in_DF, gate_DF, w_out_FE, targets_NE)
        w_out_FE = ridge_solution(_phi(keys_ND, gate_DF, in_DF), targets_NE, ridge)
    return {"w_gate_DF": gate_DF.float(), "w_in_DF": in_DF.float(), "w_out_FE": w_out_FE.float()}


def _phi(keys_ND: Tensor, gate_DF: Tensor, in_DF: Tensor) -> Tensor:
    return (keys_ND @ gate_DF) * (keys_ND @ in_DF)


def half_step(
    keys_ND: Float[Tensor, "N D"],
    held_DF: Float[Tensor, "D F"],
    moved_DF: Float[Tensor, "D F"],
    w_out_FE: Float[Tensor, "F E"],
    targets_NE: Float[Tensor, "N E"],
) -> Float[Tensor, "D F"]:
    """The moved projection nearer to the minimum of |((keys held) * (keys moved)) w_out - targets|^2.

    Conjugate gradients on its normal equations, from where it stands, so that the square never grows.
    """
    gates_NF, products_FF = keys_ND @ held_DF, w_out_FE @ w_out_FE.T
    shape = moved_DF.shape

    def normal(flat: np.ndarray) -> np.ndarray:
        hidden_NF = gates_NF * (keys_ND @ torch.from_numpy(flat).reshape(shape))
        return (keys_ND.T @ (gates_NF * (hidden_NF @ products_FF))).flatten().numpy()

    right_DF = keys_ND.T @ (gates_NF * (targets_NE @ w_out_FE.T))
    solution, _ = cg(
        LinearOperator((moved_DF.numel(), moved_DF.numel()), matvec=normal, dtype=np.float64),
        right_DF.flatten().numpy(),
        x0=moved_DF.flatten().numpy(),
        rtol=1e-10,
        maxiter=_HALF_STEP_ITERATIONS,
    )
    return torch.from_numpy(solution).reshape(shape)
