"""Bytes a vector of FAISS indexes, measured on serialised indexes, beside published figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from retrieval.vector_index import IndexSpec, VectorIndex
from retromem.panels.panel_config import Encoded
from retromem.panels.points import Point
from retromem.panels.published.published_panel import OURS, PublishedPanel

_FEW, _MANY = 1024, 2048  # whole blocks of 32, and enough to train 256 centroids


def bytes_a_vector(factory: str, dim: int) -> float:
    """Slope between two sizes, so that codebooks and headers fall out."""
    vectors_ND = np.random.default_rng(0).standard_normal((_MANY, dim)).astype(np.float32)
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    sizes = []
    for num in (_FEW, _MANY):
        index = VectorIndex(IndexSpec(factory=factory), dim)
        index.add(vectors_ND[:num])
        sizes.append(len(index.serialized()))
    return (sizes[1] - sizes[0]) / (_MANY - _FEW)


@dataclass(frozen=True, kw_only=True)
class VectorBytesConfig(PublishedPanel):
    """The largest deviation of an index's bytes a vector from the published ones, of all indexes named."""

    panel: Literal["vector_bytes"] = "vector_bytes"
    dim: int = 384
    """of the vectors"""
    bytes_of: Mapping[str, float] = field(default_factory=dict)
    """published bytes a vector, by factory string"""
    seeds: tuple[int, ...] = (0,)
    """nothing that counts is drawn: levels of a graph are"""

    unit = "relative"

    @property
    def setting(self) -> str:
        return f"bytes a vector at d = {self.dim} of {', '.join(self.bytes_of)}: the largest deviation"

    def index_specs(self, text_dim: int) -> Sequence[tuple[IndexSpec, int]]:
        return [(IndexSpec(factory=factory), self.dim) for factory in self.bytes_of]

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        deviation = {name: abs(bytes_a_vector(name, self.dim) / size - 1) for name, size in self.bytes_of.items()}
        return [Point(quantity=OURS, series=name, y=relative, seed=seed) for name, relative in deviation.items()]

    def ours(self, points: Sequence[Point]) -> float:
        return max(point.y for point in points)
