"""What a decoder writes by itself, the likeliest token each time.

Shape legend: B batch, T tokens.
"""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from models.candidate_tree import Reads


@torch.inference_mode()
def continued(model: Reads, tokens_BT: Int64[Tensor, "B T"], *, most: int, end: int) -> list[list[int]]:
    """The tokens after each text until `end`, which is left out, or `most` of them."""
    hidden_BTD, past = model.read(tokens_BT)
    next_B = model.logits(hidden_BTD[:, -1]).argmax(-1)
    written = [next_B]
    ended_B = next_B == end
    while len(written) < most and not bool(ended_B.all()):
        hidden_BTD, past = model.read(next_B[:, None], past=past)
        next_B = model.logits(hidden_BTD[:, -1]).argmax(-1)
        written.append(next_B)
        ended_B |= next_B == end
    return [until(row, {end}) for row in torch.stack(written, dim=1).tolist()]


def until(tokens: Sequence[int], ends: Collection[int]) -> list[int]:
    """Those before the first of the ends."""
    first = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return list(tokens[:first])
