"""A search that skips nothing: for the rows that an approximate one could not fill.

FAISS leaves a slot empty where the lists or the part of the graph that it looked into hold no more.
"""

from typing import Any

from numpy import ndarray


def may_miss(index: Any) -> bool:
    """Whether an ordinary search looks at a part of the index only."""
    from retrieval._faiss import faiss

    if isinstance(index, faiss.IndexPreTransform):
        return may_miss(faiss.downcast_index(index.index))
    return hasattr(index, "nprobe") or hasattr(index, "storage") or isinstance(index, faiss.IndexRefine)


def search_everything(index: Any, queries: ndarray, depth: int) -> tuple[ndarray, ndarray]:
    """Distances and positions as `index.search` gives them, after a look at every vector."""
    from retrieval._faiss import faiss

    if isinstance(index, faiss.IndexPreTransform):
        for place in range(index.chain.size()):
            queries = faiss.downcast_VectorTransform(index.chain.at(place)).apply(queries)
        return search_everything(faiss.downcast_index(index.index), queries, depth)
    if isinstance(index, faiss.IndexRefine):  # the second stage knows all of them by itself
        return search_everything(faiss.downcast_index(index.refine_index), queries, depth)
    if hasattr(index, "storage"):  # of a graph: the vectors without it
        return search_everything(faiss.downcast_index(index.storage), queries, depth)
    everywhere = faiss.SearchParametersIVF(nprobe=index.nlist) if hasattr(index, "nprobe") else None
    distances, positions = index.search(queries, depth, params=everywhere)
    return distances, positions
