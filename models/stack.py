"""Residual stacks of FFNs, serial or parallel, with the schemes that are meant to keep deep ones at work.

Shape legend: B batch, D dimension of the stream, E output dimension.
Sources: pre- and post-norm, Xiong et al. 2020 (arXiv 2002.04745); LayerScale, Touvron et al. 2021 (2103.17239); ReZero,
Bachlechner et al. 2020 (2003.04887); DeepNorm, Wang et al. 2022 (2203.00555), decoder form; parallel branches, Wang and
Komatsuzaki 2021 (GPT-J) and Chowdhery et al. 2022 (2204.02311).
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from models.ffn import FFN, LinearMap
from models.precisions import Precision
from models.residual_schemes import draw_for_depth, gains, joined, norm_of
from models.stack_kinds import StackConfig


class StackFFN(FFN):
    """The stream through all blocks, and out."""

    def __init__(self, config: StackConfig, dim_in: int, dim_out: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        depth = config.depth
        self.blocks = nn.ModuleList(config.block.build(dim_in, dim_in, generator=generator) for _ in range(depth))
        branches = depth if config.parallel else 0
        self.branches = nn.ModuleList(LinearMap(dim_in, dim_in, generator=generator) for _ in range(branches))
        norms = {"none": 0, "pre": depth + 1, "post": depth}[config.norm]
        self.norms = nn.ModuleList(norm_of(config.normaliser, dim_in) for _ in range(norms))
        self._gain_name = {"layerscale": "scale_LD", "rezero": "scale_L1"}.get(config.residual)
        if self._gain_name is not None:
            self.register_parameter(self._gain_name, gains(config.residual, depth, depth, dim_in))
        self.read_out = LinearMap(dim_in, dim_out, generator=generator) if dim_out != dim_in else None
        self._draw_for_depth(dim_in, generator)

    @torch.no_grad()
    def _draw_for_depth(self, dim_in: int, generator: torch.Generator) -> None:
        """First weights as scheme and norm ask for them; what is normalised has the length sqrt(D) and not 1."""
        config = self.config
        for layer, block in enumerate(self._ffns()):
            if config.norm == "pre" or (config.norm == "post" and layer > 0):
                for weight in block.drawn_for_unit_inputs():
                    weight.div_(math.sqrt(dim_in))
        branches = [*self._ffns(), *(branch for branch in self.branches if isinstance(branch, FFN))]
        draw_for_depth(branches, config.residual, config.norm, depth=config.depth, generator=generator)

    def states(self, x_BD: Float[Tensor, "B D"]) -> list[Float[Tensor, "B D"]]:
        """The stream before the first block and after each."""
        states = [x_BD]
        for layer in range(self.config.depth):
            states.append(self._next(layer, states[-1]))
        return states

    def _next(self, layer: int, x_BD: Tensor) -> Tensor:
        config = self.config
        update_BD = self._update(layer, self._block_input(layer, x_BD))
        y_BD = joined(config.residual, x_BD, update_BD, self._gain(layer), depth=config.depth)
        next_BD: Tensor = self.norms[layer](y_BD) if config.norm == "post" else y_BD
        return next_BD

    def _gain(self, layer: int) -> Tensor | None:
        if self._gain_name is None:
            return None
        gain: Tensor = getattr(self, self._gain_name)[layer]
        return gain

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
