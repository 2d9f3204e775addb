"""Residual stacks of FFNs: depth as a dial. Free of torch."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from models.any_ffn import AnyFFNConfig
from models.dial_checks import check_one_or_more
from models.ffn_kinds import DenseConfig, FFNConfig
from models.residual_kinds import Norm, Normaliser, Residual

if TYPE_CHECKING:
    import torch

    from models.ffn import FFN


@dataclass(frozen=True, kw_only=True)
class StackConfig(FFNConfig):
    """A residual stream of the key's dimension through `depth` blocks, then a matrix where the output has another.

    Serial: x + F(norm(x)). Parallel, as in GPT-J and PaLM: x + A(norm(x)) + F(norm(x)), where A is a matrix.
    """

    kind: Literal["stack"] = "stack"
    depth: int = 4
    """blocks"""
    block: AnyFFNConfig = field(default_factory=DenseConfig)
    """the FFN of each, of any kind"""
    residual: Residual = "plain"
    """how a block's output joins the stream: not at all (the stream is replaced), as it is, times a learned vector
    (LayerScale), times a learned number that starts at 0 (ReZero), or into an enlarged stream (DeepNorm)"""
    norm: Norm = "pre"
    """where the stream is normalised: never, before each block and at the end, or after each block"""
    normaliser: Normaliser = "layer"
    """LayerNorm without bias, or RMSNorm; both with a learned gain"""
    parallel: bool = False
    """a bias-free matrix beside each FFN, from the same input"""

    def __post_init__(self) -> None:
        check_one_or_more(depth=self.depth)
        if self.residual == "deepnorm" and self.norm != "post":
            raise ValueError(f"deepnorm normalises after each block: norm must be post, not {self.norm}")
        if self.residual == "none" and self.parallel:
            raise ValueError("parallel adds a second branch to the stream: residual must not be none")

    @property
    def family(self) -> str:
        parts = [f"{self.depth}x{self.block.family}", self.residual]
        parts += [] if self.norm == "none" else [self.norm + ("-rms" if self.normaliser == "rms" else "")]
        return "-".join([*parts, *(["parallel"] if self.parallel else [])])

    @property
    def size(self) -> int | None:
        return self.block.size

    def resized(self, size: int) -> "StackConfig":
        return replace(self, block=self.block.resized(size))

    def _around(self, dim_in: int, dim_out: int) -> int:
        """Parameters outside of the FFNs. ValueError where a norm would leave nothing of so few dimensions."""
        least = {"layer": 3, "rms": 2}[self.normaliser]
        if self.norm != "none" and dim_in < least:
            raise ValueError(
                f"a {self.normaliser} norm over {dim_in} numbers leaves only their signs: the keys need {least} "
                "dimensions or more, or the stack norm: none"
            )
        norms = {"none": 0, "pre": self.depth + 1, "post": self.depth}[self.norm]
        scales = {"layerscale": self.depth * dim_in, "rezero": self.depth}.get(self.residual, 0)
        read_out = dim_in * dim_out if dim_out != dim_in else 0
        return norms * dim_in + scales + self.parallel * self.depth * dim_in**2 + read_out

    def num_params(self, dim_in: int, dim_out: int) -> int:
        return self.depth * self.block.num_params(dim_in, dim_in) + self._around(dim_in, dim_out)

    def num_active_params(self, dim_in: int, dim_out: int) -> int:
        return self.depth * self.block.num_active_params(dim_in, dim_in) + self._around(dim_in, dim_out)

    def training_flops(self, dim_in: int, dim_out: int) -> int:
        # Beyond the first block the input wants a gradient too: 6 a weight. What the norms take is left out.
        weights = self.depth * (self.block.num_active_params(dim_in, dim_in) + self.parallel * dim_in**2)
        return 6 * (weights + (dim_in * dim_out if dim_out != dim_in else 0))

    def build(self, dim_in: int, dim_out: int, *, generator: "torch.Generator") -> "FFN":
        from models.stack import StackFFN

        return StackFFN(self, dim_in, dim_out, generator=generator)
