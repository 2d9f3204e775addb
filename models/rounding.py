"""Weights rounded as they will be stored, in a way that gradients pass: quantisation-aware training.

Shape legend: I inputs, O outputs of one matrix; X experts, of which each has a matrix.
Source: the straight-through estimator of Bengio et al. 2013 (arXiv 1308.3432).
"""

import torch
from torch import Tensor

from models.ffn import FFN
from models.precisions import INTEGER_BITS, MIDRISE_BITS, Precision
from models.weight_packing import BEST_STEP, LEAST_STEP


def rounded_weights(ffn: FFN, rest: Precision) -> dict[str, Tensor]:
    """Every parameter by name, its values those that packing and unpacking would give, its gradient its own."""
    rounded, apart = {}, ffn.stored_apart(rest)
    for name, weight in ffn.named_parameters():
        stored, precision = weight.detach(), apart.get(name, rest)
        if weight.dim() > 1 and precision in INTEGER_BITS:
            stored = _integers(stored, INTEGER_BITS[precision])
        elif weight.dim() > 1 and precision in MIDRISE_BITS:
            stored = _midrise(stored, MIDRISE_BITS[precision])
        elif precision != "float32":
            stored = stored.half().float()
        rounded[name] = weight + (stored - weight).detach()
    return rounded


def _integers(w_XIO: Tensor, bits: int) -> Tensor:
    scale_X1O = (w_XIO.abs().amax(dim=-2, keepdim=True) / (2 ** (bits - 1) - 1)).half()
    # The next float16 above, as packing has it: positive halves are ordered like their bits.
    scale_X1O = (scale_X1O.view(torch.int16) + 1).view(torch.float16).float()
    stored_XIO: Tensor = (w_XIO / scale_X1O).round() * scale_X1O
    return stored_XIO


def _midrise(w_XIO: Tensor, bits: int) -> Tensor:
    rms_X11 = w_XIO.double().square().mean(dim=(-2, -1), keepdim=True).sqrt()
    step_X11 = (BEST_STEP[bits] * rms_X11).clamp(min=LEAST_STEP).half().float()
    half = 2 ** (bits - 1)
    stored_XIO: Tensor = ((w_XIO / step_X11).floor().clamp(-half, half - 1) + 0.5) * step_X11
    return stored_XIO
