"""Self-attention with rotary positions, causal unless told otherwise.

Shape legend: B batch, T positions of these tokens, P positions before them, H heads, E dimension of a head, D dimension
of the stream (H E), J = 3 D.
Source: rotary position embeddings, Su et al. 2021 (arXiv 2104.09864), halves rotated against each other.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from models.ffn import uniform

_BASE = 10_000.0


class Rotation(NamedTuple):
    """Cosines and sines of each position."""

    cos_TE: Tensor
    sin_TE: Tensor


def rotation_of(positions_T: Int64[Tensor, " T"], dim_head: int, like: Tensor) -> Rotation:
    """By which the queries and keys at these positions are turned."""
    powers_F = torch.arange(0, dim_head, 2, device=positions_T.device, dtype=torch.float32) / dim_head
    angles_TF = positions_T[:, None].float() / _BASE**powers_F
    angles_TE = torch.cat([angles_TF, angles_TF], dim=1)
    return Rotation(angles_TE.cos().to(like.dtype), angles_TE.sin().to(like.dtype))


def turned(x_BHTE: Float[Tensor, "B H T E"], rotation: Rotation) -> Float[Tensor, "B H T E"]:
    """Each pair (x_e, x_(e + E/2)) turned by its angle."""
    first, second = x_BHTE.chunk(2, dim=-1)
    return x_BHTE * rotation.cos_TE + torch.cat([-second, first], dim=-1) * rotation.sin_TE


@dataclass(frozen=True)
class KeysAndValues:
    """What attention in one layer keeps of the tokens before."""

    keys_BHPE: Tensor
    values_BHPE: Tensor

    def repeated(self, times: int) -> "KeysAndValues":
        """Each row so many times, one after another."""
        return KeysAndValues(
            self.keys_BHPE.repeat_interleave(times, dim=0), self.values_BHPE.repeat_interleave(times, dim=0)
        )


class SelfAttention(nn.Module):
    """Attention of each position to itself and those before, or to those that a mask names."""

    def __init__(self, dim: int, heads: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.heads, self.dim = heads, dim
        self.w_qkv_DJ = uniform(dim, 3 * dim, fan_in=dim, generator=generator)
        self.w_out_DD = uniform(dim, dim, fan_in=dim, generator=generator)

    def forward(
        self,
        x_BTD: Float[Tensor, "B T D"],
        rotation: Rotation,
        *,
        past: KeysAndValues | None = None,
        mask_TS: Bool[Tensor, "*B T S"] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], KeysAndValues]:
        """What is attended to, and the keys and values of all tokens so far. `mask_TS` says, for each of these tokens,
        which of the P + T there are may be looked at, for each text where it has a batch; causal where None."""
        q_BHTE, k_BHTE, v_BHTE = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (x_BTD @ self.w_qkv_DJ).chunk(3, dim=-1)
        )
        q_BHTE, k_BHTE = turned(q_BHTE, rotation), turned(k_BHTE, rotation)
        if past is not None:
            k_BHTE = torch.cat([past.keys_BHPE, k_BHTE], dim=2)
            v_BHTE = torch.cat([past.values_BHPE, v_BHTE], dim=2)
            if mask_TS is None and x_BTD.shape[1] > 1:
                mask_TS = causal(x_BTD.shape[1], k_BHTE.shape[2], x_BTD.device)
        every_head = mask_TS[:, None] if mask_TS is not None and mask_TS.dim() == 3 else mask_TS
        read_BHTE = functional.scaled_dot_product_attention(
            q_BHTE, k_BHTE, v_BHTE, attn_mask=every_head, is_causal=past is None and mask_TS is None
        )
        out_BTD: Tensor = read_BHTE.transpose(1, 2).flatten(2) @ self.w_out_DD
        return out_BTD, KeysAndValues(k_BHTE, v_BHTE)

    def input_matrices(self) -> list[Tensor]:
        """Those whose size counts for how large the output is: queries and keys are none of them."""
        return [self.w_qkv_DJ[:, 2 * self.dim :]]

    def read_outs(self) -> list[Tensor]:
        return [self.w_out_DD]

    def drawn_for_unit_inputs(self) -> list[Tensor]:
        return []


def causal(num_tokens: int, num_all: int, device: torch.device) -> Bool[Tensor, "T S"]:
    """The last tokens of all: each sees itself and those before."""
    return torch.ones(num_tokens, num_all, dtype=torch.bool, device=device).tril(num_all - num_tokens)


def prefix_mask(prefixes_B: Int64[Tensor, " B"], num_tokens: int) -> Bool[Tensor, "B T T"]:
    """Each token sees itself, those before, and all of the prefix: of each text so many of its first tokens."""
    in_prefix_BT = torch.arange(num_tokens, device=prefixes_B.device) < prefixes_B[:, None]
    return causal(num_tokens, num_tokens, prefixes_B.device) | (in_prefix_BT[:, None] & in_prefix_BT[:, :, None])
