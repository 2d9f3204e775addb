"""The best of what may be found among vectors, in an order that does not depend on who looks for them.

FAISS pads with -3.4e38 and breaks ties as it likes. Here every answer is sorted, and ties go to the smaller position.

Shape legend: N stored vectors, Q queries, K ranked answers, E dimensions that the search sees.
"""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray

_MAX_ANSWERS_A_BLOCK = 1 << 22  # of one call: 12 bytes each


@runtime_checkable
class NearestSearch(Protocol):
    """Finds near vectors, and need not care for ties or padding."""

    selects: bool
    """whether it looks at the positions alone that it is told may be found"""
    may_miss: bool
    """whether it looks at a part of the vectors only, if it is not told to look everywhere"""

    @property
    def num_vectors(self) -> int: ...

    def nearest(
        self, queries_QE: ndarray, depth: int, window: range, is_live_N: ndarray | None, *, everywhere: bool
    ) -> tuple[ndarray, ndarray]:
        """Similarities and positions of the first `depth`, falling; position -1 where there are no more."""


def ranked(
    search: NearestSearch,
    queries_QE: Float32[ndarray, "Q E"],
    k: int,
    window: range,
    is_live_N: Bool[ndarray, " N"] | None = None,
) -> tuple[Int64[ndarray, "Q K"], Float32[ndarray, "Q K"]]:
    """Positions and similarities within a window, sorted by falling similarity, ties by smaller position.

    -1 and -inf pad where the window has fewer than `k` that are alive (None: all are), and nowhere else.
    """
    positions_QK = np.full((len(queries_QE), k), -1, dtype=np.int64)
    similarities_QK = np.full((len(queries_QE), k), -np.inf, dtype=np.float32)
    num_allowed = len(window) if is_live_N is None else int(is_live_N[window.start : window.stop].sum())
    if not (k and num_allowed):
        return positions_QK, similarities_QK
    most = num_allowed if search.selects else search.num_vectors
    # One more than asked for shows whether the last place is tied; what may not be found comes on top.
    depth = min(most, -(-(k + 1) * most // num_allowed))
    open_rows = np.arange(len(queries_QE))

    def fill(rows: ndarray, depth: int, *, everywhere: bool) -> ndarray:
        still_open = [rows[:0]]
        for block in np.array_split(rows, max(1, -(-len(rows) * depth // _MAX_ANSWERS_A_BLOCK))):
            found = search.nearest(queries_QE[block], depth, window, is_live_N, everywhere=everywhere)
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
    if search.may_miss:
        short_rows = np.flatnonzero(positions_QK[:, min(k, num_allowed) - 1] < 0)
        if len(short_rows):
            fill(short_rows, search.num_vectors, everywhere=True)
    return positions_QK, similarities_QK


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
