"""Bytes of a stored index from its factory string, by formula: nothing is built.

What FAISS 1.15 writes, headers included, less what packed codes save: to the byte, but for graphs, whose levels are
drawn at random, and for FastScan codes in inverted lists, whose padding depends on how the lists fill. An oracle for
what a store reports, and what plans are made with.

Shape legend: n vectors, d dimensions (of the codes: after the transforms), m sub-quantisers, b bits of one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from retrieval.packed_codes import is_packed_product
from retrieval.sorted_codes import expected_bytes

_FASTSCAN_BLOCK = 32
"""vectors that FastScan codes are padded to"""
_PRETRANSFORM, _REFINE, _GRAPH, _LISTS = 41, 41, 265, 94
"""headers: of all transforms together, of a second index for refinement, of a graph, of an inverted file"""


@dataclass(frozen=True, kw_only=True)
class CodeBytes:
    """What the codes of one kind take."""

    once: int
    """header, ranges, codebooks"""
    once_in_lists: int
    """the same inside of an inverted file"""
    a_vector: int
    block: int = 1
    """vectors that are padded to a multiple of it"""
    packed_bits: int | None = None
    """of a vector, where codes that stand alone are stored at exactly them; None where as FAISS writes them"""
    is_trained: bool = True
    """whether there is anything to store beside packed codes"""


def index_bytes(factory: str, dim: int, num_vectors: int, *, is_sorted: bool = False) -> int:
    """Bytes of `VectorIndex.storage` for so many vectors; of graphs and of FastScan codes in lists about as many.

    `is_sorted`: packed codes lie sorted, as in a store; about as many then, of one group.

    Raises:
        ValueError: there is no formula for this factory string.
    """
    *transforms, rest = _parts(factory)
    total = _PRETRANSFORM if transforms else 0
    for transform in transforms:
        added, dim = _transform(transform, dim)
        total += added
    code = _known_code(rest[0], dim) if len(rest) == 1 else None
    if code is not None and code.packed_bits is not None:
        beside = code.once if transforms or code.is_trained else 0
        packed = _bytes_of(code.packed_bits * num_vectors)
        return total + beside + (expected_bytes(code.packed_bits, [num_vectors]) if is_sorted else packed)
    return total + sum(_index(part, dim, num_vectors) for part in rest)


def _parts(factory: str) -> list[list[str]]:
    """Each transform alone; last the index, and the second one that refines its answers, if there is any."""
    parts = factory.split(",")
    number = 0
    while number < len(parts) - 1 and _TRANSFORM.fullmatch(parts[number]):
        number += 1
    refined = [parts.pop()] if re.fullmatch(r"RFlat|Refine\(.+\)", parts[-1]) else []
    return [*([part] for part in parts[:number]), [",".join(parts[number:]), *refined]]


_TRANSFORM = re.compile(r"(RR|PCAR?|OPQ\d+_?|Pad|L2norm)(\d*)")


def _transform(parts: list[str], dim: int) -> tuple[int, int]:
    """Bytes of one transform, and the dimension behind it."""
    found = _TRANSFORM.fullmatch(parts[0])
    assert found is not None
    kind, to = found[1], int(found[2] or dim)
    if kind == "L2norm":
        return 17, dim
    if kind == "Pad":
        raise ValueError(f"no formula for the bytes of {parts[0]}")
    matrix = 4 * dim * to
    if kind.startswith("PCA"):  # it keeps offset, mean, eigenvalues and all d^2 numbers of the decomposition
        return 67 + matrix + 4 * to + 8 * dim + 4 * dim**2, to
    return 30 + matrix, to


def _index(factory: str, dim: int, num_vectors: int) -> int:
    if factory == "RFlat":
        return _REFINE + _index("Flat", dim, num_vectors)
    if found := re.fullmatch(r"Refine\((.+)\)", factory):
        return _REFINE + _index(found[1], dim, num_vectors)
    if found := re.fullmatch(r"HNSW(\d+)(?:,(.+))?", factory):
        links = int(found[1])
        # 2 M links on the lowest level, M on each other one, which a vector reaches with chance 1 / M; 12 of offsets.
        graph = num_vectors * (8 * links + 12 + 4 * links / (links - 1))
        return _GRAPH + round(graph) + _index(found[2] or "Flat", dim, num_vectors)
    if found := re.fullmatch(r"IVF(\d+),(.+)", factory):
        return _inverted_file(int(found[1]), found[2], dim, num_vectors)
    code = code_bytes(factory, dim)
    return code.once + code.a_vector * code.block * -(-num_vectors // code.block)


def _inverted_file(num_lists: int, codec: str, dim: int, num_vectors: int) -> int:
    """Centroids, sizes of the lists, and an id of 8 bytes beside each code. No list is taken to be empty."""
    code = code_bytes(codec, dim)
    centroids = _index("Flat", dim, num_lists)
    # Of a FastScan list half a block is empty on average.
    padding = num_lists * (code.block - 1) / 2 if num_vectors else 0
    vectors = code.a_vector * (num_vectors + padding) + 8 * num_vectors
    return centroids + _LISTS + 8 * num_lists + code.once_in_lists + round(vectors)


def _bytes_of(bits: int) -> int:
    return -(-bits // 8)


def code_bytes(codec: str, dim: int) -> CodeBytes:
    """Of one kind of code, without transforms, lists and graphs. ValueError where there is no formula."""
    code = _known_code(codec, dim)
    if code is None:
        raise ValueError(f"no formula for the bytes of {codec}")
    return code


def _known_code(codec: str, dim: int) -> CodeBytes | None:
    for pattern, make in _CODES.items():
        if found := re.fullmatch(pattern, codec):
            return make(dim, *found.groups())
    return None


def _scalar(dim: int, bits: str) -> CodeBytes:
    ranges = 8 * dim  # the least and the range of every dimension
    return CodeBytes(once=81 + ranges, once_in_lists=45 + ranges, a_vector=_bytes_of(dim * int(bits)))


def _product(dim: int, parts: str, bits: str | None) -> CodeBytes:
    width = int(bits or 8)
    codebook = 4 * dim * 2**width
    code_bits = int(parts) * width
    return CodeBytes(
        once=86 + codebook,
        once_in_lists=41 + codebook,
        a_vector=_bytes_of(code_bits),
        packed_bits=code_bits if is_packed_product(code_bits) else None,
    )


def _fast_product(dim: int, parts: str) -> CodeBytes:
    codebook = 4 * dim * 2**4
    a_vector = _bytes_of(4 * int(parts))
    return CodeBytes(once=105 + codebook, once_in_lists=61 + codebook, a_vector=a_vector, block=_FASTSCAN_BLOCK)


def _signs(dim: int, bits: str, rotated: str, thresholds: str) -> CodeBytes:
    num_bits = int(bits or dim)
    once = 93 + (4 * dim * num_bits if rotated else 0) + (4 * num_bits if thresholds else 0)
    return CodeBytes(
        once=once,
        once_in_lists=once,
        a_vector=_bytes_of(num_bits),
        packed_bits=num_bits,
        is_trained=bool(rotated or thresholds),
    )


def _rabitq(dim: int, bits: str) -> CodeBytes:
    width = int(bits or 1)
    if width == 1:  # a sign a dimension and two factors
        return CodeBytes(once=74 + 4 * dim, once_in_lists=30, a_vector=_bytes_of(dim) + 8)
    a_vector = _bytes_of(dim) + 12 + _bytes_of(dim * (width - 1)) + 8
    return CodeBytes(once=82 + 4 * dim, once_in_lists=38, a_vector=a_vector)


_CODES: dict[str, Callable[..., CodeBytes]] = {
    r"Flat": lambda dim: CodeBytes(once=45, once_in_lists=0, a_vector=4 * dim),
    r"SQ(8|6|4)": _scalar,
    r"SQ(?:fp|bf)16": lambda dim: CodeBytes(once=81, once_in_lists=45, a_vector=2 * dim),
    r"PQ(\d+)(?:x(\d+))?(?:np)?": _product,
    r"PQ(\d+)x4fs": _fast_product,
    r"LSH(\d*)(r?)(t?)": _signs,
    r"RaBitQ(\d?)": _rabitq,
}
"""factory string without transforms, lists and graphs -> what its codes take"""
