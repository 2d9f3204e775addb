"""A causal transformer: token embeddings, layers of attention and an FFN of any kind, logits of the next token.

Shape legend: B batch, T tokens, P tokens before them, D dimension of the stream, V tokens of the vocabulary, W last
tokens that an n-gram lookup sees, S all tokens so far (P + T).
Sources: pre-norm, Radford et al. 2019; parallel attention and FFN, Wang and Komatsuzaki 2021 (GPT-J) and Chowdhery et
al. 2022 (PaLM, arXiv 2204.02311); RMSNorm, Zhang and Sennrich 2019 (1910.07467).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from models.decoder_config import DecoderConfig
from models.ffn import FFN
from models.language_model import LanguageModel
from models.ngram_lookup import NgramLookup
from models.product_keys import normal
from models.residual_kinds import Norm
from models.residual_schemes import draw_for_depth, gains, joined, norm_of
from models.self_attention import KeysAndValues, Rotation, SelfAttention, prefix_mask, rotation_of

LookUp = Callable[[Tensor], Tensor]
"""the stream (B, T, D) with what was read elsewhere, between attention and FFN of a layer"""


@dataclass(frozen=True)
class Past:
    """What a decoder keeps of the tokens that it has read."""

    layers: tuple[KeysAndValues, ...]
    tokens_BP: Tensor

    @property
    def num_tokens(self) -> int:
        return self.tokens_BP.shape[1]

    def repeated(self, times: int) -> "Past":
        """Each row so many times, one after another."""
        layers = tuple(layer.repeated(times) for layer in self.layers)
        return Past(layers, self.tokens_BP.repeat_interleave(times, dim=0))


class Layer(nn.Module):
    """Attention, and what stands beside it."""

    def __init__(self, config: DecoderConfig, layer: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.attention = SelfAttention(config.dim, config.heads, generator=generator)
        kind = config.of_layer(layer)
        self.ffn: FFN | None = None if kind is None else kind.build(config.dim, config.dim, generator=generator)
        branches = 1 if config.parallel or kind is None else 2
        self.norms = nn.ModuleList(norm_of(config.normaliser, config.dim) for _ in range(branches))
        self.gains = gains(config.residual, config.depth, branches, config.dim)

    def forward(
        self,
        x_BTD: Float[Tensor, "B T D"],
        rotation: Rotation,
        past: KeysAndValues | None,
        mask_TS: Bool[Tensor, "*B T S"] | None,
        last_BTW: Int64[Tensor, "B T W"] | None,
        look_up: LookUp | None = None,
    ) -> tuple[Float[Tensor, "B T D"], KeysAndValues]:
        read_BTD, now = self.attention(self._input(0, x_BTD), rotation, past=past, mask_TS=mask_TS)
        if self.ffn is not None and self.config.parallel:
            x_BTD = self._joined(0, x_BTD, read_BTD + self._ffn(self._input(0, x_BTD), last_BTW))
            return x_BTD if look_up is None else look_up(x_BTD), now
        x_BTD = self._joined(0, x_BTD, read_BTD)
        if look_up is not None:
            x_BTD = look_up(x_BTD)
        if self.ffn is not None:
            x_BTD = self._joined(1, x_BTD, self._ffn(self._input(1, x_BTD), last_BTW))
        return x_BTD, now

    def ffn_input(self, x_BTD: Float[Tensor, "B T D"], rotation: Rotation) -> Float[Tensor, "B T D"]:
        """What the FFN is given where the layer's input is this."""
        if self.config.parallel:
            return self._input(0, x_BTD)
        read_BTD, _ = self.attention(self._input(0, x_BTD), rotation)
        return self._input(1, self._joined(0, x_BTD, read_BTD))

    def _input(self, branch: int, x_BTD: Tensor) -> Tensor:
        normalised_BTD: Tensor = x_BTD if self.config.residual == "deepnorm" else self.norms[branch](x_BTD)
        return normalised_BTD

    def _ffn(self, x_BTD: Tensor, last_BTW: Tensor | None) -> Tensor:
        more: tuple[Any, ...] = ()
        if isinstance(self.ffn, NgramLookup):
            assert last_BTW is not None
            more = (last_BTW.flatten(0, 1),)
        assert self.ffn is not None
        out_BTD: Tensor = self.ffn(x_BTD.flatten(0, 1), *more).view_as(x_BTD)
        return out_BTD

    def _joined(self, branch: int, x_BTD: Tensor, update_BTD: Tensor) -> Tensor:
        config, gain = self.config, None if self.gains is None else self.gains[branch]
        y_BTD = joined(config.residual, x_BTD, update_BTD, gain, depth=config.depth)
        next_BTD: Tensor = self.norms[branch](y_BTD) if config.residual == "deepnorm" else y_BTD
        return next_BTD


class Decoder(LanguageModel):
    """Tokens -> logits of the next token."""

    def __init__(self, config: DecoderConfig, num_tokens: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.num_tokens = config, num_tokens
        self.embeddings_VD = normal(num_tokens, config.dim, std=1 / math.sqrt(config.dim), generator=generator)
        self.layers = nn.ModuleList(Layer(config, layer, generator=generator) for layer in range(config.depth))
        self.last_norm = None if config.residual == "deepnorm" else norm_of(config.normaliser, config.dim)
        self.read_out_VD = (
            None if config.tied else normal(num_tokens, config.dim, std=1 / math.sqrt(config.dim), generator=generator)
        )
        self._draw_for_depth(generator)

    @torch.no_grad()
    def _draw_for_depth(self, generator: torch.Generator) -> None:
        config = self.config
        norm: Norm = "post" if config.residual == "deepnorm" else "pre"
        for _, ffn in self.ffns():
            for weight in ffn.drawn_for_unit_inputs():
                weight.div_(math.sqrt(config.dim))
        branches = [branch for layer in self._layers() for branch in (layer.attention, layer.ffn) if branch is not None]
        draw_for_depth(branches, config.residual, norm, depth=config.depth, generator=generator)

    def _layers(self) -> Iterator[Layer]:
        for layer in self.layers:
            assert isinstance(layer, Layer)
            yield layer

    def ffns(self) -> list[tuple[int, FFN]]:
        """Those that there are, each with its layer."""
        return [(number, layer.ffn) for number, layer in enumerate(self._layers()) if layer.ffn is not None]

    def forward(self, tokens_BT: Int64[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Logits of the token after each."""
        return self.logits(self.hidden(tokens_BT))

    def hidden(self, tokens_BT: Int64[Tensor, "B T"], *context: Any) -> Float[Tensor, "B T D"]:
        """`context`: nothing, or of each text how many of its first tokens see each other both ways (a prefix)."""
        mask_BTT = prefix_mask(context[0], tokens_BT.shape[1]) if context else None
        return self.read(tokens_BT, mask_TS=mask_BTT)[0]

    def logits(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        return hidden @ self.read_out.T

    @property
    def read_out(self) -> Float[Tensor, "V D"]:
        """The matrix of the logits: the token embeddings where they are tied."""
        return self.embeddings_VD if self.read_out_VD is None else self.read_out_VD

    def read(
        self,
        tokens_BT: Int64[Tensor, "B T"],
        *,
        past: Past | None = None,
        positions_T: Int64[Tensor, " T"] | None = None,
        mask_TS: Bool[Tensor, "*B T S"] | None = None,
        last_BTW: Int64[Tensor, "B T W"] | None = None,
        look_ups: Mapping[int, LookUp] = MappingProxyType({}),
    ) -> tuple[Float[Tensor, "B T D"], Past]:
        """As `hidden`, after the tokens of a `past`; and the past of what comes next.

        Tokens that do not simply follow one another (the branches of a tree) say where they stand, which of all tokens
        each may see, and which are the last ones before it. `look_ups`: by layer.
        """
        before = past.num_tokens if past is not None else 0
        if positions_T is None:
            positions_T = torch.arange(before, before + tokens_BT.shape[1], device=tokens_BT.device)
        x_BTD = self.embedded(tokens_BT)
        rotation = rotation_of(positions_T, self.config.dim // self.config.heads, x_BTD)
        if last_BTW is None and self.config.window:
            last_BTW = self.last_tokens(tokens_BT, past)
        kept = []
        for number, layer in enumerate(self._layers()):
            of_layer = None if past is None else past.layers[number]
            again = self.recomputes and self.training
            run: Callable[..., Any] = partial(checkpoint, layer, use_reentrant=False) if again else layer
            x_BTD, now = run(x_BTD, rotation, of_layer, mask_TS, last_BTW, look_ups.get(number))
            kept.append(now)
        all_BS = tokens_BT if past is None else torch.cat([past.tokens_BP, tokens_BT], dim=1)
        return self.normalised(x_BTD), Past(tuple(kept), all_BS)

    def embedded(self, tokens_BT: Int64[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """The stream before the first layer."""
        return functional.embedding(tokens_BT, self.embeddings_VD)

    def normalised(self, x_BTD: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """The stream after the last layer, as the read-out is given it."""
        out_BTD: Tensor = x_BTD if self.last_norm is None else self.last_norm(x_BTD)
        return out_BTD

    def last_tokens(self, tokens_BT: Int64[Tensor, "B T"], past: Past | None) -> Int64[Tensor, "B T W"]:
        """For each token those that an n-gram lookup sees, its own the last; -1 before the beginning."""
        wanted = self.config.window - 1
        known_BP = tokens_BT[:, :0] if past is None else past.tokens_BP[:, max(0, past.num_tokens - wanted) :]
        missing = wanted - known_BP.shape[1]
        return functional.pad(torch.cat([known_BP, tokens_BT], dim=1), (missing, 0), value=-1).unfold(1, wanted + 1, 1)

    def states(self, tokens_BT: Int64[Tensor, "B T"]) -> list[Float[Tensor, "B T D"]]:
        """The stream before the first layer and after each."""
        positions_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        states = [self.embedded(tokens_BT)]
        rotation = rotation_of(positions_T, self.config.dim // self.config.heads, states[0])
        last_BTW = self.last_tokens(tokens_BT, None) if self.config.window else None
        for layer in self._layers():
            states.append(layer(states[-1], rotation, None, None, last_BTW)[0])
        return states

    def learning_rate_factors(self) -> Mapping[str, float]:
        return {
            f"layers.{layer}.ffn.{name}": factor
            for layer, ffn in self.ffns()
            for name, factor in ffn.learning_rate_factors().items()
        }

    def auxiliary_loss(self) -> Tensor | None:
        losses = [loss for _, ffn in self.ffns() if (loss := ffn.auxiliary_loss()) is not None]
        return torch.stack(losses).sum() if losses else None

    def step_done(self, progress: float) -> None:
        for _, ffn in self.ffns():
            ffn.step_done(progress)

    def is_settled(self) -> bool:
        return all(ffn.is_settled() for _, ffn in self.ffns())
