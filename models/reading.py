"""An FFN that reads: its input is the question's key and the embeddings and similarities of retrieved chunks.

The weights become a processor, the store does the storing. The store is reached through a callable from keys to
neighbour tensors, so that this room knows no index.

Shape legend: N facts, B batch, K neighbours, D key dimension.
"""

from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from models.ffn import FFN
from models.key_value_training import KeyValueData, KeyValueModule
from models.training_budget import TrainingBudget


@runtime_checkable
class Neighbours(Protocol):
    """K nearest stored chunks of each key, similarity falling; empty slots: similarity -inf and zero vectors."""

    def __call__(self, keys_BD: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B K D"], Float[Tensor, "B K"]]: ...


def reading_dim(dim: int, num_neighbours: int) -> int:
    """Inputs of a reading FFN."""
    return dim + num_neighbours * (dim + 1)


def joined(keys_BD: Float[Tensor, "B D"], neighbours: Neighbours) -> Float[Tensor, "B I"]:
    """[key; neighbour 1 ... K; similarity 1 ... K]. With K = 0 it is the key alone, bit for bit."""
    chunks_BKD, similarities_BK = neighbours(keys_BD)
    empty_BK = torch.isneginf(similarities_BK)
    return torch.cat([keys_BD, chunks_BKD.flatten(1), similarities_BK.masked_fill(empty_BK, 0.0)], dim=1)


class ReadingModule(KeyValueModule):
    """Trains a reading FFN. Keys are frozen, so the neighbours are looked up once, and no search runs inside a step."""

    def __init__(
        self,
        backbone: FFN,
        data: KeyValueData,
        codes_VE: Float[Tensor, "V E"],
        budget: TrainingBudget,
        neighbours: Neighbours,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__(
            backbone, replace(data, keys_ND=joined(data.keys_ND, neighbours)), codes_VE, budget, generator=generator
        )
