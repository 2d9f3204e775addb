"""The k largest along one dimension, written out as operations on fixed buffers that run along the other one.

torch.topk and boolean masks of many short rows take longer than the whole rest of a small step. Here each round finds
the maximum of all rows at once and leaves it out of the next. Numbers that agree to within float32 rounding, times the
number of places, may change places.

Shape legend: G groups, N places, B batch, K chosen.
"""

from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from models.rounding import Operation

_ATEN = torch.ops.aten
_BITS_OF = {torch.float32: torch.int32, torch.float64: torch.int64}


class Choice(NamedTuple):
    """Buffers and operations of a choice."""

    find: list[Operation]
    """fills the buffers"""
    ranks_GNB: Float[Tensor, "G N B"]
    """positive, larger for a larger number, no two of a column alike: their last bits are their place"""
    best_GKB: Float[Tensor, "G K B"]
    """the largest ranks, falling"""

    def places(self, *, out: Int64[Tensor, "G K B"]) -> list[Operation]:
        """Where the k largest are, the largest first."""
        num_places = self.ranks_GNB.shape[1]
        bits_GKB = self.best_GKB.view(_BITS_OF[self.best_GKB.dtype])
        places_GKB = torch.empty_like(bits_GKB)
        return [
            partial(torch.bitwise_and, bits_GKB, _last_bits(num_places), out=places_GKB),
            # What is no number, in a training that diverges, has bits of its own.
            partial(places_GKB.clamp_, max=num_places - 1),
            partial(out.copy_, places_GKB),
        ]

    def among_all(self) -> tuple[Operation, Float[Tensor, "G N B"]]:
        """What tells the chosen from the others, in the place of the ranks: `kept` reads it."""
        return partial(self.ranks_GNB.sub_, self.best_GKB[:, -1:]), self.ranks_GNB


def kept(x_GNB: Tensor, over_GNB: Float[Tensor, "*G N B"], *, out: Tensor) -> Operation:
    """x where it was chosen, 0 elsewhere."""
    # The least of the chosen has 0 over itself. Two ranks differ by far more than the least number.
    least = -torch.finfo(over_GNB.dtype).tiny
    return partial(_ATEN.threshold_backward.grad_input, x_GNB, over_GNB, least, grad_input=out)


def choice_of(scores_GNB: Float[Tensor, "G N B"], num_chosen: int) -> Choice:
    """Of each group and column the `num_chosen` largest along N."""
    groups, num_places, batch = scores_GNB.shape
    assert 1 <= num_chosen <= num_places
    ranks_GNB, rest_GNB, behind_GNB = (torch.empty_like(scores_GNB) for _ in range(3))
    best_GKB, top_G1B = scores_GNB.new_empty(groups, num_chosen, batch), scores_GNB.new_empty(groups, 1, batch)
    bits_GNB, last = ranks_GNB.view(_BITS_OF[ranks_GNB.dtype]), _last_bits(num_places)
    places_N1 = torch.arange(num_places, dtype=bits_GNB.dtype, device=bits_GNB.device)[:, None]
    find: list[Operation] = [
        # 1 / (1 + how far behind the largest): positive and never close to the least number.
        partial(torch.amax, scores_GNB, dim=1, keepdim=True, out=top_G1B),
        partial(torch.sub, top_G1B, scores_GNB, out=ranks_GNB),
        partial(ranks_GNB.add_, 1),
        ranks_GNB.reciprocal_,
        partial(bits_GNB.bitwise_and_, ~last),
        partial(bits_GNB.bitwise_or_, places_N1),
    ]
    left_GNB = ranks_GNB
    for place in range(num_chosen):
        best_G1B = best_GKB[:, place : place + 1]
        find.append(partial(torch.amax, left_GNB, dim=1, keepdim=True, out=best_G1B))
        if place < num_chosen - 1:
            find.append(partial(torch.sub, best_G1B, left_GNB, out=behind_GNB))
            find.append(partial(_ATEN.threshold_backward.grad_input, left_GNB, behind_GNB, 0, grad_input=rest_GNB))
            left_GNB = rest_GNB
    return Choice(find, ranks_GNB, best_GKB)


def _last_bits(num_places: int) -> int:
    """A mask of those that can tell the places apart."""
    return (1 << (num_places - 1).bit_length()) - 1
