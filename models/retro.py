"""RETRO: a decoder whose layers attend, chunk by chunk, to texts that were retrieved with the chunk before.

Chunk u of a text has m tokens. What was retrieved with it is seen by its last token, which says the first token of
chunk u + 1, and by all but the last of chunk u + 1: nothing that was retrieved with a token tells that token. A text
may begin within a chunk, as if so many tokens stood before it: a question then ends where a chunk ends.

Unlike the paper's, the encoder of the neighbours shares the decoder's token embeddings and does not see the chunk, and
cross-attention has no positions of its own.

Shape legend: B batch, T tokens, D dimension of the stream, U chunks, K neighbours of a chunk, R tokens of a neighbour,
N = K R, S = U K R, H heads, E dimension of a head, V tokens of the vocabulary.
Source: Borgeaud et al. 2022 (arXiv 2112.04426), sections 2.3 and 2.4.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from models.decoder import Decoder, LookUp, Past
from models.ffn import uniform
from models.language_model import LanguageModel
from models.residual_schemes import norm_of
from models.retro_config import RetroConfig
from models.self_attention import SelfAttention, rotation_of

NO_TOKEN = -1
"""fills neighbours that are shorter than others, or missing"""


@dataclass(frozen=True)
class EncodedNeighbours:
    """Of each chunk of each text."""

    states_BUND: Tensor
    is_there_BUN: Tensor
    """bool"""

    def rows(self, start: int, end: int) -> "EncodedNeighbours":
        """Those of some of the texts."""
        return EncodedNeighbours(self.states_BUND[start:end], self.is_there_BUN[start:end])


class NeighbourEncoder(nn.Module):
    """Layers of attention that sees both ways, and FFNs, over each neighbour by itself."""

    def __init__(self, config: RetroConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        dim, depth = config.decoder.dim, config.encoder_depth
        self.dim_head = dim // config.decoder.heads
        self.attentions = nn.ModuleList(
            SelfAttention(dim, config.decoder.heads, generator=generator) for _ in range(depth)
        )
        self.ffns = nn.ModuleList(config.decoder.ffn.build(dim, dim, generator=generator) for _ in range(depth))
        self.norms = nn.ModuleList(norm_of(config.decoder.normaliser, dim) for _ in range(2 * depth + 1))
        with torch.no_grad():
            for ffn in self.ffns:
                for weight in ffn.drawn_for_unit_inputs():  # type: ignore[operator]
                    weight.div_(math.sqrt(dim))

    def forward(self, x_NRD: Float[Tensor, "N R D"], is_there_NR: Bool[Tensor, "N R"]) -> Float[Tensor, "N R D"]:
        rotation = rotation_of(torch.arange(x_NRD.shape[1], device=x_NRD.device), self.dim_head, x_NRD)
        # A neighbour that is not there sees itself: a softmax over nothing is no number.
        sees_NRR = is_there_NR[:, None] | torch.eye(x_NRD.shape[1], dtype=torch.bool, device=x_NRD.device)
        for number, (attention, ffn) in enumerate(zip(self.attentions, self.ffns, strict=True)):
            x_NRD = x_NRD + attention(self.norms[2 * number](x_NRD), rotation, mask_TS=sees_NRR)[0]
            x_NRD = x_NRD + ffn(self.norms[2 * number + 1](x_NRD).flatten(0, 1)).view_as(x_NRD)
        out_NRD: Tensor = self.norms[-1](x_NRD)
        return out_NRD


class ChunkedCrossAttention(nn.Module):
    """From each token to the neighbours of the last chunk that had ended with it or before it."""

    def __init__(self, config: RetroConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        dim = config.decoder.dim
        self.heads = config.decoder.heads
        self.w_query_DD = uniform(dim, dim, fan_in=dim, generator=generator)
        self.w_key_value_DJ = uniform(dim, 2 * dim, fan_in=dim, generator=generator)
        self.w_out_DD = uniform(dim, dim, fan_in=dim, generator=generator)
        self.norm = norm_of(config.decoder.normaliser, dim)

    def forward(
        self, x_BTD: Float[Tensor, "B T D"], chunks_BT: Int64[Tensor, "B T"], neighbours: EncodedNeighbours
    ) -> Float[Tensor, "B T D"]:
        """What is read; zeros for a token that has nothing to read. `chunks_BT`: whose neighbours it sees, -1: none."""
        states_BSD = neighbours.states_BUND.flatten(1, 2)
        num_chunks, in_chunk = neighbours.is_there_BUN.shape[1:]
        chunk_of_S = torch.arange(num_chunks, device=x_BTD.device).repeat_interleave(in_chunk)
        sees_BTS = (chunks_BT[:, :, None] == chunk_of_S) & neighbours.is_there_BUN.flatten(1)[:, None]
        q_BHTE = (self.norm(x_BTD) @ self.w_query_DD).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k_BHSE, v_BHSE = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (states_BSD @ self.w_key_value_DJ).chunk(2, dim=-1)
        )
        # A softmax over nothing is no number: who has nothing to read reads anything, and it is thrown away.
        reads_BT1 = sees_BTS.any(-1, keepdim=True)
        mask_B1TS = (sees_BTS | ~reads_BT1)[:, None]
        read_BHTE = functional.scaled_dot_product_attention(q_BHTE, k_BHSE, v_BHSE, attn_mask=mask_B1TS)
        out_BTD = read_BHTE.transpose(1, 2).flatten(2) @ self.w_out_DD
        return torch.where(reads_BT1, out_BTD, 0.0)


class Retro(LanguageModel):
    """Tokens and the neighbours of their chunks -> logits of the next token."""

    def __init__(self, config: RetroConfig, num_tokens: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.decoder = Decoder(config.decoder, num_tokens, generator=generator)
        self.encoder = NeighbourEncoder(config, generator=generator)
        self.crosses = nn.ModuleDict(
            {str(layer): ChunkedCrossAttention(config, generator=generator) for layer in config.reading_layers}
        )

    def keep_decoder(self) -> None:
        """Train only encoder and cross-attention from now on; without neighbours it stays what it is (RETROfit)."""
        self.decoder.requires_grad_(False)

    def encoded(self, neighbours_BUKR: Int64[Tensor, "B U K R"]) -> EncodedNeighbours:
        """What is read of the neighbours, each given as tokens."""
        is_there_BUKR = neighbours_BUKR != NO_TOKEN
        if not neighbours_BUKR.numel():
            batch, chunks = neighbours_BUKR.shape[:2]
            empty = self.decoder.embeddings_VD.new_zeros(batch, chunks, 0, self.config.decoder.dim)
            return EncodedNeighbours(empty, is_there_BUKR.flatten(2))
        x_NRD = self.decoder.embedded(neighbours_BUKR.clamp(min=0).flatten(0, 2))
        states_NRD = self.encoder(x_NRD, is_there_BUKR.flatten(0, 2))
        states_BUND = states_NRD.view(*neighbours_BUKR.shape, -1).flatten(2, 3)
        return EncodedNeighbours(states_BUND, is_there_BUKR.flatten(2))

    def hidden(self, tokens_BT: Int64[Tensor, "B T"], *context: Any) -> Float[Tensor, "B T D"]:
        """`context`: neighbours (B, U, K, R), and of each text the tokens that its first chunk lacks, (B)."""
        neighbours_BUKR, lacking_B = context
        return self.reading(self.encoded(neighbours_BUKR), lacking_B).read(tokens_BT)[0]

    def logits(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        return self.decoder.logits(hidden)

    def reading(self, neighbours: EncodedNeighbours, lacking_B: Int64[Tensor, " B"]) -> "RetroReading":
        """The decoder with these neighbours at hand."""
        return RetroReading(self, neighbours, lacking_B)

    def learning_rate_factors(self) -> Mapping[str, float]:
        return {f"decoder.{name}": factor for name, factor in self.decoder.learning_rate_factors().items()}

    def auxiliary_loss(self) -> Tensor | None:
        return self.decoder.auxiliary_loss()

    def step_done(self, progress: float) -> None:
        self.decoder.step_done(progress)
        for ffn in self.encoder.ffns:
            ffn.step_done(progress)  # type: ignore[operator]

    def is_settled(self) -> bool:
        return self.decoder.is_settled()


@dataclass(frozen=True)
class RetroReading:
    """Reads as a decoder does."""

    model: Retro
    neighbours: EncodedNeighbours
    lacking_B: Tensor

    def read(
        self, tokens_BT: Tensor, *, past: Past | None = None, positions_T: Tensor | None = None, **settings: Any
    ) -> tuple[Tensor, Past]:
        """As `Decoder.read`."""
        before = 0 if past is None else past.num_tokens
        if positions_T is None:
            positions_T = torch.arange(before, before + tokens_BT.shape[1], device=tokens_BT.device)
        chunk_tokens = self.model.config.chunk_tokens
        chunks_BT = (positions_T + self.lacking_B[:, None] + 1).div(chunk_tokens, rounding_mode="floor") - 1
        # After the last chunk that anything was retrieved with, its neighbours stay in sight.
        chunks_BT = chunks_BT.clamp(max=self.neighbours.is_there_BUN.shape[1] - 1)
        look_ups: dict[int, LookUp] = {}
        if self.neighbours.is_there_BUN.numel():
            for layer, cross in self.model.crosses.items():
                look_ups[int(layer)] = partial(self._look_up, cross, chunks_BT)
        return self.model.decoder.read(tokens_BT, past=past, positions_T=positions_T, look_ups=look_ups, **settings)

    def _look_up(self, cross: nn.Module, chunks_BT: Tensor, x_BTD: Tensor) -> Tensor:
        looked_up_BTD: Tensor = x_BTD + cross(x_BTD, chunks_BT, self.neighbours)
        return looked_up_BTD

    def logits(self, hidden: Tensor) -> Tensor:
        """Of the next token."""
        return self.model.logits(hidden)
