"""Random features and a ridge read-out: a ReLU FFN whose first layer is never fitted.

Shape legend: N facts, D key dimension, F hidden units, V values, E code dimension.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from models.closed_form.ridge import ridge_solution
from models.closed_form.value_directions import decision_targets


def random_feature_memory(
    keys_ND: Float[Tensor, "N D"],
    value_ids_N: Int64[Tensor, " N"],
    codes_VE: Float[Tensor, "V E"],
    *,
    units: int,
    ridge: float = 1e-9,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """{"w_in_DF": drawn, "w_out_FE": ridge from relu(keys w_in) to the values' decision targets}.

    w_in is the first thing that the generator draws and depends on nothing else: whoever has the seed can leave it out
    of what is stored, and then only F E parameters count. From 1e-9 to 1e-2 the ridge hardly changes how many
    facts are stored; .1 stores fewer. (Random features: Rahimi and Recht 2007.)
    """
    w_in_DF = torch.randn(keys_ND.shape[1], units, generator=generator)
    hidden_NF = functional.relu(keys_ND.double() @ w_in_DF.double())
    w_out_FE = ridge_solution(hidden_NF, decision_targets(codes_VE)[value_ids_N], ridge)
    return {"w_in_DF": w_in_DF, "w_out_FE": w_out_FE.float()}
