"""FFN kinds: one hidden layer from a key to an output, no biases.

Shape legend: B batch, D input dimension, F hidden units, E output dimension.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from models.ffn_kinds import GATED, KINDS, FFNKind, hidden_units


def _uniform(rows: int, columns: int, generator: torch.Generator) -> nn.Parameter:
    bound = 1.0 / math.sqrt(rows)  # rows = fan-in
    return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound, generator=generator))


class FFN(nn.Module):
    """Key -> hidden units -> output. `swiglu`: silu(x W_gate) * (x W_in); the others: activation(x W_in)."""

    def __init__(self, kind: FFNKind, dim_in: int, width: int, dim_out: int, *, generator: torch.Generator) -> None:
        super().__init__()
        assert kind in KINDS, kind
        self.kind = kind
        units = hidden_units(kind, width, dim_in, dim_out)
        self.w_in_DF = _uniform(dim_in, units, generator)
        self.w_out_FE = _uniform(units, dim_out, generator)
        if kind in GATED:
            self.w_gate_DF = _uniform(dim_in, units, generator)

    def hidden(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B F"]:
        """Activations of the hidden units."""
        h_BF = x_BD @ self.w_in_DF
        match self.kind:
            case "relu":
                return functional.relu(h_BF)
            case "gelu":
                return functional.gelu(h_BF)
            case "swiglu":
                return functional.silu(x_BD @ self.w_gate_DF) * h_BF

    def forward(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
        out_BE: Tensor = self.hidden(x_BD) @ self.w_out_FE
        return out_BE
