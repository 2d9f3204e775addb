"""Whether an index finds what was put into it.

Shape legend: N stored vectors, S sampled ones, B block, D dimensions.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from retrieval.vector_index import VectorIndex

_MAX_SAMPLED = 200
_BLOCK_ROWS = 1 << 15
_TIE = 1e-6  # of a similarity: equal vectors, whose float32 sums differ


@dataclass(frozen=True)
class SelfTest:
    """Stored vectors asked for themselves."""

    sampled: int
    found: int
    """those whose first answer is as near as the nearest that exact search finds"""

    @property
    def recall_at_1(self) -> float:
        return self.found / self.sampled


def self_test(vectors_ND: Float32[ndarray, "N D"], index: VectorIndex) -> SelfTest:
    """recall@1 of up to 200 vectors, drawn from a seed, against exact search among all N."""
    num = len(vectors_ND)
    rows_S = np.sort(np.random.default_rng(0).choice(num, min(num, _MAX_SAMPLED), replace=False))
    queries_SD = np.ascontiguousarray(vectors_ND[rows_S])
    best_S = np.full(len(rows_S), -np.inf, dtype=np.float32)
    for start in range(0, num, _BLOCK_ROWS):
        best_S = np.maximum(best_S, (queries_SD @ vectors_ND[start : start + _BLOCK_ROWS].T).max(axis=1))
    answers_S = index.search(queries_SD, 1)[0][:, 0]
    similarity_S = np.einsum("sd,sd->s", queries_SD, vectors_ND[np.maximum(answers_S, 0)])
    is_found_S = (answers_S >= 0) & (similarity_S >= best_S - _TIE)
    return SelfTest(sampled=len(rows_S), found=int(is_found_S.sum()))
