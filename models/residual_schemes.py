"""How a branch joins the residual stream, and the first weights that each scheme asks for.

Shape legend: B batch, D dimension of the stream.
Sources: LayerScale, Touvron et al. 2021 (arXiv 2103.17239); ReZero, Bachlechner et al. 2020 (2003.04887); DeepNorm,
Wang et al. 2022 (2203.00555), decoder form; plain pre-norm, Radford et al. 2019.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.ffn import LinearMap
from models.residual_kinds import Norm, Normaliser, Residual


class Branch(Protocol):
    """What stands beside the stream: an FFN, or attention."""

    def input_matrices(self) -> list[Tensor]: ...

    def read_outs(self) -> list[Tensor]: ...

    def drawn_for_unit_inputs(self) -> list[Tensor]: ...


def norm_of(normaliser: Normaliser, dim: int) -> nn.Module:
    """LayerNorm without bias, or RMSNorm; both with a gain."""
    return nn.RMSNorm(dim) if normaliser == "rms" else nn.LayerNorm(dim, bias=False)


def layerscale_start(depth: int) -> float:
    """The first value of every LayerScale gain (Touvron et al. 2021, section 2)."""
    return 0.1 if depth <= 18 else 1e-5 if depth <= 24 else 1e-6


def gains(residual: Residual, depth: int, branches: int, dim: int) -> nn.Parameter | None:
    """Of so many branches: a vector each (LayerScale), a number each (ReZero), or none."""
    if residual == "layerscale":
        return nn.Parameter(torch.full((branches, dim), layerscale_start(depth)))
    return nn.Parameter(torch.zeros(branches, 1)) if residual == "rezero" else None


def joined(
    residual: Residual, x: Float[Tensor, "*B D"], update: Float[Tensor, "*B D"], gain: Tensor | None, *, depth: int
) -> Float[Tensor, "*B D"]:
    """The stream with this branch."""
    match residual:
        case "none":
            return update
        case "plain":
            return x + update
        case "deepnorm":
            alpha: float = (2 * depth) ** 0.25
            return alpha * x + update
    assert gain is not None
    scaled: Tensor = gain * update
    return x + scaled


@torch.no_grad()
def draw_for_depth(
    branches: Sequence[Branch], residual: Residual, norm: Norm, *, depth: int, generator: torch.Generator
) -> None:
    """First weights as scheme and norm ask for them.

    DeepNorm: the matrices of a branch normal with Xavier's variance times beta, (8 M)^(-1/4); of a table of slots,
    which has no fan, the rows times beta. Plain pre-norm: read-outs times 1 / sqrt(branches), so that the stream does
    not grow with depth.
    """
    if residual == "deepnorm":
        beta = (8 * depth) ** -0.25
        for branch in branches:
            has_fan = bool(branch.input_matrices()) or isinstance(branch, LinearMap)
            for weight in (*branch.input_matrices(), *branch.read_outs()):
                if has_fan:
                    weight.normal_(std=beta * math.sqrt(2 / sum(weight.shape[-2:])), generator=generator)
                else:
                    weight.mul_(beta)
    elif residual == "plain" and norm == "pre":
        for branch in branches:
            for weight in branch.read_outs():
                weight.div_(math.sqrt(len(branches)))
