"""FAISS indexes from factory strings and from bytes, with refusals of one line where FAISS gives a C++ trace."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.errors import UserError

# LSH declares a rotation that it neither has nor stores: what is read may be larger than the data by that.
_MIN_ALLOCATION_LIMIT_BYTES = 1 << 26
_LSH = re.compile(r"(^|,)LSH\d*r?t?$")
_PRODUCT = re.compile(r"((RR|PCAR?|OPQ\d+_?|L2norm|Pad)\d*,)*PQ\d+(x\d+)?(np|fs|fsr)?")
_ABORTS = re.compile(r"(HNSW1|[A-Za-z]0+)(?!\d)")  # these end the process, without an exception


def _code_parts(factory: str, dim: int) -> int:
    """Parts of a product code that this dimension can be cut into, about as many as the factory asks for."""
    asked = re.search(r"PQ(\d+)", factory)
    wanted = (int(asked[1]) if asked else 0) or dim / 8
    return min((part for part in range(1, dim + 1) if dim % part == 0), key=lambda part: abs(part - wanted))


def _right_ones(factory: str, dim: int) -> str:
    """Examples for vectors of this dimension."""
    return f"right ones are Flat, SQ8, RaBitQ, LSH, PQ{_code_parts(factory, dim)}np, HNSW32 or IVF64,Flat"


def what_would_do(error: Exception, num_vectors: int, *, factory: str, dim: int) -> str:
    """Advice after `reason`, where too few vectors were given to learn a codebook or lists from; else nothing."""
    if num_vectors < 2 or "Number of training points" not in str(error):
        return ""
    bits = num_vectors.bit_length() - 1
    code = f"PQ{_code_parts(factory, dim)}x{bits}np"
    return f"; these do for IVF{num_vectors} or codes of {bits} bits ({code}), any number for Flat, SQ8 or RaBitQ"


def reason(error: Exception) -> str:
    """What FAISS says, without its file names and C++ signatures."""
    return re.sub(r"^.*(failed: |\.cpp:\d+: )", "", str(error), flags=re.DOTALL)


def innermost(index: Any) -> Any:
    """The index behind vector transforms (PCA, OPQ, ...)."""
    from retrieval._faiss import faiss

    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS builds the same bytes twice only with one thread."""
    from retrieval._faiss import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def empty_index(factory: str, dim: int) -> Any:
    """The index of a factory string, by inner product; UserError where FAISS knows none, cannot search it, or it would
    keep nothing.

    Product codes that stand alone are ranked by distance: of vectors of length 1 that is the same, but what short codes
    make of a vector is of another length, and by inner product long ones win over a question's own.
    """
    from retrieval._faiss import faiss

    if "_direct" in factory:  # SQ8_direct_signed: recall .002 on unit vectors
        raise UserError(f"index {factory!r} rounds to integers, which makes unit vectors 0; write SQ8")
    if found := _ABORTS.search(factory):
        raise UserError(f"index {factory!r}: {found[0]} is too small a number; {_right_ones(factory, dim)}")
    # LSH exists for L2 alone, and then heeds no metric: Hamming distance orders like the angle.
    by_distance = _LSH.search(factory) or _PRODUCT.fullmatch(factory)
    metric = faiss.METRIC_L2 if by_distance else faiss.METRIC_INNER_PRODUCT
    try:
        index = faiss.index_factory(dim, factory, metric)
    except Exception as error:  # not RuntimeError alone: absurd numbers raise what C++ throws for them
        raise UserError(
            f"index {factory!r} over {dim} dimensions: {reason(error)}; {_right_ones(factory, dim)}"
        ) from error
    if isinstance(index, faiss.IndexIDMap | faiss.IndexIDMap2):
        raise UserError(f"index {factory!r}: the store keeps the ids itself; leave IDMap out")
    # No C++ warnings on stderr for fewer than 39 training points a centroid: recall is measured, not guessed.
    inner = innermost(index)
    for owner in (inner, getattr(inner, "pq", None)):
        if owner is not None and hasattr(owner, "cp"):
            owner.cp.min_points_per_centroid = 1
    if isinstance(inner, faiss.IndexPQ) and inner.pq.dsub == 2 and inner.pq.ksub % 8:
        raise UserError(
            f"index {factory!r}: FAISS cannot search parts of two dimensions with {inner.pq.nbits} bits; give them one "
            "dimension, or three and more"
        )
    return index


def set_search_parameters(index: Any, **parameters: int | None) -> None:
    """Set those that are not None; UserError where one has no effect on this index."""
    from retrieval._faiss import faiss

    for name, value in parameters.items():
        if value is None:
            continue
        try:
            faiss.ParameterSpace().set_index_parameter(index, {"ef_search": "efSearch"}.get(name, name), value)
        except RuntimeError as error:
            raise UserError(f"{name} has no effect on a {type(innermost(index)).__name__}; leave it out") from error


@contextmanager
def _limited(num_bytes: int) -> Iterator[None]:
    """FAISS allocates no more than what so many bytes can ask for; what it then says becomes a UserError."""
    from retrieval._faiss import faiss

    byte_limit = faiss.get_deserialization_vector_byte_limit()
    loop_limit = faiss.get_deserialization_loop_limit()
    faiss.set_deserialization_vector_byte_limit(max(num_bytes, _MIN_ALLOCATION_LIMIT_BYTES))
    faiss.set_deserialization_loop_limit(num_bytes)
    try:
        yield
    except Exception as error:
        raise UserError(f"the stored index cannot be read: {reason(error)}; build the store again") from error
    finally:
        faiss.set_deserialization_vector_byte_limit(byte_limit)
        faiss.set_deserialization_loop_limit(loop_limit)


def read_index(data: bytes) -> Any:
    """The index that `data` serialises; UserError where it is none.

    FAISS notices no flipped bit: compare a hash first. What it allocates on the way is limited by the length of `data`.
    """
    from retrieval._faiss import faiss

    with _limited(len(data)):
        return faiss.deserialize_index(np.frombuffer(data, dtype=np.uint8))


def map_index(path: Path) -> Any:
    """The index in a file, whose codes and graph stay on disk, mapped: opening takes as long for a billion bytes."""
    from retrieval._faiss import faiss

    with _limited(path.stat().st_size):
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)


def without_vectors(index: Any) -> Any:
    """A copy that keeps what was trained alone."""
    from retrieval._faiss import faiss

    copy = read_index(bytes(faiss.serialize_index(index)))  # FAISS's own cloning knows half of its indexes
    copy.reset()
    return copy
