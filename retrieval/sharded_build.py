"""Codes of one index, made in several threads at once from what one training learnt, and merged in their order.

The merged index gives the answers of one that was filled in a single thread. Its bytes are the same too, except behind
a PCA, learnt thresholds or a FastScan: a product of fewer rows may round otherwise, and padding lies elsewhere.

Shape legend: N vectors, E dimensions that FAISS sees.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from retrieval.faiss_factory import innermost, one_thread


def can_merge(index: Any) -> bool:
    """Whether codes of two such indexes can be put together; a graph would have to be walked anew."""
    from retrieval._faiss import faiss

    return isinstance(innermost(index), faiss.IndexFlatCodes | faiss.IndexFastScan | faiss.IndexIVF)


def bounds_of_shards(num_vectors: int, num_shards: int) -> list[tuple[int, int]]:
    """First and last position, exclusive, of each shard; as even as can be, none of them empty."""
    ends = np.linspace(0, num_vectors, min(num_shards, num_vectors) + 1).astype(int).tolist()
    return list(pairwise(ends))


def filled_in_shards(vectors_NE: Float32[ndarray, "N E"], num_shards: int, emptied: Callable[[], Any]) -> Any:
    """An index of the vectors, each shard's coded by a thread of its own; `emptied` makes trained ones without any."""
    from retrieval._faiss import faiss

    def filled(bounds: tuple[int, int]) -> Any:
        shard = emptied()
        with one_thread():  # a setting of the calling thread
            shard.add(vectors_NE[slice(*bounds)])
        return shard

    merged = emptied()
    # Lists keep ids, which move up behind those that are there; flat codes have none.
    has_ids = isinstance(innermost(merged), faiss.IndexIVF)
    with ThreadPoolExecutor(num_shards) as pool:
        for shard in pool.map(filled, bounds_of_shards(len(vectors_NE), num_shards)):
            merged.merge_from(shard, merged.ntotal if has_ids else 0)
    return merged
