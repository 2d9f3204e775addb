"""From chunks that were found to a recall: each speaks for its value.

Shape legend: N chunks, Q queries, B queries of one block (one relation), K chunks found, M candidates, C scored.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from retromem.memories.ranking import rank_candidates
from retromem.seam import Queries, Recall, ValueTable

Search = Callable[[int, Int64[ndarray, " B"]], tuple[Int64[ndarray, "B K"], Float32[ndarray, "B K"]]]
"""(relation, rows of the queries) -> positions of chunks, best first, -1 where none, and their scores"""


def recall_by_votes(
    queries: Queries,
    values: ValueTable,
    search: Search,
    *,
    labels_N: Int64[ndarray, " N"],
    facts_N: Int64[ndarray, " N"],
    temperature: float,
    top_k: int,
    score: Int64[ndarray, "Q C"] | None,
) -> Recall:
    """Values share the probability by softmax(score / temperature) of their chunks.

    `labels_N` is each chunk's value within its relation, `facts_N` the fact that it was made from. A query for which
    nothing was found gets no answer.
    """
    starts = values.starts
    spoke_QM: dict[int, Int64[ndarray, "B M"]] = {}

    def log_probs(relation: int, rows: Int64[ndarray, " B"]) -> Float32[ndarray, "B M"]:
        positions_BK, scores_BK = search(relation, rows)
        num_candidates = starts[relation + 1] - starts[relation]
        mass_BM = np.zeros((len(rows), num_candidates))
        chunk_BM = np.full((len(rows), num_candidates), -1, dtype=np.int64)
        best_B = scores_BK.max(axis=1, initial=-np.inf)
        for place in range(positions_BK.shape[1] - 1, -1, -1):  # the best chunk of a value is noted last
            found = np.flatnonzero(positions_BK[:, place] >= 0)
            labels = labels_N[positions_BK[found, place]]
            with np.errstate(invalid="ignore", over="ignore"):  # a flipped bit makes infinite scores: no answer
                gap = (scores_BK[found, place] - best_B[found]) / temperature
            mass_BM[found, labels] += np.exp(gap)
            chunk_BM[found, labels] = positions_BK[found, place]
        spoke_QM[int(rows[0])] = chunk_BM
        with np.errstate(divide="ignore", invalid="ignore"):
            log_BM = np.log(mass_BM / mass_BM.sum(axis=1, keepdims=True))
        return np.where(mass_BM > 0, log_BM, -np.inf).astype(np.float32)

    def fact_ids(rows: Int64[ndarray, " B"], value_ids_BK: Int64[ndarray, "B K"]) -> Int64[ndarray, "B K"]:
        chunk_BM = spoke_QM.pop(int(rows[0]))
        first = np.asarray(starts)[queries.relation_ids_Q[rows]]
        column_BK = np.where(value_ids_BK >= 0, value_ids_BK - first[:, None], 0)
        return np.where(value_ids_BK >= 0, facts_N[np.take_along_axis(chunk_BM, column_BK, axis=1)], -1)

    return rank_candidates(queries, values, log_probs, top_k=top_k, score=score, fact_ids=fact_ids)
