"""What panels count that rank stored questions or passages: every ranker over them, and where the right one stands.

Shape legend: N facts, P passages, Q queries, K ranked answers.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray

from retrieval.errors import Refused
from retromem.panels.retrieval.rankers import Ranker, ranker_of
from retromem.seam import Asked, Facts, Queries

READ = (1, 5)
"""passages that a reader is given"""


def trained_rankers(names: Sequence[str], stored: Queries, top: int) -> Iterator[tuple[str, Ranker]]:
    """By name; those that cannot be trained on so few are left out, and have no point there."""
    for name in names:
        try:
            ranker = ranker_of(name, stored, top)
        except Refused:
            continue
        yield name, ranker


def own_fact_found(ranker: Ranker, facts: Facts, asked: Asked) -> Bool[ndarray, "Q K"]:
    """Whether each fact in the ranking is the very one that was asked for."""
    ranked_QK = ranker.search(asked.queries)
    found_QK: Bool[ndarray, "Q K"] = (facts.ids_N[ranked_QK] == asked.fact_ids_Q[:, None]) & (ranked_QK >= 0)
    return found_QK


def right_passages(ranked_QK: Int64[ndarray, "Q K"], holds_QP: Bool[ndarray, "Q P"]) -> dict[str, float]:
    """Share of the questions for which a passage that holds what is asked for is among the first 1, and 5."""
    found_QK = np.take_along_axis(holds_QP, np.maximum(ranked_QK, 0), axis=1) & (ranked_QK >= 0)
    return {f"right_at_{number}": recall_at(number, found_QK) for number in READ}


def recall_at(rank: int, found_QK: Bool[ndarray, "Q K"]) -> float:
    """Share of the queries for which the right one is among the first `rank`."""
    return float(found_QK[:, :rank].any(axis=1).mean())
