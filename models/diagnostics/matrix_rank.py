"""How many directions a matrix, or a layer of hidden activations, really uses; and what is left at fewer.

From the singular values s of a matrix, in falling order (all 0 for a matrix of zeros, none above min(I, O)):

    effective rank       exp(-sum p log p), p = s / sum s     Roy & Vetterli 2007
    stable rank          sum s^2 / s_1^2                      ||A||_F^2 / ||A||_2^2
    participation ratio  (sum s^2)^2 / sum s^4                of the squared singular values
    energy rank          least k with s_1^2 + ... + s_k^2 >= 90 % of sum s^2

Stable rank <= participation ratio <= effective rank <= rank, all equal where the singular values above 0 are equal; the
energy rank has no place in that order. Computed in float64.

Shape legend: * any stack (experts, layers), I inputs, O outputs, R = min(I, O), N facts, B block, F hidden units.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

ENERGY_SHARE = 0.9
_ROUNDING = 1e-13
"""of all activations together: what facts differ by along a direction that is shorter is left over from their mean"""


@dataclass(frozen=True, kw_only=True)
class MatrixRanks:
    """Four ranks of each matrix of a stack."""

    effective: Float[Tensor, "*S"]
    stable: Float[Tensor, "*S"]
    participation_ratio: Float[Tensor, "*S"]
    energy: Int64[Tensor, "*S"]


def ranks_of_singular_values(s_R: Float[Tensor, "*S R"]) -> MatrixRanks:
    """The four ranks, from singular values in falling order."""
    energy_R = s_R.double().square()
    total = energy_R.sum(-1)
    # Equal singular values reach the share exactly; rounding must not ask for one more.
    short_R = energy_R.cumsum(-1) < ENERGY_SHARE * (1 - 1e-9) * total[..., None]
    return MatrixRanks(
        effective=effective_rank(s_R),
        stable=_ratio(total, energy_R.amax(-1)),
        participation_ratio=_ratio(total.square(), energy_R.square().sum(-1)),
        energy=torch.where(total > 0, short_R.sum(-1) + 1, 0),
    )


def effective_rank(s_R: Float[Tensor, "*S R"]) -> Float[Tensor, "*S"]:
    """exp of the entropy, in nats, of the normalised singular values (Roy & Vetterli 2007, definition 1)."""
    total = s_R.double().sum(-1)
    p_R = _ratio(s_R.double(), total[..., None])
    return torch.where(total > 0, torch.special.entr(p_R).sum(-1).exp(), 0.0)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole; 0 where whole is 0, and with it the part."""
    return part / torch.where(whole > 0, whole, 1.0)


def matrix_ranks(a_IO: Float[Tensor, "*S I O"]) -> MatrixRanks:
    """The four ranks of each matrix."""
    return ranks_of_singular_values(torch.linalg.svdvals(a_IO.detach().double()))


def activation_ranks(hidden_blocks_BF: Iterable[Float[Tensor, "_ F"]]) -> MatrixRanks:
    """The four ranks of the hidden activations of all facts, less their mean: the directions in which facts differ.

    One pass; beside a block, F x F numbers are kept (the triangular factor of the facts so far), at the cost of a QR
    decomposition of each block. No covariance is formed, which would square the singular values and lose the small
    ones. There must be one block at least.
    """
    count, mean_F, square = 0, torch.zeros(()), torch.zeros(())
    factor: list[Tensor] = []
    for block_BF in hidden_blocks_BF:
        h_BF = block_BF.detach().double()
        total, step_F = count + len(h_BF), h_BF.mean(0) - mean_F
        # Two centred sets together: the rows of both, and one more for the distance of their means.
        between_F = (count * len(h_BF) / total) ** 0.5 * step_F
        rows_BF = torch.cat([*factor, h_BF - h_BF.mean(0), between_F[None]])
        factor = [torch.linalg.qr(rows_BF, mode="r").R]
        count, mean_F, square = total, mean_F + step_F * len(h_BF) / total, square + h_BF.square().sum()
    s_R = torch.linalg.svdvals(factor[0])
    return ranks_of_singular_values(torch.where(s_R > _ROUNDING * square.sqrt(), s_R, 0.0))


def truncated(a_IO: Float[Tensor, "*S I O"], rank: int | Int64[Tensor, "*S"]) -> Float[Tensor, "*S I O"]:
    """The nearest matrix of this rank (Eckart & Young 1936): one rank for the stack, or one a matrix."""
    u_IR, s_R, v_RO = torch.linalg.svd(a_IO.detach().double(), full_matrices=False)
    positions_R = torch.arange(s_R.shape[-1], device=s_R.device)
    kept_R = positions_R < (rank if isinstance(rank, int) else rank[..., None])
    nearest_IO: Tensor = (u_IR * (s_R * kept_R)[..., None, :]) @ v_RO
    return nearest_IO.to(a_IO.dtype)


def truncated_to_effective_rank(a_IO: Float[Tensor, "*S I O"]) -> Float[Tensor, "*S I O"]:
    """Each matrix at its own effective rank, rounded to the nearest integer."""
    ranks = effective_rank(torch.linalg.svdvals(a_IO.detach().double()))
    return truncated(a_IO, ranks.round().long())
