"""The best of what may be found in one FAISS index, in an order that does not depend on FAISS.

FAISS pads with -3.4e38 and breaks ties as it likes. Here every answer is sorted, and ties go to the smaller position.

Shape legend: N stored vectors, Q queries, K ranked answers, E dimensions that FAISS sees.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray

from retrieval.exhaustive_search import may_miss, search_everything
from retrieval.faiss_factory import innermost

_MAX_ANSWERS_A_BLOCK = 1 << 22  # of one FAISS call: 12 bytes each


class RankedSearch:
    """Searches of one FAISS index, restricted to a window of positions and to those that are alive."""

    def __init__(self, index: Any) -> None:
        from retrieval._faiss import faiss

        self._index = index
        self._inner = innermost(index)
        self._is_lsh = isinstance(self._inner, faiss.IndexLSH)
        # The others (PQ, FastScan, LSH, graphs, refined ones) refuse a selector, or walk past what it hides.
        self._selects = isinstance(
            self._inner, faiss.IndexFlat | faiss.IndexScalarQuantizer | faiss.IndexRaBitQ | faiss.IndexIVF
        )

    def search(
        self,
        queries_QE: Float32[ndarray, "Q E"],
        k: int,
        window: range,
        is_live_N: Bool[ndarray, " N"] | None = None,
    ) -> tuple[Int64[ndarray, "Q K"], Float32[ndarray, "Q K"]]:
        """Positions and similarities, sorted by falling similarity, ties by smaller position.

        -1 and -inf pad where the window has fewer than `k` that are alive (None: all are), and nowhere else.
        """
        positions_QK = np.full((len(queries_QE), k), -1, dtype=np.int64)
        similarities_QK = np.full((len(queries_QE), k), -np.inf, dtype=np.float32)
        num_allowed = len(window) if is_live_N is None else int(is_live_N[window.start : window.stop].sum())
        if not (k and num_allowed):
            return positions_QK, similarities_QK
        num_vectors = self._index.ntotal
        most = num_allowed if self._selects else num_vectors
        # One more than asked for shows whether the last place is tied; what may not be found comes on top.
        depth = min(most, -(-(k + 1) * most // num_allowed))
        open_rows = np.arange(len(queries_QE))

        def fill(rows: ndarray, depth: int, *, everywhere: bool) -> ndarray:
            still_open = [rows[:0]]
            for block in np.array_split(rows, max(1, -(-len(rows) * depth // _MAX_ANSWERS_A_BLOCK))):
                found = self._found(queries_QE[block], depth, window, is_live_N, everywhere=everywhere)
                positions, similarities, is_open = _best(*found, k, window, is_live_N)
                positions_QK[block, : positions.shape[1]] = positions
                similarities_QK[block, : positions.shape[1]] = similarities
                still_open.append(block[is_open])
            return np.concatenate(still_open)

        while len(open_rows):
            open_rows = fill(open_rows, depth, everywhere=False)
            if depth == most:
                break
            depth = min(most, 2 * depth)
        if may_miss(self._index):
            short_rows = np.flatnonzero(positions_QK[:, min(k, num_allowed) - 1] < 0)
            if len(short_rows):
                fill(short_rows, num_vectors, everywhere=True)
        return positions_QK, similarities_QK

    def _found(
        self, queries: ndarray, depth: int, window: range, is_live_N: ndarray | None, *, everywhere: bool
    ) -> tuple[ndarray, ndarray]:
        """FAISS's first `depth` answers as similarities and positions."""
        if everywhere:
            distances, positions = search_everything(self._index, queries, depth)
        else:
            distances, positions = self._index.search(queries, depth, params=self._parameters(window, is_live_N))
        return (1 - distances * np.float32(2 / self._inner.nbits) if self._is_lsh else distances), positions

    def _parameters(self, window: range, is_live_N: ndarray | None) -> Any:
        from retrieval._faiss import faiss

        if not self._selects or (len(window) == self._index.ntotal and is_live_N is None):
            return None
        if is_live_N is None:
            selector = faiss.IDSelectorRange(window.start, window.stop)
        else:
            allowed_N = np.zeros(len(is_live_N), dtype=bool)
            allowed_N[window.start : window.stop] = is_live_N[window.start : window.stop]
            selector = faiss.IDSelectorBitmap(np.packbits(allowed_N, bitorder="little"))
        if isinstance(self._inner, faiss.IndexIVF):
            return faiss.SearchParametersIVF(sel=selector, nprobe=self._inner.nprobe)
        return faiss.SearchParameters(sel=selector)


def _best(
    similarities: ndarray, positions: ndarray, k: int, window: range, is_live_N: ndarray | None
) -> tuple[ndarray, ndarray, ndarray]:
    """The best k that may be found, and the rows whose last place a deeper answer might take or tie."""
    is_exhausted, deepest = positions[:, -1] < 0, similarities[:, -1]
    is_hidden = (positions < window.start) | (positions >= window.stop)
    if is_live_N is not None:
        is_hidden |= ~is_live_N[positions]  # an empty slot, -1, is hidden already
    similarities = np.where(is_hidden, np.float32(-np.inf), similarities)
    positions = np.where(is_hidden, -1, positions)
    order = np.lexsort((positions, -similarities), axis=-1)[:, :k]
    positions = np.take_along_axis(positions, order, axis=1)
    similarities = np.take_along_axis(similarities, order, axis=1)
    return positions, similarities, ~is_exhausted & (similarities[:, -1] <= deepest)
