"""FFNs of one layer, and what every kind of FFN can be asked.

Shape legend: B batch, D input dimension, F hidden units, E output dimension, S slots (experts, memory slots).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from models.ffn_kinds import DenseConfig, GatedConfig
from models.precisions import Precision


class FFN(nn.Module, ABC):
    """Key -> output. Parameters and buffers together are what is stored: recall needs nothing else."""

    @abstractmethod
    def forward(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]: ...

    def learning_rate_factors(self) -> Mapping[str, float]:
        """Parameters, by name, that learn at another rate than the rest: times so much."""
        return {}

    def stored_apart(self, precision: Precision) -> Mapping[str, Precision]:
        """Parameters, by name, that are stored in another precision than the rest, which is this one."""
        return {}

    def divergence_suspects(self) -> Mapping[str, float]:
        """Settings of this kind that can throw a training off, and how many times their default they are."""
        return {}

    def input_matrices(self) -> list[Tensor]:
        """Those that turn the input into hidden units, each (..., D, F); routers and queries are none of them."""
        return []

    def read_outs(self) -> list[Tensor]:
        """What the output is a weighted sum of: rows of these."""
        return []

    def drawn_for_unit_inputs(self) -> list[Tensor]:
        """First weights that suit inputs of length 1; longer inputs want them smaller by their length."""
        return []

    def auxiliary_loss(self) -> Tensor | None:
        """What the last forward pass asks of the training beside right answers (load balancing), in nats."""
        return None

    def step_done(self, progress: float) -> None:
        """After each optimisation step; progress runs from 0 to 1 over the steps that the budget allows."""

    def is_settled(self) -> bool:
        """Whether training has come to the form that will answer; until then no goal ends it."""
        return True

    def slot_counts(self, x_BD: Float[Tensor, "B D"]) -> Int64[Tensor, " S"] | None:
        """How often these keys use each expert or memory slot; None for a kind that has none."""
        return None


def uniform(*shape: int, fan_in: int, generator: torch.Generator) -> nn.Parameter:
    """Uniform within 1 / sqrt(fan_in)."""
    bound = 1.0 / math.sqrt(fan_in)
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound, generator=generator))


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "identity": lambda h: h,
    "swiglu": functional.silu,
    "geglu": functional.gelu,
    "reglu": functional.relu,
    "glu": torch.sigmoid,
    "bilinear": lambda h: h,
}
"""of the hidden units, or of the gate, by kind"""


class LinearMap(FFN):
    """x W: a linear associative memory."""

    def __init__(self, dim_in: int, dim_out: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.w_DE = uniform(dim_in, dim_out, fan_in=dim_in, generator=generator)

    def forward(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
        return x_BD @ self.w_DE

    def read_outs(self) -> list[Tensor]:
        return [self.w_DE]


class HiddenLayerFFN(FFN):
    """Hidden units and a read-out: what dense and gated kinds have in common."""

    def __init__(self, dim_in: int, units: int, dim_out: int, *, bias: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.w_in_DF = uniform(dim_in, units, fan_in=dim_in, generator=generator)
        self.w_out_FE = uniform(units, dim_out, fan_in=units, generator=generator)
        self.b_in_F = nn.Parameter(torch.zeros(units)) if bias else None
        self.b_out_E = nn.Parameter(torch.zeros(dim_out)) if bias else None

    @abstractmethod
    def hidden(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B F"]:
        """Activations of the hidden units."""

    def forward(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
        return _affine(self.hidden(x_BD), self.w_out_FE, self.b_out_E)

    def input_matrices(self) -> list[Tensor]:
        return [self.w_in_DF]

    def read_outs(self) -> list[Tensor]:
        return [self.w_out_FE]


class DenseFFN(HiddenLayerFFN):
    """activation(x W_in) W_out."""

    def __init__(self, config: DenseConfig, dim_in: int, dim_out: int, *, generator: torch.Generator) -> None:
        super().__init__(dim_in, config.units(dim_in), dim_out, bias=config.bias, generator=generator)
        self.kind = config.kind
        self._activation = ACTIVATIONS[config.kind]

    def hidden(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B F"]:
        return self._activation(_affine(x_BD, self.w_in_DF, self.b_in_F))


class GatedFFN(HiddenLayerFFN):
    """(activation(x W_gate) * (x W_in)) W_out."""

    def __init__(self, config: GatedConfig, dim_in: int, dim_out: int, *, generator: torch.Generator) -> None:
        units = config.units(dim_in, dim_out)
        super().__init__(dim_in, units, dim_out, bias=config.bias, generator=generator)
        self.w_gate_DF = uniform(dim_in, units, fan_in=dim_in, generator=generator)
        self.b_gate_F = nn.Parameter(torch.zeros(units)) if config.bias else None
        self.kind = config.kind
        self._activation = ACTIVATIONS[config.kind]

    def hidden(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B F"]:
        gate_BF = self._activation(_affine(x_BD, self.w_gate_DF, self.b_gate_F))
        return gate_BF * _affine(x_BD, self.w_in_DF, self.b_in_F)

    def input_matrices(self) -> list[Tensor]:
        return [self.w_in_DF, self.w_gate_DF]


def _affine(x_BI: Tensor, w_IO: Tensor, b_O: Tensor | None) -> Tensor:
    out_BO = x_BI @ w_IO
    return out_BO if b_O is None else out_BO + b_O
