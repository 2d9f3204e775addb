"""Ridge regression in float64, the solve that every closed form here ends with.

Shape legend: N facts, F features, E outputs.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def penalty(features_NF: Float[Tensor, "N F"], ridge: float) -> float:
    """What ridge = 1 would add to the diagonal of the Gram matrix is its mean: the same ridge for any scale."""
    return ridge * float(features_NF.square().sum()) / features_NF.shape[1]


def ridge_solution(
    features_NF: Float[Tensor, "N F"], targets_NE: Float[Tensor, "N E"], ridge: float
) -> Float[Tensor, "F E"]:
    """The w that minimises |features w - targets|^2 + penalty |w|^2.

    ridge is in units of the mean square column of the features. Solved with the smaller of the two Gram matrices,
    which give the same w: (X'X + p)^-1 X' = X'(XX' + p)^-1. Features that are all 0 get w = 0: none fits better, and
    of those this is the shortest.

    Raises:
        torch.linalg.LinAlgError: features of lower rank than the smaller side, and a ridge too small for float64.
    """
    added = penalty(features_NF, ridge)
    if not added:
        return features_NF.new_zeros(features_NF.shape[1], targets_NE.shape[1])
    wide = features_NF.shape[0] < features_NF.shape[1]
    gram = features_NF @ features_NF.T if wide else features_NF.T @ features_NF
    gram.diagonal().add_(added)
    cholesky = torch.linalg.cholesky(gram)
    if wide:
        return features_NF.T @ torch.cholesky_solve(targets_NE, cholesky)
    return torch.cholesky_solve(features_NF.T @ targets_NE, cholesky)
