"""Documents on a curve in 2 k dimensions, of which every set of k is some query's answer, however many there are.

Points of a cyclic polytope: x(t) = (t, t^2, ..., t^2k). The query of a set is minus the polynomial that touches 0 from
above at its k parameters, so that its members score highest, all equally. Geometry sets no limit to the number of
documents (arXiv 2601.20844: the dimension that is needed is of the order of k); number formats do: the margins shrink
with the fourth power of the distance of two parameters.

Shape legend: N documents, Q queries, K documents that answer one, D = 2 K dimensions.
"""

import itertools

import numpy as np
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from numpy.polynomial import chebyshev, polynomial


def curve_documents(num_documents: int, top_k: int) -> tuple[Float64[ndarray, " N"], Float64[ndarray, "N D"]]:
    """Parameters, Chebyshev points of [-1, 1], and the documents on the curve."""
    parameters_N = chebyshev.chebpts1(num_documents)
    return parameters_N, parameters_N[:, None] ** np.arange(1, 2 * top_k + 1)


def curve_queries(parameters_N: Float64[ndarray, " N"], sets_QK: Int64[ndarray, "Q K"]) -> Float64[ndarray, "Q D"]:
    """One query a set: the coefficients of -prod (t - t_i)^2, without the constant, which ranks nothing."""
    roots_QK = parameters_N[sets_QK]
    squared = [polynomial.polyfromroots(np.repeat(roots, 2)) for roots in roots_QK]
    return -np.stack(squared)[:, 1:]


def num_wrong_sets(num_documents: int, top_k: int, *, dtype: type[np.floating], block: int = 4096) -> tuple[int, int]:
    """Sets whose best `top_k` documents are others, and all sets, with vectors and scores in a number format."""
    parameters_N, documents_ND = curve_documents(num_documents, top_k)
    sets_QK = np.array(list(itertools.combinations(range(num_documents), top_k)))
    wrong = 0
    for start in range(0, len(sets_QK), block):
        asked_QK = sets_QK[start : start + block]
        queries_QD = curve_queries(parameters_N, asked_QK)
        wrong += int((~_are_best(queries_QD.astype(dtype), documents_ND.astype(dtype), asked_QK)).sum())
    return wrong, len(sets_QK)


def _are_best(queries_QD: Float[ndarray, "Q D"], documents_ND: Float[ndarray, "N D"], sets_QK: ndarray) -> ndarray:
    scores_QN = queries_QD @ documents_ND.T
    lowest_Q = np.take_along_axis(scores_QN, sets_QK, axis=1).min(axis=1)
    np.put_along_axis(scores_QN, sets_QK, -np.inf, axis=1)
    return np.asarray(lowest_Q > scores_QN.max(axis=1))


def smallest_margin(num_documents: int, top_k: int, *, block: int = 4096) -> float:
    """Least gap between a member of a set and the best other document, in float64, of unit queries.

    Documents are scaled into the unit ball by one factor for all, which changes no order.
    """
    parameters_N, documents_ND = curve_documents(num_documents, top_k)
    longest = float(np.linalg.norm(documents_ND, axis=1).max())
    sets_QK = np.array(list(itertools.combinations(range(num_documents), top_k)))
    least = np.inf
    for start in range(0, len(sets_QK), block):
        asked_QK = sets_QK[start : start + block]
        queries_QD = curve_queries(parameters_N, asked_QK)
        scores_QN = queries_QD @ documents_ND.T / longest / np.linalg.norm(queries_QD, axis=1, keepdims=True)
        lowest_Q = np.take_along_axis(scores_QN, asked_QK, axis=1).min(axis=1)
        np.put_along_axis(scores_QN, asked_QK, -np.inf, axis=1)
        least = min(least, float((lowest_Q - scores_QN.max(axis=1)).min()))
    return least
