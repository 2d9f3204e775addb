"""Bytes a vector of FAISS indexes at 384 dimensions, measured on serialised indexes, beside published figures."""

from functools import partial

import numpy as np

from retromem.reproduce.claim import Claim

_DIM, _FEW, _MANY = 384, 1024, 2048  # whole blocks of 32, and enough to train 256 centroids


def bytes_a_vector(factory: str) -> float:
    """Slope between two sizes, so that codebooks and headers fall out."""
    from retrieval.vector_index import IndexSpec, VectorIndex

    vectors_ND = np.random.default_rng(0).standard_normal((_MANY, _DIM)).astype(np.float32)
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    sizes = []
    for num in (_FEW, _MANY):
        index = VectorIndex(IndexSpec(factory=factory), _DIM)
        index.add(vectors_ND[:num])
        sizes.append(len(index.serialized()))
    return (sizes[1] - sizes[0]) / (_MANY - _FEW)


_PUBLISHED = {
    "Flat": 1536.0,
    "SQfp16": 768.0,
    "SQ8": 384.0,
    "SQ6": 288.0,
    "SQ4": 192.0,
    "PQ48np": 48.0,
    "PQ48x4fs": 24.0,
    "LSH": 48.0,
    "RaBitQ": 56.0,
    "RaBitQ4": 212.0,
    "IVF64,Flat": 1544.0,
    "HNSW32": 1808.5,
    "HNSW32,SQ8": 656.5,
    "PCA128,Flat": 512.0,
}


def largest_deviation() -> float:
    """Of all of them, relative."""
    return max(abs(bytes_a_vector(factory) / published - 1) for factory, published in _PUBLISHED.items())


CLAIMS = [
    Claim(
        source="FAISS 1.15, as measured before",
        setting=f"bytes a vector at d = {_DIM} of {', '.join(_PUBLISHED)}: the largest deviation",
        unit="relative",
        published=0.0,
        band=(0.0, 0.002),  # levels of a graph are drawn at random
        measure=partial(largest_deviation),
        seconds_expected=20.0,
    )
]
