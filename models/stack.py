"""Residual stacks of FFNs, serial or parallel, with the schemes that are meant to keep deep ones at work.

Shape legend: B batch, D dimension of the stream, E output dimension.
Sources: pre- and post-norm, Xiong et al. 2020 (arXiv 2002.04745); LayerScale, Touvron et al. 2021 (2103.17239); ReZero,
Bachlechner et al. 2020 (2003.04887); DeepNorm, Wang et al. 2022 (2203.00555), decoder form; parallel branches, Wang and
Komatsuzaki 2021 (GPT-J) and Chowdhery et al. 2022 (2204.02311).
"""

import math
from collections.abc import Mapping
from functools import partial

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from models.ffn import FFN, LinearMap
from models.precisions import Precision
from models.stack_kinds import StackConfig


def layerscale_start(depth: int) -> float:
    """The first value of every LayerScale gain (Touvron et al. 2021, section 2)."""
    return 0.1 if depth <= 18 else 1e-5 if depth <= 24 else 1e-6


class StackFFN(FFN):
    """The stream through all blocks, and out."""

    def __init__(self, config: StackConfig, dim_in: int, dim_out: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        depth = config.depth
        self.blocks = nn.ModuleList(config.block.build(dim_in, dim_in, generator=generator) for _ in range(depth))
        branches = depth if config.parallel else 0
        self.branches = nn.ModuleList(LinearMap(dim_in, dim_in, generator=generator) for _ in range(branches))
        norm = nn.RMSNorm if config.normaliser == "rms" else partial(nn.LayerNorm, bias=False)
        norms = {"none": 0, "pre": depth + 1, "post": depth}[config.norm]
        self.norms = nn.ModuleList(norm(dim_in) for _ in range(norms))
        if config.residual == "layerscale":
            self.scale_LD = nn.Parameter(torch.full((depth, dim_in), layerscale_start(depth)))
        elif config.residual == "rezero":
            self.scale_L1 = nn.Parameter(torch.zeros(depth, 1))
        self.read_out = LinearMap(dim_in, dim_out, generator=generator) if dim_out != dim_in else None
        self._draw_for_depth(dim_in, generator)

    @torch.no_grad()
    def _draw_for_depth(self, dim_in: int, generator: torch.Generator) -> None:
        """First weights as scheme and norm ask for them.

        DeepNorm: the matrices of a branch normal with Xavier's variance times beta, (8 M)^(-1/4); of a table of slots,
        which has no fan, the rows times beta. Plain pre-norm: read-outs times 1 / sqrt(branches), so that the stream
        does not grow with depth (Radford et al. 2019). What is normalised has the length sqrt(D) and not 1.
        """
        config, depth = self.config, self.config.depth
        for layer, block in enumerate(self._ffns()):
            if config.norm == "pre" or (config.norm == "post" and layer > 0):
                for weight in block.drawn_for_unit_inputs():
                    weight.div_(math.sqrt(dim_in))
        branches = [*self._ffns(), *(branch for branch in self.branches if isinstance(branch, FFN))]
        if config.residual == "deepnorm":
            beta = (8 * depth) ** -0.25
            for branch in branches:
                has_fan = bool(branch.input_matrices()) or isinstance(branch, LinearMap)
                for weight in (*branch.input_matrices(), *branch.read_outs()):
                    if has_fan:
                        weight.normal_(std=beta * math.sqrt(2 / sum(weight.shape[-2:])), generator=generator)
                    else:
                        weight.mul_(beta)
        elif config.residual == "plain" and config.norm == "pre":
            for branch in branches:
                for weight in branch.read_outs():
                    weight.div_(math.sqrt(len(branches)))

    def states(self, x_BD: Float[Tensor, "B D"]) -> list[Float[Tensor, "B D"]]:
        """The stream before the first block and after each."""
        states = [x_BD]
        for layer in range(self.config.depth):
            states.append(self._next(layer, states[-1]))
        return states

    def _next(self, layer: int, x_BD: Tensor) -> Tensor:
        config = self.config
        update_BD = self._update(layer, self._block_input(layer, x_BD))
        match config.residual:
            case "none":
                y_BD = update_BD
            case "plain":
                y_BD = x_BD + update_BD
            case "layerscale":
                y_BD = x_BD + self.scale_LD[layer] * update_BD
            case "rezero":
                y_BD = x_BD + self.scale_L1[layer] * update_BD
            case "deepnorm":
                y_BD = (2 * config.depth) ** 0.25 * x_BD + update_BD
        next_BD: Tensor = self.norms[layer](y_BD) if config.norm == "post" else y_BD
        return next_BD

    def _block_input(self, layer: int, x_BD: Tensor) -> Tensor:
        input_BD: Tensor = self.norms[layer](x_BD) if self.config.norm == "pre" else x_BD
        return input_BD

    def _update(self, layer: int, input_BD: Tensor) -> Tensor:
        update_BD: Tensor = self.blocks[layer](input_BD)
        return update_BD + self.branches[layer](input_BD) if self.config.parallel else update_BD

    def forward(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
        last_BD = self.states(x_BD)[-1]
        if self.config.norm == "pre":
            last_BD = self.norms[-1](last_BD)
        out_BE: Tensor = last_BD if self.read_out is None else self.read_out(last_BD)
        return out_BE

    def _ffns(self) -> list[FFN]:
        return [block for block in self.blocks if isinstance(block, FFN)]

    def learning_rate_factors(self) -> Mapping[str, float]:
        return {
            f"blocks.{layer}.{name}": factor
            for layer, block in enumerate(self._ffns())
            for name, factor in block.learning_rate_factors().items()
        }

    def stored_apart(self, precision: Precision) -> Mapping[str, Precision]:
        return {
            f"blocks.{layer}.{name}": of_part
            for layer, block in enumerate(self._ffns())
            for name, of_part in block.stored_apart(precision).items()
        }

    def divergence_suspects(self) -> Mapping[str, float]:
        return {f"block.{name}": times for name, times in self._ffns()[0].divergence_suspects().items()}

    def auxiliary_loss(self) -> Tensor | None:
        losses = [loss for block in self._ffns() if (loss := block.auxiliary_loss()) is not None]
        return torch.stack(losses).sum() if losses else None

    def is_settled(self) -> bool:
        return all(block.is_settled() for block in self._ffns())

    def step_done(self, progress: float) -> None:
        for block in self._ffns():
            block.step_done(progress)

    def slot_counts(self, x_BD: Float[Tensor, "B D"]) -> Int64[Tensor, " S"] | None:
        """Those of all blocks, one after another."""
        counts = [
            block.slot_counts(self._block_input(layer, state_BD))
            for layer, (block, state_BD) in enumerate(zip(self._ffns(), self.states(x_BD)[:-1], strict=True))
        ]
        known = [count for count in counts if count is not None]
        return torch.cat(known) if known else None
