"""Linear associative memory: one matrix, written in one step.

Shape legend: N facts, D key dimension, V values, E code dimension.
"""

from jaxtyping import Float, Int64
from torch import Tensor

from models.closed_form.ridge import ridge_solution
from models.closed_form.value_directions import decision_targets


def outer_product_memory(
    keys_ND: Float[Tensor, "N D"], value_ids_N: Int64[Tensor, " N"], codes_VE: Float[Tensor, "V E"]
) -> dict[str, Tensor]:
    """{"w_DE": sum over facts of key (outer) code of its value}: every fact counts alike, none sees another."""
    return {"w_DE": (keys_ND.double().T @ codes_VE.double()[value_ids_N]).float()}


def pseudo_inverse_memory(
    keys_ND: Float[Tensor, "N D"],
    value_ids_N: Int64[Tensor, " N"],
    codes_VE: Float[Tensor, "V E"],
    *,
    ridge: float = 1e-9,
) -> dict[str, Tensor]:
    """{"w_DE": least squares from keys to the values' decision targets}: exact while the keys are independent.

    ridge is in units of the mean square component of the keys.
    """
    targets_NE = decision_targets(codes_VE)[value_ids_N]
    return {"w_DE": ridge_solution(keys_ND.double(), targets_NE, ridge).float()}
