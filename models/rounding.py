"""Weights rounded as they will be stored, in a way that gradients pass: quantisation-aware training.

Shape legend: I inputs, O outputs of one matrix; X experts, of which each has a matrix; M matrices.
Source: the straight-through estimator of Bengio et al. 2013 (arXiv 1308.3432).
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from models.ffn import FFN
from models.precisions import INTEGER_BITS, MIDRISE_BITS, Precision
from models.weight_packing import BEST_STEP, LEAST_STEP

_HALF_DIGITS = 11
"""binary digits of a float16, the leading one among them"""


def rounded_weights(ffn: FFN, rest: Precision) -> dict[str, Tensor]:
    """Every parameter by name, its values those that packing and unpacking would give, its gradient its own."""
    rounded, apart = {}, ffn.stored_apart(rest)
    for name, weight in ffn.named_parameters():
        stored = torch.empty_like(weight, requires_grad=False)
        round_as_stored([weight.detach()], apart.get(name, rest), out=[stored])
        # weight + (stored - weight) would miss what is stored by a last digit.
        rounded[name] = stored + (weight - weight.detach())
    return rounded


def round_as_stored(weights: Sequence[Tensor], precision: Precision, *, out: Sequence[Tensor]) -> None:
    """Write to `out` what packing and unpacking in this precision would make of the weights, bit for bit."""
    matrices = [(weight, stored) for weight, stored in zip(weights, out, strict=True) if weight.dim() > 1]
    vectors = [(weight, stored) for weight, stored in zip(weights, out, strict=True) if weight.dim() <= 1]
    if precision in MIDRISE_BITS:
        _midrise(matrices, MIDRISE_BITS[precision])
    elif precision in INTEGER_BITS:
        for w_XIO, stored_XIO in matrices:
            _integers(w_XIO, INTEGER_BITS[precision], out=stored_XIO)
    else:
        vectors += matrices
    for weight, stored in vectors:
        stored.copy_(weight if precision == "float32" else weight.half())


def _integers(w_XIO: Tensor, bits: int, *, out: Tensor) -> None:
    scale_X1O = (w_XIO.abs().amax(dim=-2, keepdim=True) / (2 ** (bits - 1) - 1)).half()
    # The next float16 above, as packing has it: positive halves are ordered like their bits.
    scale_X1O = (scale_X1O.view(torch.int16) + 1).view(torch.float16).to(w_XIO.dtype)
    torch.div(w_XIO, scale_X1O, out=out).round_().mul_(scale_X1O)


def _midrise(matrices: Sequence[tuple[Tensor, Tensor]], bits: int) -> None:
    """The few numbers of all matrices together: on a processor an operation on one costs as much as on thousands."""
    if not matrices:
        return
    norms = [
        torch.linalg.vector_norm(w_XIO, dim=(-2, -1), dtype=torch.float64).flatten()
        / math.sqrt(w_XIO.shape[-2] * w_XIO.shape[-1])
        for w_XIO, _ in matrices
    ]
    steps_M = _halves((BEST_STEP[bits] * torch.cat(norms)).clamp_(min=LEAST_STEP)).to(matrices[0][0].dtype)
    half = 2 ** (bits - 1)
    for (w_XIO, stored_XIO), steps_X in zip(matrices, steps_M.split([len(norm) for norm in norms]), strict=True):
        step_X11 = steps_X.view(*w_XIO.shape[:-2], 1, 1)
        torch.div(w_XIO, step_X11, out=stored_XIO).floor_().clamp_(-half, half - 1).add_(0.5).mul_(step_X11)


def _halves(x_M: Float[Tensor, " M"]) -> Float[Tensor, " M"]:
    """float16 of float64, rounded once: torch's own conversion rounds to float32 on the way, and then again."""
    mantissa_M, exponent_M = torch.frexp(x_M)
    return torch.ldexp((mantissa_M * 2**_HALF_DIGITS).round_(), exponent_M - _HALF_DIGITS).half()
