"""Weller et al. 2025 (LIMIT): how many documents free embeddings can rank in every combination."""

from dataclasses import dataclass
from typing import Literal

from models.free_embeddings import FreeEmbeddingsConfig, critical_n
from retromem.panels.published.published_panel import PublishedPanel


@dataclass(frozen=True, kw_only=True)
class FreeEmbeddingDocumentsConfig(PublishedPanel):
    """Most documents that at least half of the trainings rank in every combination."""

    panel: Literal["free_embedding_documents"] = "free_embedding_documents"
    dim: int = 4
    """of queries and documents"""
    low: int = 6
    """documents, few enough to be ranked"""
    high: int = 14
    """documents at most"""
    trainings: int = 8
    """of each number of documents"""
    seeds: tuple[int, ...] = (0,)
    """nothing but the trainings is drawn, and each has a seed of its own"""

    unit = "documents"

    @property
    def setting(self) -> str:
        # Sizes are whole numbers: one by one is as fine as they come.
        return (
            f"LIMIT, free embeddings, d = {self.dim}, k = 2: most documents that at least half of {self.trainings} "
            "seeds solve"
        )

    def number(self, seed: int) -> float:
        seeds, config = tuple(range(self.trainings)), FreeEmbeddingsConfig()
        return critical_n(self.dim, top_k=2, seeds=seeds, config=config, low=self.low, high=self.high)
