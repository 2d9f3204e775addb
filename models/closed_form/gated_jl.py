"""Gated encoder and Johnson-Lindenstrauss decoder: D(silu(x G) * (x A)).

Dugan et al. 2025 (arXiv 2512.00207), derived anew: G and the decoder are random, A is solved for.

Shape legend: N facts, D key dimension, F hidden units, U hidden units of one code coordinate, V values, W of
them that occur, E code dimension, J dimension of the compressed codes.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from models.closed_form.ridge import ridge_solution
from models.closed_form.value_directions import margin_optimal_directions

_DRAWS = 8
"""decoders drawn at each dimension: the best of them decides whether it is large enough"""

_LEAST_MARGIN = 0.05
"""of a compressed code: float32 and a fit that is not quite exact stay well within it"""


def gated_jl_memory(
    keys_ND: Float[Tensor, "N D"],
    value_ids_N: Int64[Tensor, " N"],
    codes_VE: Float[Tensor, "V E"],
    *,
    units: int,
    ridge: float = 1e-9,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """{"w_gate_DF": G, "w_in_DF": A, "w_out_FE": decoder}, for a SwiGLU FFN.

    The hidden units are dealt to the J coordinates of a compressed code, and each unit's row of w_out is the decoder's
    row of its coordinate. A coordinate is then linear in its own columns of A, and one ridge solve makes every key hit
    the margin-optimal direction of its compressed value: exact for F D / J facts. J is the smallest at which every
    value that occurs can be told from all others, at most min(units, E).
    """
    keys_ND = keys_ND.double()
    stored_W, of_stored_N = value_ids_N.unique(return_inverse=True)
    decoder_JE, directions_WJ = smallest_decoder(codes_VE.double(), stored_W, most=units, generator=generator)
    dim_in = keys_ND.shape[1]
    w_gate_DF = math.sqrt(dim_in) * torch.randn(dim_in, units, generator=generator).double()
    gates_NF = functional.silu(keys_ND @ w_gate_DF)
    w_in_DF = torch.empty_like(w_gate_DF)
    coordinate_F = torch.arange(units) % len(decoder_JE)
    for coordinate in range(len(decoder_JE)):
        mine_F = coordinate_F == coordinate
        features = torch.einsum("nu,nd->ndu", gates_NF[:, mine_F], keys_ND).flatten(1)
        solution = ridge_solution(features, directions_WJ[of_stored_N][:, [coordinate]], ridge)
        w_in_DF[:, mine_F] = solution.reshape(dim_in, -1)
    w_out_FE = decoder_JE[coordinate_F]
    return {"w_gate_DF": w_gate_DF.float(), "w_in_DF": w_in_DF.float(), "w_out_FE": w_out_FE.float()}


def johnson_lindenstrauss(dim: int, dim_out: int, *, generator: torch.Generator) -> Float[Tensor, "J E"]:
    """Gaussian, of variance 1 / J: inner products keep their mean, with a deviation of about sqrt(2 / J)."""
    return torch.randn(dim, dim_out, generator=generator).double() / math.sqrt(dim)


def smallest_decoder(
    codes_VE: Float[Tensor, "V E"], stored_W: Int64[Tensor, " W"], *, most: int, generator: torch.Generator
) -> tuple[Float[Tensor, "J E"], Float[Tensor, "W J"]]:
    """The decoder of the fewest rows under which every stored value keeps a margin, and the directions to hit.

    Tries J = 1, 2, ...; where none up to min(most, E) is enough, the last one tried: its worst values are lost.
    """
    largest = min(most, codes_VE.shape[1])
    for dim in range(1, largest + 1):
        best = _LEAST_MARGIN if dim < largest else -1.0
        for _ in range(_DRAWS):
            drawn_JE = johnson_lindenstrauss(dim, codes_VE.shape[1], generator=generator)
            drawn_WJ, margins_W = margin_optimal_directions(codes_VE @ drawn_JE.T, stored_W, give_up_below=best)
            if float(margins_W.min()) > best:
                best, decoder_JE, directions_WJ = float(margins_W.min()), drawn_JE, drawn_WJ
        if best > _LEAST_MARGIN:
            break
    return decoder_JE, directions_WJ
