"""Mixtures of experts that a config can name. Free of torch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.dial_checks import check_above_zero
from models.ffn_kinds import SizedByWidth
from models.precisions import Precision

if TYPE_CHECKING:
    import torch

    from models.ffn import FFN


@dataclass(frozen=True, kw_only=True)
class ExpertsConfig(SizedByWidth):
    """Mixture of experts: small FFNs, of which a router lets `top_k` answer each key.

    A router without balancing is right only where the keys spread evenly by themselves: on keys with a common
    direction, such as those of a text encoder, a few experts get all facts and the others stay empty.
    """

    kind: Literal["experts"] = "experts"
    experts: int = 8
    """FFNs that the router chooses from"""
    top_k: int = 2
    """of them, for each key"""
    width: int | None = None
    """hidden units of each expert; where empty, so many that all experts have four times the input's dimension"""
    activation: Literal["relu", "gelu", "swiglu"] = "swiglu"
    """of the hidden units; a swiglu expert has three matrices where the others have two"""
    shared: int = 0
    """experts beside those, of the same width, that answer every key"""
    balancing: Literal["none", "auxiliary", "bias"] = "auxiliary"
    """auxiliary: a loss that grows with uneven use (Fedus et al. 2022); bias: a number for each expert that is added
    to its routing score in the choice alone, and rises while too few keys choose it (Wang et al. 2024)"""
    auxiliary_coefficient: float = 0.1
    """of the auxiliary loss, in nats a fact at even use; ten times the usual one"""
    bias_rate: float = 0.1
    """what one step adds to or takes from a bias, in units of the router's logits; falls to 0 over the training"""
    router_rate_factor: float = 10.0
    """learning rate of the router, times that of the rest"""
    router_precision: Precision = "float16"
    """of the router, where the rest is stored in fewer bits: rounded like the experts, it sends keys to wrong ones"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.experts < 2:
            raise ValueError(f"experts must be 2 or more, not {self.experts}")
        if not 1 <= self.top_k <= self.experts:
            raise ValueError(f"top_k must lie between 1 and experts, which is {self.experts}, not {self.top_k}")
        if self.shared < 0:
            raise ValueError(f"shared must be 0 or more, not {self.shared}")
        check_above_zero(
            auxiliary_coefficient=self.auxiliary_coefficient,
            bias_rate=self.bias_rate,
            router_rate_factor=self.router_rate_factor,
        )

    @property
    def family(self) -> str:
        of_balancing = {
            "none": "",
            "auxiliary": f"-auxiliary{self.auxiliary_coefficient:g}",
            "bias": f"-bias{self.bias_rate:g}",
        }
        return (
            f"experts{self.experts}-top{self.top_k}-{self.activation}"
            + (f"-shared{self.shared}" if self.shared else "")
            + of_balancing[self.balancing]
            + ("" if self.router_rate_factor == 10 else f"-rate{self.router_rate_factor:g}")
            + ("" if self.router_precision == "float16" else f"-router-{self.router_precision}")
        )

    def units(self, dim_in: int) -> int:
        """Hidden units of one expert."""
        return self.width or max(1, 4 * dim_in // (self.experts + self.shared))

    def _expert_params(self, dim_in: int, dim_out: int) -> int:
        into = 2 * dim_in if self.activation == "swiglu" else dim_in
        return self.units(dim_in) * (into + dim_out)

    def _router_params(self, dim_in: int) -> int:
        """The biases of the balancing are no weights, but they are stored."""
        return self.experts * (dim_in + (self.balancing == "bias"))

    def num_params(self, dim_in: int, dim_out: int) -> int:
        return self._router_params(dim_in) + (self.experts + self.shared) * self._expert_params(dim_in, dim_out)

    def num_active_params(self, dim_in: int, dim_out: int) -> int:
        return self._router_params(dim_in) + (self.top_k + self.shared) * self._expert_params(dim_in, dim_out)

    def training_flops(self, dim_in: int, dim_out: int) -> int:
        into = 8 * dim_in if self.activation == "swiglu" else 4 * dim_in
        an_expert = self.units(dim_in) * (into + 6 * dim_out)
        return 4 * self.experts * dim_in + (self.top_k + self.shared) * an_expert

    def build(self, dim_in: int, dim_out: int, *, generator: "torch.Generator") -> "FFN":
        from models.experts import ExpertsFFN

        return ExpertsFFN(self, dim_in, dim_out, generator=generator)
