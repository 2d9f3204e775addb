"""What an FFN that reads is given: the question's key, and the embeddings and similarities of retrieved chunks.

The weights become a processor, the store does the storing. What was found comes as tensors, so that this room knows no
index.

Shape legend: B batch, K neighbours, D key dimension, I inputs of the FFN.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def reading_dim(dim: int, num_neighbours: int) -> int:
    """Inputs of a reading FFN."""
    return dim + num_neighbours * (dim + 1)


def joined(
    keys_BD: Float[Tensor, "B D"], chunks_BKD: Float[Tensor, "B K D"], similarities_BK: Float[Tensor, "B K"]
) -> Float[Tensor, "B I"]:
    """[key; neighbour 1 ... K; similarity 1 ... K]. With K = 0 it is the key alone, bit for bit.

    Similarities fall; empty slots have -inf and zero vectors, and are given as zeros.
    """
    empty_BK = torch.isneginf(similarities_BK)
    return torch.cat([keys_BD, chunks_BKD.flatten(1), similarities_BK.masked_fill(empty_BK, 0.0)], dim=1)
