"""Which stored statements are read beside a question: those that a search finds, or those of a control.

Shape legend: Q questions, K statements, D key dimension.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from retrieval.chunk_store import ChunkStore
from retromem.seam import Queries

Neighbours = Literal["retrieved", "random", "oracle"]


def statements_to_read(
    store: ChunkStore, queries: Queries, *, k: int, neighbours: Neighbours, seed: int, revealed: Mapping[str, int]
) -> Int64[ndarray, "Q K"]:
    """Positions in the store, of the question's relation alone, the nearest first; -1 pads.

    random: drawn by the question's key and the seed. oracle: the one of the fact asked for, as `revealed` says by the
    text of a question.
    """
    positions_QK = np.full((len(queries), k), -1, dtype=np.int64)
    for relation in np.unique(queries.relation_ids_Q) if k else ():
        rows = np.flatnonzero(queries.relation_ids_Q == relation)
        block, own = queries.rows(rows), np.flatnonzero((store.groups_N == relation) & store.is_live_N)
        if neighbours == "retrieved":
            positions_QK[rows] = store.search(block.key_vectors(), k, int(relation))[0]
        elif neighbours == "random":
            draws = [
                np.random.default_rng([seed, *np.frombuffer(key_D.tobytes()[:32], np.uint32).tolist()])
                for key_D in block.key_vectors()
            ]
            positions_QK[rows] = [own[draw.integers(len(own), size=k)] for draw in draws]
        else:
            place = {fact: row for row, fact in zip(own.tolist(), store.ids_N[own].tolist(), strict=True)}
            positions_QK[rows, 0] = [place[revealed[text]] for text in block.texts or ()]
    return positions_QK
