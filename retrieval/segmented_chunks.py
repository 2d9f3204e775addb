"""Chunks in segments, one after the other, some of them dead: what is where, and what is nearest.

A position counts through all segments.

Shape legend: N chunks, D dimensions, G groups, Q queries, K answers, P positions.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray

from retrieval.segment import Segment
from retrieval.vector_index import IndexSpec


class SegmentedChunks:
    """Segments of one kind of index and the positions of their dead chunks, rising."""

    def __init__(self, segments: Sequence[Segment], dead_P: Int64[ndarray, " P"]) -> None:
        self.segments = tuple(segments)
        self.dead_P = dead_P

    @property
    def spec(self) -> IndexSpec:
        return self.segments[0].index.spec

    @property
    def dim(self) -> int:
        return self.segments[0].index.dim

    @property
    def num_labels_G(self) -> Sequence[int]:
        """Labels that each group has: what comes later has as many, or more."""
        return self.segments[-1].chunks.num_labels_G

    @property
    def label_bits_G(self) -> Sequence[int]:
        """Bits a label, for each group, in what comes next."""
        return self.segments[-1].chunks.label_bits_G

    @cached_property
    def labels_N(self) -> Int64[ndarray, " N"]:
        """By position."""
        return np.concatenate([segment.chunks.labels_N for segment in self.segments])

    @cached_property
    def ids_N(self) -> Int64[ndarray, " N"]:
        """By position."""
        return np.concatenate([segment.chunks.ids_N for segment in self.segments])

    @cached_property
    def groups_N(self) -> Int64[ndarray, " N"]:
        """By position."""
        return np.concatenate([segment.chunks.groups_N for segment in self.segments])

    @cached_property
    def is_live_N(self) -> Bool[ndarray, " N"]:
        """By position: whether the chunk was not deleted."""
        is_live_N = np.ones(sum(map(len, self.segments)), dtype=bool)
        is_live_N[self.dead_P] = False
        return is_live_N

    @property
    def num_live(self) -> int:
        return len(self.is_live_N) - len(self.dead_P)

    @cached_property
    def _starts(self) -> list[int]:
        """The position of the first chunk of each segment, and that behind the last."""
        return [0, *np.cumsum([len(segment) for segment in self.segments]).tolist()]

    @property
    def has_texts(self) -> bool:
        return self.segments[0].chunks.texts is not None

    def text(self, position: int) -> str:
        """Of the chunk at a position, empty if it was deleted; AssertionError where the store has no texts."""
        assert self.has_texts, "these chunks are vectors alone"
        return self._noted("texts", position)

    def place(self, position: int) -> str:
        """Where the text at a position stands, for people; empty where nobody knows, or if it was deleted."""
        return self._noted("places", position)

    def _noted(self, name: str, position: int) -> str:
        at = bisect_right(self._starts, position) - 1
        of_segment = getattr(self.segments[at].chunks, name)
        return of_segment[position - self._starts[at]] if of_segment is not None and self.is_live_N[position] else ""

    def reconstruct(self, positions_P: Int64[ndarray, " P"]) -> Float32[ndarray, "P D"]:
        """The vectors as the index remembers them; NotImplementedError where it cannot."""
        vectors_PD = np.empty((len(positions_P), self.dim), dtype=np.float32)
        for segment, (start, stop) in zip(self.segments, pairwise(self._starts), strict=True):
            here_P = (positions_P >= start) & (positions_P < stop)
            if here_P.any():
                vectors_PD[here_P] = segment.index.reconstruct(positions_P[here_P] - start)
        return vectors_PD

    def search(
        self, queries_QD: Float32[ndarray, "Q D"], k: int, group: int | None = None
    ) -> tuple[Int64[ndarray, "Q K"], Float32[ndarray, "Q K"]]:
        """Positions and similarities of the nearest live chunks of a group (None: of all); see `VectorIndex.search`."""
        found = []
        for segment, (start, stop) in zip(self.segments, pairwise(self._starts), strict=True):
            is_live = self.is_live_N[start:stop]
            positions, similarities = segment.index.search(queries_QD, k, group, None if is_live.all() else is_live)
            found.append((np.where(positions < 0, -1, positions + start), similarities))
        if len(found) == 1:
            return found[0]
        positions = np.concatenate([positions for positions, _ in found], axis=1)
        similarities = np.concatenate([similarities for _, similarities in found], axis=1)
        order_QK = np.lexsort((positions, -similarities), axis=-1)[:, :k]
        return np.take_along_axis(positions, order_QK, axis=1), np.take_along_axis(similarities, order_QK, axis=1)

    @property
    def seeded_bytes(self) -> int:
        """The rotation: in memory, on no disk."""
        return self.segments[0].index.seeded_bytes
