"""What our checks, order and grouping cost around FAISS: the same arrays through it bare.

Shape legend: N vectors, Q queries, D dimensions.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy import ndarray

from retrieval.faiss_factory import empty_index, one_thread
from retrieval.vector_index import IndexSpec, VectorIndex
from retromem.benchmarks.in_turns import Timed, in_turns

_NUM_VECTORS, _DIM, _TOP = 100_000, 384, 10
_FACTORIES = ("Flat", "SQ8", "RaBitQ", "LSH", "PQ48x4fs", "IVF256,Flat")


def random_unit(num: int, dim: int, *, seed: int) -> ndarray:
    """Random directions, float32 of shape (num, dim)."""
    vectors_ND = np.random.default_rng(seed).standard_normal((num, dim), dtype=np.float32)
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return vectors_ND


def _bare(factory: str, vectors_ND: ndarray) -> Any:
    index = empty_index(factory, vectors_ND.shape[1])
    with one_thread():  # as ours builds, so that the bytes are always the same
        index.train(vectors_ND)
        index.add(vectors_ND)
    return index


def _ours(factory: str, vectors_ND: ndarray) -> VectorIndex:
    index = VectorIndex(IndexSpec(factory=factory), vectors_ND.shape[1])
    index.add(vectors_ND)
    return index


def measure() -> Iterator[Timed]:
    """Build and search of 100,000 vectors of 384 dimensions, 10 answers; batches of 256 and of 1."""
    vectors_ND, queries_QD = random_unit(_NUM_VECTORS, _DIM, seed=0), random_unit(256, _DIM, seed=1)
    for factory in _FACTORIES:
        what = f"{factory}, {_NUM_VECTORS:,} x {_DIM}"
        build_ours, build_bare = partial(_ours, factory, vectors_ND), partial(_bare, factory, vectors_ND)
        yield in_turns(f"build {what}", ("retromem", build_ours), ("bare FAISS", build_bare), turns=5)
        ours, bare = build_ours(), build_bare()
        for batch in (256, 1):
            queries = queries_QD[:batch]
            yield in_turns(
                f"search {what}, batch {batch}",
                ("retromem", partial(ours.search, queries, _TOP)),
                ("bare FAISS", partial(bare.search, queries, _TOP)),
                turns=9 if batch > 1 else 101,
            )
