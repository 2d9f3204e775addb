"""Whether an index finds what was put into it.

Shape legend: N stored vectors, S sampled ones, D dimensions.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from retrieval.exact_recall import num_nearest
from retrieval.vector_index import VectorIndex

_MAX_SAMPLED = 200


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
    answers_S = index.search(queries_SD, 1)[0][:, 0]
    return SelfTest(sampled=len(rows_S), found=num_nearest(answers_S, vectors_ND, queries_SD))
