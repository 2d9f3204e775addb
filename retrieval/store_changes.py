"""Chunks come, go and are replaced by their ids; what a store is then, before anything is written.

Segments never change. What comes is a new segment, coded by what the first one was trained to; what goes is noted as
dead, whatever the index (FAISS deletes from most of them, but in a pass over all codes, and not at all from a graph),
and its bytes are given back by `compacted`, which builds anew from the raw vectors. Labels that come have fixed bits:
counts of a handful of facts, given free, would be the facts themselves.

Shape legend: N chunks, P positions, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import replace as with_fields

import numpy as np
from jaxtyping import Int64, Shaped
from numpy import ndarray

from retrieval.chunk_store import ChunkStore
from retrieval.chunks import Chunks
from retrieval.errors import Refused, UserError
from retrieval.payload import count_labels
from retrieval.segment import Segment
from retrieval.vector_index import VectorIndex
from retrieval.whole_numbers import whole_numbers

_NONE: Int64[ndarray, " 0"] = np.empty(0, dtype=np.int64)


def added(store: ChunkStore, chunks: Chunks) -> ChunkStore:
    """The store with more chunks. UserError where an id is taken or chunks do not fit the store.

    Segments behind the first that are no larger than what comes are melted into it, so that there are never more than
    log2(N) of them. Refused for an index that cannot be made of so few vectors.
    """
    if not len(chunks.ids_N):
        return store
    chunks = _fitted(store, chunks)
    taken = np.isin(chunks.ids_N, store.ids_N[store.is_live_N])
    if taken.any():
        raise UserError(f"chunk id {chunks.ids_N[taken][0]} is in the store already; replace it, or give another id")
    return _with_new(store, chunks, store.dead_P)


def deleted(store: ChunkStore, ids_P: Shaped[ndarray, "*any"]) -> ChunkStore:
    """The store without the chunks of these ids; UserError for an id that is not there."""
    ids_P = whole_numbers(ids_P, "chunk ids")
    if not len(ids_P):
        return store
    return store.changed(store.segments, np.union1d(store.dead_P, _positions(store, ids_P)))


def replaced(store: ChunkStore, chunks: Chunks) -> ChunkStore:
    """The store with these chunks in place of those that had their ids; UserError for an id that is not there."""
    if not len(chunks.ids_N):
        return store
    chunks = _fitted(store, chunks)
    return _with_new(store, chunks, np.union1d(store.dead_P, _positions(store, chunks.ids_N)))


def put(store: ChunkStore, chunks: Chunks, *, without_P: Shaped[ndarray, "*any"] = _NONE) -> ChunkStore:
    """The store with these chunks, in place of those that had their ids where there are any, and of those `without_P`.

    They may bring more labels to a group, and more groups behind those that there are: what a label meant stays.
    """
    if not len(chunks.ids_N):
        return store
    chunks = _fitted(store, chunks, more_labels=True)
    there_N = np.isin(chunks.ids_N, store.ids_N[store.is_live_N])
    gone_P = _positions(store, np.union1d(chunks.ids_N[there_N], whole_numbers(without_P, "chunk ids")))
    return _with_new(store, chunks, np.union1d(store.dead_P, gone_P))


def _with_new(store: ChunkStore, chunks: Chunks, dead_P: Int64[ndarray, " P"]) -> ChunkStore:
    """A new segment behind those that are kept."""
    is_live_N = np.ones(len(store.ids_N), dtype=bool)
    is_live_N[dead_P] = False
    kept = list(store.segments)
    parts, is_live = [chunks], [np.ones(len(chunks.ids_N), dtype=bool)]
    while len(kept) > 1 and len(kept[-1]) <= sum(int(live.sum()) for live in is_live):
        stop = sum(map(len, kept))
        is_live.insert(0, is_live_N[stop - len(kept[-1]) : stop])
        parts.insert(0, kept.pop().chunks)
    melted = _live(parts, is_live)
    index = min(store.segments, key=len).index.emptied()
    segment = Segment.filled(melted, index, store.generation + 1)
    return store.changed([*kept, segment], dead_P[dead_P < sum(map(len, kept))])


def compacted(store: ChunkStore) -> ChunkStore:
    """The store as if it were built of its live chunks alone: one segment, trained anew, nothing dead.

    Refused where nothing is alive, or too little to train the index; the store itself for one that has nothing to gain.
    """
    if len(store.segments) == 1 and not len(store.dead_P):
        return store
    if not store.num_live:
        raise Refused("every chunk was deleted, and no index can be built of none; add chunks first")
    bounds = np.cumsum([len(segment) for segment in store.segments])[:-1]
    chunks = _live([segment.chunks for segment in store.segments], np.split(store.is_live_N, bounds))
    if store.segments[0].chunks.label_counts_G is not None:
        counts_G = count_labels(chunks.labels_N, chunks.groups_N, chunks.num_labels_G)
        chunks = with_fields(chunks, label_counts_G=counts_G)
    segment = Segment.filled(chunks, VectorIndex(store.spec, store.dim), store.generation + 1)
    return store.changed([segment], np.empty(0, dtype=np.int64))


def _positions(store: ChunkStore, ids_P: Int64[ndarray, " P"]) -> Int64[ndarray, " P"]:
    """Of the live chunks with these ids; UserError for one that is not there or comes twice."""
    ids, counts = np.unique(ids_P, return_counts=True)
    if (counts > 1).any():
        raise UserError(f"chunk id {ids[counts > 1][0]} comes twice; name each chunk once")
    live_P = np.flatnonzero(store.is_live_N)
    order = np.argsort(store.ids_N[live_P], kind="stable")
    live_ids = store.ids_N[live_P][order]
    at = np.minimum(np.searchsorted(live_ids, ids), max(0, len(live_ids) - 1))
    is_missing = live_ids[at] != ids if len(live_ids) else np.ones(len(ids), dtype=bool)
    if is_missing.any():
        raise UserError(f"chunk id {ids[is_missing][0]} is not in the store; add it first")
    return live_P[order][at]


def _fitted(store: ChunkStore, chunks: Chunks, *, more_labels: bool = False) -> Chunks:
    """The chunks, with the store's numbers of labels unless they bring more; UserError for those that do not fit it."""
    if more_labels:
        assert len(chunks.num_labels_G) >= len(store.num_labels_G), "groups stay"
        assert all(new >= old for new, old in zip(chunks.num_labels_G, store.num_labels_G, strict=False)), "labels stay"
    else:
        if list(chunks.label_bits_G) != list(store.label_bits_G):
            raise UserError(f"chunks have labels of {list(chunks.label_bits_G)} bits, not {list(store.label_bits_G)}")
        chunks.check_labels(store.num_labels_G)
        chunks = with_fields(chunks, named_labels_G=store.num_labels_G, label_counts_G=None)
    if (chunks.texts is not None) != store.has_texts:
        raise UserError(f"the store's chunks have {'texts' if store.has_texts else 'no texts'}; so must what is added")
    store.segments[0].index.check_storable(chunks.vectors_ND, chunks.texts)
    return chunks


def _live(parts: Sequence[Chunks], is_live: Sequence[ndarray]) -> Chunks:
    """The live ones of several, sorted by group, and within it as they were; of their labels nothing is counted."""
    rows = [np.flatnonzero(live) for live in is_live]

    def gathered(name: str) -> ndarray:
        return np.concatenate([getattr(part, name)[row] for part, row in zip(parts, rows, strict=True)])

    groups_N = gathered("groups_N")
    order_N = np.argsort(groups_N, kind="stable")

    def gathered_texts(name: str) -> list[str] | None:
        """Empty for chunks of a part without any."""
        if all(getattr(part, name) is None for part in parts):
            return None
        # At once: one after the other is slow from Arrow.
        whole = [(getattr(part, name) or [""] * len(part.ids_N))[:] for part in parts]
        unsorted = [of_part[row] for of_part, live in zip(whole, rows, strict=True) for row in live.tolist()]
        return [unsorted[row] for row in order_N.tolist()]

    return with_fields(
        parts[-1],  # which knows the most labels
        ids_N=gathered("ids_N")[order_N],
        vectors_ND=np.ascontiguousarray(gathered("vectors_ND")[order_N]),
        labels_N=gathered("labels_N")[order_N],
        groups_N=groups_N[order_N],
        texts=gathered_texts("texts"),
        places=gathered_texts("places"),
        label_counts_G=None,
    )
