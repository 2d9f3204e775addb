"""FFN stacks under the names that people know: the FFNs of published models, without their attention. Free of torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from models.dial_checks import check_one_or_more
from models.expert_kinds import ExpertsConfig
from models.ffn_kinds import DenseConfig, GatedConfig, SizedByWidth
from models.stack_kinds import StackConfig

if TYPE_CHECKING:
    import torch

    from models.ffn import FFN

Preset = Literal["gpt2", "bert", "gptj", "palm", "llama", "mixtral", "deepseek"]

STACKS: Mapping[str, StackConfig] = {
    "gpt2": StackConfig(block=DenseConfig(kind="gelu", bias=True)),
    "bert": StackConfig(block=DenseConfig(kind="gelu", bias=True), norm="post"),
    "gptj": StackConfig(block=DenseConfig(kind="gelu", bias=True), parallel=True),
    "palm": StackConfig(block=GatedConfig(kind="swiglu"), parallel=True),
    "llama": StackConfig(block=GatedConfig(kind="swiglu"), normaliser="rms"),
    "mixtral": StackConfig(
        block=ExpertsConfig(experts=8, top_k=2, activation="swiglu", balancing="auxiliary"), normaliser="rms"
    ),
    # Fine-grained: small experts, one of them always on. DeepSeek-V3 has 256 of which 8 answer.
    "deepseek": StackConfig(
        block=ExpertsConfig(experts=15, top_k=3, shared=1, activation="swiglu", balancing="bias"), normaliser="rms"
    ),
}
"""at any depth"""


@dataclass(frozen=True, kw_only=True)
class PresetConfig(SizedByWidth):
    """The FFNs of a published family: kind, norm, order and biases; depth and width are yours.

    gpt2: pre-norm GELU. bert: post-norm. gptj: a matrix beside each FFN, which stands in for attention. palm: the same
    with SwiGLU. llama: RMSNorm and SwiGLU. mixtral: 8 experts of which 2 answer. deepseek: 15 small experts of which 3
    answer and one that always does, balanced by biases.
    """

    kind: Preset = "gpt2"
    """the family"""
    depth: int = 2
    """blocks"""
    width: int | None = None
    """hidden units of each FFN, or of each expert; as wide as usual where empty"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_one_or_more(depth=self.depth)

    @property
    def stack(self) -> StackConfig:
        """What the name stands for."""
        stack = replace(STACKS[self.kind], depth=self.depth)
        return stack if self.width is None else stack.resized(self.width)

    @property
    def family(self) -> str:
        return f"{self.kind}-{self.depth}"

    @property
    def label(self) -> str:
        return f"{self.family}x{self.width or 'usual'}"

    def num_params(self, dim_in: int, dim_out: int) -> int:
        return self.stack.num_params(dim_in, dim_out)

    def num_active_params(self, dim_in: int, dim_out: int) -> int:
        return self.stack.num_active_params(dim_in, dim_out)

    def training_flops(self, dim_in: int, dim_out: int) -> int:
        return self.stack.training_flops(dim_in, dim_out)

    def build(self, dim_in: int, dim_out: int, *, generator: "torch.Generator") -> "FFN":
        return self.stack.build(dim_in, dim_out, generator=generator)
