"""From candidate log-probabilities to a `Recall`, block by block, so that no (Q, V) array outlives a block.

Shape legend: Q queries, B queries of one block (one relation), M candidates of a relation, K ranked, C scored.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from retromem.seam import Queries, Recall, ValueTable

BLOCK = 256


def blocks(relation_ids_Q: Int64[ndarray, " Q"]) -> Iterator[tuple[int, Int64[ndarray, " B"]]]:
    """(relation, rows) with at most BLOCK rows of one relation."""
    for relation in np.unique(relation_ids_Q):
        rows = np.flatnonzero(relation_ids_Q == relation)
        for start in range(0, len(rows), BLOCK):
            yield int(relation), rows[start : start + BLOCK]


def rank_candidates(
    queries: Queries,
    values: ValueTable,
    log_probs: Callable[[int, Int64[ndarray, " B"]], Float32[ndarray, "B M"]],
    *,
    top_k: int,
    score: Int64[ndarray, "Q C"] | None,
    fact_ids: Callable[[Int64[ndarray, " B"], Int64[ndarray, "B K"]], Int64[ndarray, "B K"]] | None = None,
) -> Recall:
    """The recall of a memory that knows the log-probability of every candidate of a block.

    `log_probs(relation, rows)` gives the block's (B, M); -inf stands for a value that the memory does not answer.
    `fact_ids(rows, value_ids)` names the fact that spoke for each value.
    """
    num_queries = len(queries)
    value_ids_QK = np.full((num_queries, top_k), -1, dtype=np.int64)
    log_probs_QK = np.full((num_queries, top_k), -np.inf, dtype=np.float32)
    scored_QC = np.zeros((num_queries, 0 if score is None else score.shape[1]), dtype=np.float32)
    spoke_QK = np.full((num_queries, top_k), -1, dtype=np.int64)
    for relation, rows in blocks(queries.relation_ids_Q):
        log_probs_BM = log_probs(relation, rows)
        first = values.starts[relation]
        if top_k == 1:
            order_BK = log_probs_BM.argmax(axis=1, keepdims=True)  # the first of equals: the smaller id
        else:
            order_BK = np.argsort(-log_probs_BM, axis=1, kind="stable")[:, :top_k]
        best_BK = np.take_along_axis(log_probs_BM, order_BK, axis=1)
        ids_BK = np.where(np.isfinite(best_BK), order_BK + first, -1)
        columns = slice(0, order_BK.shape[1])
        value_ids_QK[rows, columns] = ids_BK
        log_probs_QK[rows, columns] = best_BK
        if fact_ids is not None:
            spoke_QK[rows, columns] = fact_ids(rows, ids_BK)
        if score is not None:
            inside_BC = (score[rows] >= first) & (score[rows] < values.starts[relation + 1])
            column_BC = np.where(inside_BC, score[rows] - first, 0)
            scored_QC[rows] = np.where(inside_BC, np.take_along_axis(log_probs_BM, column_BC, axis=1), -np.inf)
    return Recall(
        value_ids_QK=value_ids_QK,
        log_probs_QK=log_probs_QK,
        scored_QC=scored_QC,
        confidence_Q=log_probs_QK[:, 0] if top_k else np.zeros(num_queries, dtype=np.float32),
        fact_ids_QK=spoke_QK if fact_ids is not None else None,
    )
