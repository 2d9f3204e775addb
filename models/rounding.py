"""Weights rounded as they will be stored, in a way that gradients pass: quantisation-aware training.

Shape legend: I inputs, O outputs of one matrix; X experts, of which each has a matrix.
Source: the straight-through estimator of Bengio et al. 2013 (arXiv 1308.3432).
"""

import torch
from torch import Tensor, nn

from models.precisions import INTEGER_BITS, Precision


def rounded_weights(ffn: nn.Module, precision: Precision) -> dict[str, Tensor]:
    """Every parameter by name, its values those that packing and unpacking would give, its gradient its own."""
    bits = INTEGER_BITS.get(precision)
    rounded = {}
    for name, weight in ffn.named_parameters():
        stored = weight.detach()
        if bits is not None and weight.dim() > 1:
            stored = _as_codes(stored, bits)
        elif precision != "float32":
            stored = stored.half().float()
        rounded[name] = weight + (stored - weight).detach()
    return rounded


def _as_codes(w_XIO: Tensor, bits: int) -> Tensor:
    scale_X1O = (w_XIO.abs().amax(dim=-2, keepdim=True) / (2 ** (bits - 1) - 1)).half()
    # The next float16 above, as packing has it: positive halves are ordered like their bits.
    scale_X1O = (scale_X1O.view(torch.int16) + 1).view(torch.float16).float()
    stored_XIO: Tensor = (w_XIO / scale_X1O).round() * scale_X1O
    return stored_XIO
