"""Weights rounded as they will be stored, in a way that gradients pass: quantisation-aware training.

Shape legend: I inputs, O outputs of one matrix; X experts, of which each has a matrix; M matrices.
Source: the straight-through estimator of Bengio et al. 2013 (arXiv 1308.3432).
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from models.ffn import FFN
from models.precisions import BEST_STEP, INTEGER_BITS, MIDRISE_BITS, Precision
from models.weight_packing import LEAST_STEP

Operation = Callable[[], object]
"""on tensors that it was bound to"""
_HALF_DIGITS = 11
"""binary digits of a float16, the leading one among them"""


def rounded_weights(ffn: FFN, rest: Precision) -> dict[str, Tensor]:
    """Every parameter by name, its values those that packing and unpacking would give, its gradient its own."""
    rounded, apart = {}, ffn.stored_apart(rest)
    for name, weight in ffn.named_parameters():
        stored = torch.empty_like(weight, requires_grad=False)
        for operation in rounding([weight.detach()], apart.get(name, rest), out=[stored]):
            operation()
        # weight + (stored - weight) would miss what is stored by a last digit.
        rounded[name] = stored + (weight - weight.detach())
    return rounded


def rounding(weights: Sequence[Tensor], precision: Precision, *, out: Sequence[Tensor]) -> list[Operation]:
    """What writes to `out`, bit for bit, what packing and unpacking in this precision would make of the weights."""
    pairs = list(zip(weights, out, strict=True))
    matrices = [(weight, stored) for weight, stored in pairs if weight.dim() > 1]
    halved = [(weight, stored) for weight, stored in pairs if weight.dim() <= 1]
    found: list[Operation] = []
    if precision in MIDRISE_BITS and matrices:
        found = _midrise(matrices, MIDRISE_BITS[precision])
    elif precision in INTEGER_BITS:
        found = [partial(_integers, *pair, INTEGER_BITS[precision]) for pair in matrices]
    else:
        halved = pairs
    if precision == "float32":
        return [partial(stored.copy_, weight) for weight, stored in pairs]
    return found + [partial(_halve, *pair) for pair in halved]


def _halve(weight: Tensor, stored: Tensor) -> None:
    stored.copy_(weight.half())


def _integers(w_XIO: Tensor, stored_XIO: Tensor, bits: int) -> None:
    scale_X1O = (w_XIO.abs().amax(dim=-2, keepdim=True) / (2 ** (bits - 1) - 1)).half()
    # The next float16 above, as packing has it: positive halves are ordered like their bits.
    scale_X1O = (scale_X1O.view(torch.int16) + 1).view(torch.float16).to(w_XIO.dtype)
    torch.div(w_XIO, scale_X1O, out=stored_XIO).round_().mul_(scale_X1O)


def _midrise(matrices: Sequence[tuple[Tensor, Tensor]], bits: int) -> list[Operation]:
    """The steps of all matrices together: on a processor an operation on one costs as much as on thousands."""
    counts = [w_XIO.shape[:-2].numel() for w_XIO, _ in matrices]
    sizes = [w_XIO.shape[-2:].numel() for w_XIO, _ in matrices]
    like = matrices[0][0]
    squares_M, shifted_M, sizes_M = like.new_empty(3, sum(counts), dtype=torch.float64)
    sizes_M.copy_(torch.tensor(sizes).repeat_interleave(torch.tensor(counts)))
    halves_M, steps_M = like.new_empty(sum(counts), dtype=torch.float16), like.new_empty(sum(counts))
    found: list[Operation] = []
    for (w_XIO, _), squares_X in zip(matrices, squares_M.split(counts), strict=True):
        found += _sums_of_squares(w_XIO, out=squares_X)
    found += [
        partial(squares_M.div_, sizes_M),
        squares_M.sqrt_,
        partial(squares_M.mul_, BEST_STEP[bits]),
        partial(squares_M.clamp_, min=LEAST_STEP),
        # To a float16 at once: torch's own conversion rounds to float32 on the way. A number plus a multiple of itself,
        # less that multiple, keeps its leading digits, rounded to nearest (Dekker 1971).
        partial(torch.mul, squares_M, 2.0 ** (53 - _HALF_DIGITS) + 1, out=shifted_M),
        partial(torch.sub, shifted_M, squares_M, out=squares_M),
        partial(shifted_M.sub_, squares_M),
        partial(halves_M.copy_, shifted_M),
        partial(steps_M.copy_, halves_M),
    ]
    half = 2 ** (bits - 1)
    for (w_XIO, stored_XIO), steps_X in zip(matrices, steps_M.split(counts), strict=True):
        step_X11 = steps_X.view(*w_XIO.shape[:-2], 1, 1)
        found += [
            partial(torch.div, w_XIO, step_X11, out=stored_XIO),
            stored_XIO.floor_,
            partial(stored_XIO.clamp_, -half, half - 1),
            partial(stored_XIO.add_, 0.5),
            partial(stored_XIO.mul_, step_X11),
        ]
    return found


def _sums_of_squares(w_XIO: Tensor, *, out: Tensor) -> list[Operation]:
    """Of each matrix, in float64."""
    doubled_XIO = torch.empty(w_XIO.shape, dtype=torch.float64, device=w_XIO.device)
    w_XP, copied = doubled_XIO.view(len(out), -1), partial(doubled_XIO.copy_, w_XIO)
    if len(out) == 1:
        return [copied, partial(torch.dot, w_XP[0], w_XP[0], out=out[0])]
    return [copied, w_XP.square_, partial(torch.sum, w_XP, dim=1, out=out)]
