"""Nearest vectors by inner product through FAISS, checked where FAISS checks nothing.

FAISS takes NaN rows in silence. Here what is stored is checked, and every answer is in one order.

Shape legend: N stored vectors, Q queries, K ranked answers, D dimensions of the caller's vectors, E after the rotation.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped
from numpy import ndarray

from retrieval.engines import Engine, search_of
from retrieval.errors import Refused, UserError
from retrieval.faiss_factory import (
    empty_index,
    innermost,
    map_index,
    one_thread,
    read_index,
    reason,
    set_search_parameters,
    what_would_do,
    without_vectors,
)
from retrieval.packed_codes import bits_of_packed, fill, flip_stored_bits, has_trained_part, packed, sort_codes
from retrieval.random_rotation import random_rotation, random_waves, rotated
from retrieval.ranked_search import ranked
from retrieval.sharded_build import can_merge, filled_in_shards

INDEX, CODES, SORTED_CODES = "index.faiss", "codes.bin", "sorted_codes.bin"
"""files of an index: as FAISS writes it, without vectors where its codes lie packed beside it"""
_UNIT_NORM_TOLERANCE = 1e-3
_LISTS = re.compile(r"IVF(\d+)([kM]?)")


@dataclass(frozen=True, kw_only=True)
class IndexSpec:
    """Which index: everything that changes what it answers or what it weighs."""

    factory: str = "Flat"
    """any FAISS factory string. `PQ48` trains for minutes where `PQ48np` takes seconds and `PQ48x4fs` less than one"""
    rotate_to: int | None = None
    """dimensions of a random orthonormal rotation before FAISS, normalised again after it; made from its seed, so it
    costs no storage. None = no rotation. More than the vectors have is allowed: LSH then keeps more bits"""
    rotation_seed: int = 0
    """of the rotation"""
    bandwidth: float | None = None
    """of random waves in place of the rotation: cos(bandwidth w . x + b) for each dimension, w Gaussian. Wide waves
    make vectors look independent: fewer bits tell them apart, and near ones are near no more. None = a rotation"""
    nprobe: int | None = None
    """inverted lists looked into for one query (IVF alone); None = FAISS's own, 1"""
    ef_search: int | None = None
    """nodes kept while walking the graph (HNSW alone); None = FAISS's own, 16"""

    def __post_init__(self) -> None:
        for name in ("rotate_to", "nprobe", "ef_search"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} of index {self.factory!r} must be 1 or more, not {value}")
        if self.nprobe is not None and "IVF" not in self.factory and "IMI" not in self.factory:
            raise UserError(
                f"nprobe has no effect on index {self.factory!r}, which has no inverted lists; leave it out"
            )
        if self.ef_search is not None and "HNSW" not in self.factory:
            raise UserError(f"ef_search has no effect on index {self.factory!r}, which has no graph; leave it out")
        if self.rotation_seed and self.rotate_to is None:
            raise UserError(f"rotation_seed has no effect on index {self.factory!r} without rotate_to; leave it out")
        if self.bandwidth is not None and (self.rotate_to is None or not 0 < self.bandwidth < math.inf):
            raise UserError(
                f"bandwidth of index {self.factory!r} must be more than 0, and needs rotate_to, the number of waves"
            )
        lists = _LISTS.search(self.factory)
        num_lists = int(lists[1]) * {"": 1, "k": 1 << 10, "M": 1 << 20}[lists[2]] if lists else None
        if self.nprobe is not None and num_lists is not None and self.nprobe > num_lists:
            raise UserError(f"nprobe of index {self.factory!r} is {self.nprobe}, more than its {num_lists} lists")

    @property
    def label(self) -> str:
        """The factory string, and what stands before it: `RaBitQ`, `rot64-LSH`, `waves18x4-LSH`."""
        if self.rotate_to is None:
            return self.factory
        return f"{rotation_label(self.rotate_to, self.bandwidth)}-{self.factory}"


def rotation_label(dims: int | str, bandwidth: float | None) -> str:
    """`rot64`, or `waves18x4` for 18 waves of bandwidth 4."""
    return f"rot{dims}" if bandwidth is None else f"waves{dims}x{bandwidth:g}"


def _norms(vectors_ND: ndarray) -> ndarray:
    """By FAISS, on all threads: numpy's would take a third of the time of building a Flat index."""
    from retrieval._faiss import faiss

    norms_N = np.empty(len(vectors_ND), dtype=np.float32)
    faiss.fvec_norms_L2(faiss.swig_ptr(norms_N), faiss.swig_ptr(vectors_ND), vectors_ND.shape[1], len(vectors_ND))
    return norms_N


class VectorIndex:
    """One FAISS index over unit vectors, by inner product, whose vectors may lie in groups.

    Similarities are inner products as the index estimates them; for LSH 1 - 2 h / bits at Hamming distance h, for
    product codes 1 - d / 2 at squared distance d.
    """

    def __init__(self, spec: IndexSpec, dim: int) -> None:
        """An empty index. UserError where FAISS knows no such factory, or a search parameter has no effect on it."""
        self.spec = spec
        self.dim = dim
        self._rotation: tuple[ndarray, ...] = ()
        if spec.rotate_to is not None and spec.bandwidth is not None:
            self._rotation = random_waves(dim, spec.rotate_to, spec.bandwidth, spec.rotation_seed)
        elif spec.rotate_to is not None:
            self._rotation = (random_rotation(dim, spec.rotate_to, spec.rotation_seed),)
        self._groups: dict[int, range] | None = None
        self._is_trained = False
        self._is_stored_whole = False
        self._is_sorted = False
        self._take(empty_index(spec.factory, spec.rotate_to or dim))

    def _take(self, index: Any) -> None:
        set_search_parameters(index, nprobe=self.spec.nprobe, ef_search=self.spec.ef_search)
        self._index = index
        self._inner = innermost(index)
        self._search = search_of(index, "faiss")

    def search_with(self, engine: Engine) -> None:
        """Let another engine search from now on: the answers stay the same. UserError where it cannot."""
        self._search = search_of(self._index, engine)

    @property
    def num_vectors(self) -> int:
        return int(self._index.ntotal)

    @property
    def metric(self) -> str:
        """What ranks the answers: `inner product` of unit vectors, `distance` to what product codes make of them, or
        `hamming` distance of their bits."""
        from retrieval._faiss import faiss

        if isinstance(self._inner, faiss.IndexLSH):
            return "hamming"
        return "distance" if self._index.metric_type == faiss.METRIC_L2 else "inner product"

    @property
    def seeded_bytes(self) -> int:
        """The rotation or the waves: in memory, on no disk."""
        return sum(array.nbytes for array in self._rotation)

    def _set_groups(self, groups_N: ndarray | None) -> None:
        if groups_N is None:
            return
        assert (np.diff(groups_N) >= 0).all(), "vectors lie sorted by group"
        ids_G, starts_G = np.unique(groups_N, return_index=True)
        stops_G = [*starts_G[1:].tolist(), len(groups_N)]
        self._groups = {
            group: range(start, stop)
            for group, start, stop in zip(ids_G.tolist(), starts_G.tolist(), stops_G, strict=True)
        }

    def _rotated(self, vectors_ND: ndarray) -> ndarray:
        return rotated(vectors_ND, *self._rotation) if self._rotation else np.ascontiguousarray(vectors_ND)

    def _check_shape(self, name: str, vectors: ndarray) -> None:
        if vectors.dtype != np.float32:
            raise UserError(f"{name} are {vectors.dtype}; the index takes float32")
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise UserError(f"{name} have shape {vectors.shape}; the index takes (any number, {self.dim})")

    def check_storable(self, vectors_ND: Shaped[ndarray, "*any"], texts: Sequence[str] | None = None) -> None:
        """UserError for what is not float32, C-contiguous, finite, of unit norm within 1e-3 and of our dimensions.

        `texts`: of the vectors, to be named.
        """
        self._check_shape("vectors", vectors_ND)
        if not len(vectors_ND):
            raise UserError("there are no vectors to store")
        if not vectors_ND.flags.c_contiguous:
            raise UserError("vectors do not lie row after row; use np.ascontiguousarray")
        norms_N = _norms(vectors_ND)
        off_N = np.where(np.isfinite(norms_N), np.abs(norms_N - 1), np.inf)
        if off_N.max() <= _UNIT_NORM_TOLERANCE:
            return
        row = int(off_N.argmax())
        of_text = "" if texts is None else f" (of {texts[row][:60]!r})"
        if not np.isfinite(norms_N[row]):
            raise UserError(f"vector {row}{of_text} holds NaN or infinity")
        if not norms_N[row]:
            raise UserError(f"vector {row}{of_text} is zero: its encoder finds nothing in it; leave it out")
        raise UserError(f"vector {row}{of_text} has norm {norms_N[row]:.4f}; normalise to 1")

    @property
    def merges(self) -> bool:
        """Whether several threads can fill it; a graph cannot be put together from parts."""
        return can_merge(self._index)

    def train(self, vectors_ND: Shaped[ndarray, "*any"]) -> None:
        """Learn from vectors, once, without storing them. Refused where FAISS cannot from so few."""
        self._train(self._storable(vectors_ND))

    def add(
        self, vectors_ND: Shaped[ndarray, "*any"], groups_N: Int64[ndarray, " N"] | None = None, *, num_shards: int = 1
    ) -> None:
        """Train on the vectors (unless it was) and store them, once. Same vectors, same bytes: a shard has one thread.

        `vectors_ND`: see `check_storable`. `groups_N`: non-decreasing. `num_shards`: threads that code at once, more
        than 1 only for an index that `merges`. Refused where FAISS cannot build this index from so few vectors.
        """
        assert self.num_vectors == 0, "an index is filled once"
        assert groups_N is None or len(groups_N) == len(vectors_ND), "one group a vector"
        assert num_shards == 1 or self.merges, "this index cannot be merged"
        stored = self._storable(vectors_ND)
        if not self._is_trained:
            self._train(stored)
        with self._building(len(stored)):
            if num_shards == 1:
                self._index.add(stored)
            else:
                self._take(filled_in_shards(stored, num_shards, lambda: self.emptied()._index))
        self._set_groups(groups_N)

    def sort_codes(self) -> Int64[ndarray, " N"] | None:
        """Let the positions of each group follow its codes, which take fewer bytes then; returns where each vector was.

        None where codes are not packed, and stay where they are.
        """
        order_N = sort_codes(self._index, self._counts_G)
        self._is_sorted = order_N is not None
        return order_N

    @property
    def _counts_G(self) -> list[int]:
        """Vectors of each group, one after the other; all of them where there are no groups."""
        return [self.num_vectors] if self._groups is None else [len(rows) for rows in self._groups.values()]

    @property
    def _sorted_counts_G(self) -> list[int] | None:
        return self._counts_G if self._is_sorted else None

    def _storable(self, vectors_ND: ndarray) -> ndarray:
        self.check_storable(vectors_ND)
        return self._rotated(vectors_ND)

    def _train(self, stored_NE: ndarray) -> None:
        with self._building(len(stored_NE)):
            self._index.train(stored_NE)
        self._is_trained = True

    @contextmanager
    def _building(self, num_vectors: int) -> Iterator[None]:
        with one_thread():
            try:
                yield
            except (RuntimeError, MemoryError) as error:
                advice = what_would_do(error, num_vectors, factory=self.spec.factory, dim=self._index.d)
                raise Refused(
                    f"index {self.spec.label} cannot be built from {num_vectors} vectors: {reason(error)}{advice}"
                ) from error

    def search(
        self,
        queries_QD: Shaped[ndarray, "*any"],
        k: int,
        group: int | None = None,
        is_live_N: Bool[ndarray, " N"] | None = None,
    ) -> tuple[Int64[ndarray, "Q K"], Float32[ndarray, "Q K"]]:
        """Positions and similarities of the `k` most similar vectors, of one group or of all.

        Sorted by falling similarity, ties by smaller position; -1 and -inf pad where there are fewer (of those alive,
        where that is given). Any Q, any k. Queries are float32 and finite (UserError), of any norm. An index that
        cannot be restricted is asked for more and more answers until the row is full; a row that an approximate search
        leaves short is searched again among all.
        """
        self._check_shape("queries", queries_QD)
        if not np.isfinite(queries_QD).all():
            raise UserError("queries hold NaN or infinity")
        assert group is None or self._groups is not None, "this index was filled without groups"
        window = range(self.num_vectors)
        if group is not None and self._groups is not None:
            window = self._groups.get(group, range(0))
        return ranked(self._search, self._rotated(queries_QD), k, window, is_live_N)

    def reconstruct(self, positions_P: Int64[ndarray, " P"]) -> Float32[ndarray, "P D"]:
        """The vectors as the index remembers them, exactly for Flat; NotImplementedError where it cannot."""
        if self._rotation:
            raise NotImplementedError(f"index {self.spec.label} keeps rotated vectors")
        try:
            return np.asarray(self._index.reconstruct_batch(positions_P), dtype=np.float32)
        except RuntimeError as error:
            raise NotImplementedError(f"index {self.spec.label}: {reason(error)}") from error

    def with_flipped_bits(self, rate: float, rng: np.random.Generator) -> "VectorIndex":
        """A copy in which every stored bit of the codes is flipped with probability `rate`; what was trained stays.

        NotImplementedError for indexes without one flat array of codes (IVF, graphs, FastScan).
        """
        from retrieval._faiss import faiss

        if not isinstance(self._inner, faiss.IndexFlatCodes):
            raise NotImplementedError(f"index {self.spec.label} keeps its codes in no flat array")
        copy = VectorIndex(self.spec, self.dim)
        copy._take(read_index(self.serialized()))
        copy._groups, copy._is_sorted = self._groups, self._is_sorted
        flip_stored_bits(copy._index, rate, rng, self._sorted_counts_G)
        return copy

    def emptied(self) -> "VectorIndex":
        """A copy without vectors that keeps what was trained: codes of both mean the same."""
        copy = VectorIndex(self.spec, self.dim)
        if not copy._index.is_trained:
            copy._take(without_vectors(self._index))
            copy._is_trained = True
        return copy

    def serialized(self) -> bytes:
        """As FAISS writes the whole index, each code in whole bytes."""
        from retrieval._faiss import faiss

        return bytes(faiss.serialize_index(self._index))

    @property
    def _is_packed(self) -> bool:
        return not self._is_stored_whole and bits_of_packed(self._index) is not None

    @property
    def storage_names(self) -> tuple[str, ...]:
        """Of the files of `storage`."""
        if not self._is_packed:
            return (INDEX,)
        codes = SORTED_CODES if self._is_sorted else CODES
        return (INDEX, codes) if has_trained_part(self._index) else (codes,)

    def storage(self) -> dict[str, bytes]:
        """What a disk must hold, by name of the file: packed codes and what was trained, if anything was; else all that
        FAISS writes."""
        from retrieval._faiss import faiss

        if not self._is_packed:
            return {INDEX: self.serialized()}
        trained = {}
        if has_trained_part(self._index):
            trained[INDEX] = bytes(faiss.serialize_index(without_vectors(self._index)))
        return {**trained, self.storage_names[-1]: packed(self._index, self._sorted_counts_G)}

    @property
    def storage_bytes(self) -> int:
        """Of the files of `storage`."""
        return sum(map(len, self.storage().values()))

    @property
    def unpacked_bytes(self) -> int:
        """What packed codes take in memory, where each has whole bytes; 0 where they are not packed."""
        return self.num_vectors * int(self._inner.code_size) if self._is_packed else 0

    @classmethod
    def from_storage(
        cls,
        spec: IndexSpec,
        dim: int,
        files: Mapping[str, bytes | Path],
        num_vectors: int,
        groups_N: Int64[ndarray, " N"] | None = None,
    ) -> "VectorIndex":
        """The index whose `storage()` is `files`; UserError where it is not one of this spec, dimension and number.

        A file that is given by its path and holds the whole index stays mapped: codes are read as they are searched,
        and it must not be written to. A flipped bit goes unnoticed: compare a hash first.
        """
        index = cls(spec, dim)
        index._set_groups(groups_N)
        index._is_sorted = SORTED_CODES in files
        codes = files.get(SORTED_CODES if index._is_sorted else CODES)
        index._is_stored_whole = codes is None  # so were all, before codes were packed
        loaded = index._index  # where nothing was trained, codes are all there is
        if INDEX in files:
            whole = files[INDEX]
            loaded = map_index(whole) if isinstance(whole, Path) and codes is None else read_index(_content(whole))
        elif has_trained_part(loaded):
            raise UserError(f"what index {spec.label} was trained to is missing; build the store again")
        # Flat reads back as a subclass of what the factory makes.
        if not isinstance(innermost(loaded), type(index._inner)) or loaded.d != index._index.d:
            raise UserError(
                f"the stored index is a {type(innermost(loaded)).__name__} over {loaded.d} dimensions, "
                f"not {spec.label} over {index._index.d}; build the store again"
            )
        if codes is not None:
            counts_G = [num_vectors] if groups_N is None else index._counts_G
            try:
                fill(loaded, _content(codes), num_vectors, counts_G if index._is_sorted else None)
            except ValueError as error:
                raise UserError(f"{error}; build the store again") from error
        if loaded.ntotal != num_vectors:
            raise UserError(f"the stored index holds {loaded.ntotal} vectors, not {num_vectors}; build the store again")
        index._take(loaded)
        return index


def _content(given: bytes | Path) -> bytes:
    return given.read_bytes() if isinstance(given, Path) else given
