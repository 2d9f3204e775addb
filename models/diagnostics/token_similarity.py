"""How alike the states of a text's tokens are: their mean cosine, and their distance from one common vector.

Both say how near the matrix of the states is to rank one with equal rows, to which self-attention without skip
connections and FFNs converges (Dong et al. 2021, arXiv 2103.03404). Computed in float64.

Shape legend: B texts, T tokens (2 or more), D dimension of the states.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def mean_cosine(x_BTD: Float[Tensor, "B T D"]) -> Float[Tensor, " B"]:
    """Mean cosine of any two different tokens of a text; that of a state of zeros with any other is 0."""
    num_tokens = x_BTD.shape[1]
    unit_BTD = functional.normalize(x_BTD.double(), dim=2)
    all_pairs_B = unit_BTD.sum(1).square().sum(1)
    with_itself_B = unit_BTD.square().sum((1, 2))
    return (all_pairs_B - with_itself_B) / (num_tokens * (num_tokens - 1))


def distance_from_one_vector(x_BTD: Float[Tensor, "B T D"]) -> Float[Tensor, " B"]:
    """||X - 1 m^T|| / ||X|| with m the mean over the tokens and the composite norm sqrt(||A||_1 ||A||_inf) of Dong
    et al.; 0 where all tokens are alike."""
    x_BTD = x_BTD.double()
    left_BTD = x_BTD - x_BTD.mean(1, keepdim=True)
    return _composite_norm(left_BTD) / _composite_norm(x_BTD).clamp(min=torch.finfo(torch.float64).tiny)


def _composite_norm(a_BTD: Tensor) -> Tensor:
    largest_column_B = a_BTD.abs().sum(1).amax(1)
    largest_row_B = a_BTD.abs().sum(2).amax(1)
    return (largest_column_B * largest_row_B).sqrt()


def averaged_over_the_past(x_BTD: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
    """Each token the mean of itself and those before: causal attention that looks at all of them alike."""
    counts_T1 = torch.arange(1, x_BTD.shape[1] + 1, dtype=x_BTD.dtype, device=x_BTD.device)[:, None]
    return x_BTD.cumsum(1) / counts_T1
