"""Several rankings of the same chunks made one, by rank alone: no scale of one has to fit that of another.

Shape legend: Q queries, L answers of one ranking, K fused answers.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

RANK_CONSTANT = 60
"""of Cormack et al. (2009): how little the first place counts beyond the second"""


def reciprocal_rank_fusion(
    rankings: Sequence[Int64[ndarray, "Q L"]], k: int, *, constant: int = RANK_CONSTANT
) -> tuple[Int64[ndarray, "Q K"], Float32[ndarray, "Q K"]]:
    """The `k` positions with the largest sum of 1 / (constant + place), places from 1, and those sums, best first.

    In a ranking, -1 is no answer and takes no place from others; a position stands in it once. Ties go to the smaller
    position; -1 and 0 pad. Cormack, Clarke and Buettcher, "Reciprocal rank fusion outperforms Condorcet" (SIGIR 2009).
    """
    num_queries = len(rankings[0])
    positions_QK = np.full((num_queries, k), -1, dtype=np.int64)
    scores_QK = np.zeros((num_queries, k), dtype=np.float32)
    answers_QL = np.concatenate(rankings, axis=1)
    shares_L = np.concatenate([1 / (constant + 1 + np.arange(ranking.shape[1])) for ranking in rankings])
    for row, answers_L in enumerate(answers_QL):
        found_F, place_L = np.unique(answers_L, return_inverse=True)
        sums_F = np.bincount(place_L, weights=shares_L)
        found_F, sums_F = found_F[found_F >= 0], sums_F[found_F >= 0]
        best_K = np.argsort(-sums_F, kind="stable")[:k]
        positions_QK[row, : len(best_K)] = found_F[best_K]
        scores_QK[row, : len(best_K)] = sums_F[best_K]
    return positions_QK, scores_QK
