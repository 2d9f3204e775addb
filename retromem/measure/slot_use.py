"""How evenly the stored facts spread over the experts or slots of a memory that has some.

Shape legend: Q queries, S slots.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from retromem.seam import Memory, Queries


@runtime_checkable
class Routed(Protocol):
    """A memory that may send each question to some of its slots."""

    def slot_counts(self, queries: Queries) -> Int64[ndarray, " S"] | None:
        """How often these questions use each slot; None where there are none."""
        ...


@dataclass(frozen=True, kw_only=True)
class SlotUse:
    """Use of the slots by a set of questions."""

    share_used: float
    """of the slots"""
    kl_bits: float
    """KL(use || uniform), use being the number of reads: 0 where every slot is read alike, log2 S where one is read
    alone. After Lample et al. 2019, 4.3"""


def slot_use(memory: Memory, queries: Queries) -> SlotUse | None:
    """None for a memory without slots."""
    counts_S = memory.slot_counts(queries) if isinstance(memory, Routed) else None
    return None if counts_S is None else use_of(counts_S)


def use_of(counts_S: Int64[ndarray, " S"]) -> SlotUse:
    """Share used, and divergence from uniform. At least one count must be positive."""
    share_S = counts_S[counts_S > 0] / counts_S.sum()
    kl_bits = float((share_S * np.log2(share_S * len(counts_S))).sum())
    return SlotUse(share_used=float((counts_S > 0).mean()), kl_bits=max(0.0, kl_bits))
