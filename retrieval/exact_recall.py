"""Whether the first answer of an index is as near as the nearest there is.

Shape legend: N stored vectors, Q questions, D dimensions.
"""

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

_ROWS_AT_ONCE = 1 << 15
_TIE = 1e-6  # of a similarity: equal vectors, whose float32 sums differ


def best_similarities(
    vectors_ND: Float32[ndarray, "N D"], queries_QD: Float32[ndarray, "Q D"]
) -> Float32[ndarray, " Q"]:
    """Of the nearest vector, by a look at every one."""
    best_Q = np.full(len(queries_QD), -np.inf, dtype=np.float32)
    for start in range(0, len(vectors_ND), _ROWS_AT_ONCE):
        best_Q = np.maximum(best_Q, (queries_QD @ vectors_ND[start : start + _ROWS_AT_ONCE].T).max(axis=1))
    return best_Q


def num_nearest(
    answers_Q: Int64[ndarray, " Q"],
    vectors_ND: Float32[ndarray, "N D"],
    queries_QD: Float32[ndarray, "Q D"],
    best_Q: Float32[ndarray, " Q"] | None = None,
) -> int:
    """Questions whose answer, a position, is as near as the nearest; -1 is none. `best_Q`: if it is known already."""
    best_Q = best_similarities(vectors_ND, queries_QD) if best_Q is None else best_Q
    similarities_Q = np.einsum("qd,qd->q", queries_QD, vectors_ND[np.maximum(answers_Q, 0)])
    return int(((answers_Q >= 0) & (similarities_Q >= best_Q - _TIE)).sum())
