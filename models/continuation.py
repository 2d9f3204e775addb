"""What a decoder writes by itself, the likeliest token each time.

Shape legend: B batch, T tokens.
"""

from collections.abc import Sequence

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
    return [_until(end, row) for row in torch.stack(written, dim=1).tolist()]


def _until(end: int, tokens: Sequence[int]) -> list[int]:
    kept = list(tokens)
    return kept[: kept.index(end)] if end in kept else kept
