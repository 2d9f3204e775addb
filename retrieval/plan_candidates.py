"""Indexes that a plan chooses from: families of one kind of code, each from the smallest to the largest.

Within a family more bytes find more, so that a plan need try only a few of each. Rotations come from a seed and cost no
storage.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from retrieval.index_bytes import index_bytes
from retrieval.vector_index import IndexSpec

_ROTATIONS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
_LONGEST_SIGNS = 1024  # bits of LSH, which may be more than the dimensions
_CODEBOOKS = (4, 8, 16, 24, 32, 48, 64, 96, 128, 192)
_MOST_OF_CODEBOOK = 0.1
"""of the bytes of the codes: smaller stores would mostly pay for a codebook, and minutes for its training"""
_LOOKED_INTO = (4, 8, 16, 32, 64, 128)  # lists a query
_FEWEST_LISTS = 64  # with fewer there is nothing to be gained


def families(dim: int, num_vectors: int, *, in_time: bool) -> dict[str, list[IndexSpec]]:
    """By name of the code. Lists and graphs are larger and only faster: they stand in where time is limited.

    Within a family bytes do not fall, nor what is found, nor the time of a query.
    """
    shorter = [to for to in _ROTATIONS if to < dim]
    rotated: dict[str, Sequence[int | None]] = {
        "LSH": [to for to in _ROTATIONS if to <= max(dim, _LONGEST_SIGNS)],
        "RaBitQ": [*(to for to in shorter if to >= 32), None],
        "RaBitQ4": [*(to for to in shorter if to >= 32), None],
        "SQ4": [*shorter, None],
        "SQ8": [*shorter, None],
    }
    found = {name: [IndexSpec(factory=name, rotate_to=to) for to in sizes] for name, sizes in rotated.items()}
    parts = [parts for parts in _CODEBOOKS if dim % parts == 0]
    found["PQ x4fs"] = [IndexSpec(factory=f"PQ{number}x4fs") for number in parts]
    lasting = [number for number in parts if 4 * dim * 256 <= _MOST_OF_CODEBOOK * number * num_vectors]
    if lasting:
        found["PQ np"] = [IndexSpec(factory=f"PQ{number}np") for number in lasting]
    found["floats"] = [IndexSpec(factory="SQfp16"), IndexSpec(factory="Flat")]
    if in_time:
        num_lists = _num_lists(num_vectors)
        for code in ("SQ8", "Flat") if num_lists >= _FEWEST_LISTS else ():
            factory = f"IVF{num_lists},{code}"
            looked_into = [nprobe for nprobe in _LOOKED_INTO if nprobe < num_lists]
            found[f"IVF {code}"] = [IndexSpec(factory=factory, nprobe=nprobe) for nprobe in looked_into]
        found["HNSW"] = [
            *(IndexSpec(factory="HNSW16,SQ8", ef_search=ef) for ef in (16, 64)),
            *(IndexSpec(factory="HNSW32", ef_search=ef) for ef in (32, 128)),
        ]
    for name, specs in found.items():
        assert all(a <= b for a, b in pairwise(bytes_of(spec, dim, 10**6) for spec in specs)), f"{name} falls"
    return found


def _num_lists(num_vectors: int) -> int:
    """The power of two nearest to four square roots: a query reads as many centroids as vectors, about."""
    return int(2 ** round(math.log2(4 * math.sqrt(num_vectors))))


def bytes_of(spec: IndexSpec, dim: int, num_vectors: int) -> int:
    """Of the index in a store, by formula."""
    return index_bytes(spec.factory, spec.rotate_to or dim, num_vectors, is_sorted=True)
