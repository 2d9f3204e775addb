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
    spare: int
    """answers beyond those wanted that show whether the last place is tied, in most rows: 1 or more"""

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
    if not (k and num_allowed and len(queries_QE)):
        return positions_QK, similarities_QK
    most = num_allowed if search.selects else search.num_vectors
    # What may not be found comes on top of what is wanted and of what shows ties.
    depth = min(most, -(-(k + search.spare) * most // num_allowed))

    def fill(rows: ndarray | slice, num_rows: int, depth: int, *, everywhere: bool) -> ndarray:
        """The rows that are still open."""
        if num_rows * depth > _MAX_ANSWERS_A_BLOCK and num_rows > 1:
            both = np.array_split(np.arange(len(queries_QE))[rows], 2)
            return np.concatenate([fill(half, len(half), depth, everywhere=everywhere) for half in both])
        found = search.nearest(queries_QE[rows], depth, window, is_live_N, everywhere=everywhere)
        positions, similarities, is_open = _best(*found, k, window, is_live_N)
        positions_QK[rows, : positions.shape[1]] = positions
        similarities_QK[rows, : positions.shape[1]] = similarities
        return np.flatnonzero(is_open) if isinstance(rows, slice) else rows[is_open]

    open_rows = fill(slice(None), len(queries_QE), depth, everywhere=False)
    while len(open_rows) and depth < most:
        depth = min(most, 2 * depth)
        open_rows = fill(open_rows, len(open_rows), depth, everywhere=False)
    if search.may_miss:
        short_rows = np.flatnonzero(positions_QK[:, min(k, num_allowed) - 1] < 0)
        if len(short_rows):
            fill(short_rows, len(short_rows), search.num_vectors, everywhere=True)
    return positions_QK, similarities_QK


def _best(
    similarities: ndarray, positions: ndarray, k: int, window: range, is_live_N: ndarray | None
) -> tuple[ndarray, ndarray, ndarray]:
    """The best k that may be found, and the rows whose last place a deeper answer might take or tie."""
    first = similarities[:, : k + 1]
    if (
        is_live_N is None
        and first.shape[1] == k + 1
        and positions.min() >= window.start
        and positions.max() < window.stop
        and (first[:, :-1] > first[:, 1:]).all()
    ):  # in order, as FAISS gives it, where nothing ties and nothing is hidden: most searches
        return positions[:, :k], similarities[:, :k], np.zeros(len(positions), dtype=bool)
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
