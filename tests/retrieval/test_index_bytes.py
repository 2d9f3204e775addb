"""Byte formulas against what a disk would hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.faiss_factory import empty_index
from retrieval.index_bytes import index_bytes
from retrieval.vector_index import IndexSpec, VectorIndex

PACKED = [
    *("LSH", "LSH16", "LSH20", "LSH40r", "LSH39r", "LSHt", "LSH24rt", "L2norm,LSH", "RR20,LSH", "PCA12,LSHt"),
    *("PQ4x3np", "PQ8x3np", "PQ4x5np", "PQ4x9np", "RR16,PQ4x5np", "OPQ4_8,PQ4x5np"),
]
EXACT = [
    *("Flat", "SQ8", "SQ6", "SQ4", "SQfp16", "SQbf16", *PACKED),
    *("RaBitQ", "RaBitQ2", "RaBitQ4", "RaBitQ8", "PQ8np", "PQ4x6np", "PQ8x4", "PQ8x4fs", "PQ4x10np"),
    *(
        "IVF16,Flat",
        "IVF16,SQ8",
        "IVF16,SQ4",
        "IVF16,SQfp16",
        "IVF16,PQ8np",
        "IVF16,PQ8x4np",
        "IVF16,RaBitQ",
        "IVF4,RaBitQ2",
    ),
    *("RR16,SQ8", "PCA8,Flat", "PCAR16,SQ4", "OPQ4_8,PQ4np", "OPQ8,PQ8np", "L2norm,RR16,Flat", "RR24,RR16,Flat"),
    *(
        "SQ8,RFlat",
        "PQ8x4fs,RFlat",
        "SQ4,Refine(SQ8)",
        "SQ4,Refine(PQ4x5np)",
        "IVF16,SQ8,RFlat",
        "RR16,IVF16,SQ8",
        "PCA16,RaBitQ",
    ),
]
ABOUT = ["HNSW4,Flat", "HNSW8,SQ8", "HNSW32", "HNSW16,PQ8np", "IVF16,PQ8x4fs", "RR16,HNSW8,Flat", "IVF16,PQ8x4fs,RFlat"]


def built_bytes(factory: str, dim: int, num_vectors: int) -> int:
    from retrieval._faiss import faiss

    stored = VectorIndex(IndexSpec(factory=factory), dim)
    vectors_ND = np.random.default_rng(0).standard_normal((1100, dim)).astype(np.float32)
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    index = empty_index(factory, dim)
    if factory.startswith("OPQ"):  # its bytes are the same after one round of training
        rotation = faiss.downcast_VectorTransform(index.chain.at(0))
        rotation.niter, rotation.niter_pq, rotation.niter_pq_0 = 1, 1, 1
    index.train(vectors_ND)
    index.add(vectors_ND[:num_vectors])
    stored._take(index)
    assert len(stored.serialized()) == stored.storage_bytes or "codes.bin" in stored.storage_names
    return stored.storage_bytes


@pytest.mark.parametrize("factory", EXACT)
def test_formulas_are_what_a_disk_holds(factory: str) -> None:
    for dim, num_vectors in ((32, 1000), (48, 417)):
        assert index_bytes(factory, dim, num_vectors) == built_bytes(factory, dim, num_vectors), (dim, num_vectors)


@pytest.mark.parametrize("factory", ABOUT)
def test_graphs_and_padded_lists_are_within_a_hundredth(factory: str) -> None:
    assert index_bytes(factory, 32, 1000) == pytest.approx(built_bytes(factory, 32, 1000), rel=0.015)


@given(st.sampled_from(["Flat", "SQ8", "LSH", "RaBitQ", "SQ6"]), st.integers(1, 90), st.integers(0, 60))
def test_any_dimension_and_any_number_of_vectors(factory: str, dim: int, num_vectors: int) -> None:
    index = VectorIndex(IndexSpec(factory=factory), dim)
    if num_vectors:
        vectors_ND = np.random.default_rng(dim).standard_normal((num_vectors, dim)).astype(np.float32)
        index.add(vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True))
        assert index.storage_bytes == index_bytes(factory, dim, num_vectors)


@pytest.mark.parametrize("factory", ["Nothing", "IVF16,Nothing", "ITQ16,LSH", "Pad64,Flat", "HNSW8,Nothing"])
def test_what_has_no_formula_says_so(factory: str) -> None:
    with pytest.raises(ValueError, match="no formula for the bytes of"):
        index_bytes(factory, 32, 100)
