"""Which hidden units are active for which fact, in one pass over blocks: nothing of size facts x units is kept.

The pattern of a fact is the set of units with a positive activation. It is packed into bits and kept as a 128-bit
fingerprint (BLAKE2b): 16 bytes a fact, two patterns of 10^6 taken for one with a probability below 10^-26. Patterns
name linear regions for ReLU alone. A ReGLU is quadratic where the activations of its gate keep their pattern; SwiGLU
has no regions.

Shape legend: N facts, Q queries, B block, D key dimension, F hidden units, E code dimension, V values.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped
from numpy import ndarray
from torch import Tensor

FINGERPRINT_BYTES = 16


def hidden_blocks(
    hidden: Callable[[Tensor], Tensor], keys_ND: Float[Tensor, "N D"], *, block_rows: int = 8192
) -> Iterator[Float[Tensor, "B F"]]:
    """Hidden activations of the keys, block after block, without gradients."""
    for keys_BD in keys_ND.split(block_rows):
        with torch.no_grad():
            h_BF = hidden(keys_BD)
        yield h_BF


@dataclass(frozen=True, kw_only=True)
class ActivationPatterns:
    """The patterns of N facts."""

    fingerprints_N: Shaped[ndarray, " N"]
    active_facts_F: Int64[ndarray, " F"]
    """facts for which each unit is active"""

    @cached_property
    def _facts_by_pattern(self) -> ndarray:
        return np.unique(self.fingerprints_N, return_counts=True)[1]

    @property
    def num_distinct(self) -> int:
        """Distinct patterns."""
        return len(self._facts_by_pattern)

    @property
    def num_alone(self) -> int:
        """Facts with a pattern that no other fact has."""
        return int((self._facts_by_pattern == 1).sum())

    @property
    def active_share(self) -> float:
        """Of all pairs of fact and unit, those where the unit is active."""
        return float(self.active_facts_F.sum()) / (len(self.fingerprints_N) * len(self.active_facts_F))

    def seen(self, queries: "ActivationPatterns") -> Bool[ndarray, " Q"]:
        """Which queries have a pattern that one of these facts has."""
        return np.isin(queries.fingerprints_N, self.fingerprints_N)


def read_patterns(hidden_blocks_BF: Iterable[Float[Tensor, "_ F"]]) -> ActivationPatterns:
    """The patterns of all facts of all blocks; there must be one block at least."""
    digests = bytearray()
    active_facts_F = np.zeros((), dtype=np.int64)
    for h_BF in hidden_blocks_BF:
        active_BF = (h_BF > 0).cpu().numpy()
        active_facts_F = active_facts_F + active_BF.sum(axis=0)
        for packed in np.packbits(active_BF, axis=1):
            digests += blake2b(packed, digest_size=FINGERPRINT_BYTES).digest()
    # Byte strings of one length sort and compare as numbers of 128 bits would, zeros at the end included.
    fingerprints_N = np.frombuffer(bytes(digests), dtype=f"S{FINGERPRINT_BYTES}")
    return ActivationPatterns(fingerprints_N=fingerprints_N, active_facts_F=active_facts_F)


def mean_positive_activations(hidden_blocks_BF: Iterable[Float[Tensor, "_ F"]]) -> Float[Tensor, " F"]:
    """Mean of each unit over the facts for which it is active; 0 for a unit that never is."""
    sums_F, counts_F = torch.zeros(()), torch.zeros(())
    for h_BF in hidden_blocks_BF:
        sums_F = sums_F + h_BF.clamp(min=0).sum(0, dtype=torch.float64)
        counts_F = counts_F + (h_BF > 0).sum(0, dtype=torch.float64)
    return (sums_F / counts_F.clamp(min=1)).float()


def binarised(h_BF: Float[Tensor, "B F"], scale_F: Float[Tensor, " F"]) -> Float[Tensor, "B F"]:
    """1[h > 0] times the scale of the unit: what is left of the activations once only their pattern counts."""
    return (h_BF > 0) * scale_F


def numbered(hidden_blocks_BF: Iterable[Float[Tensor, "_ F"]]) -> Iterator[tuple[slice, Float[Tensor, "B F"]]]:
    """Each block and the rows that it holds."""
    start = 0
    for h_BF in hidden_blocks_BF:
        yield slice(start, start := start + len(h_BF)), h_BF


def outside(first_B: Int64[Tensor, " B"], end_B: Int64[Tensor, " B"], num_values: int) -> Bool[Tensor, "B V"]:
    """The values that are no candidates [first, end) of a fact."""
    columns_V = torch.arange(num_values, device=first_B.device)
    return (columns_V < first_B[:, None]) | (columns_V >= end_B[:, None])


def right_answers(
    hidden_blocks_BF: Iterable[Float[Tensor, "_ F"]],
    read_out: Callable[[Tensor], Tensor],
    codes_VE: Float[Tensor, "V E"],
    value_ids_N: Int64[Tensor, " N"],
    first_candidates_N: Int64[Tensor, " N"],
    end_candidates_N: Int64[Tensor, " N"],
) -> Bool[Tensor, " N"]:
    """Whether each fact's value scores highest of its candidates [first, end), given hidden activations.

    The score of a value is read_out(h) . code. The blocks hold the facts in their order; they may be binarised,
    rounded or ablated on the way. Of equal scores the first value counts as the answer.
    """
    right = []
    for rows, h_BF in numbered(hidden_blocks_BF):
        with torch.no_grad():
            scores_BV = read_out(h_BF) @ codes_VE.T
        outside_BV = outside(first_candidates_N[rows], end_candidates_N[rows], len(codes_VE))
        right.append(scores_BV.masked_fill(outside_BV, -torch.inf).argmax(dim=1) == value_ids_N[rows])
    return torch.cat(right)
