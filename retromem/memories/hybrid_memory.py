"""Facts in a FAISS store and in a lexical index over the same chunks, their two rankings fused by rank.

Shape legend: N chunks, P live chunks, Q queries, B queries of one block, L answers of each ranking.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from retrieval.lexical_index import LexicalIndex, LexicalSpec
from retrieval.rank_fusion import RANK_CONSTANT, reciprocal_rank_fusion
from retrieval.vector_index import IndexSpec
from retromem.memories.chunk_votes import recall_by_votes
from retromem.memories.indexed_texts import IndexedTexts
from retromem.memories.store_memory import StoreMemory, build_store, load_faiss
from retromem.memories.untrained_cost import untrained_cost
from retromem.seam import Facts, Footprint, Queries, Recall, WriteCost

_LEXICAL = "lexical.npz"


@dataclass(frozen=True, kw_only=True)
class HybridMemoryConfig(IndexedTexts):
    """Dense and lexical search by reciprocal rank fusion; the best fused chunk speaks for its value."""

    version: ClassVar[int] = 6
    memory: Literal["hybrid"] = "hybrid"
    factory: str = "Flat"
    """FAISS factory string of the dense half"""
    rotate_to: int | None = None
    """dimensions of a random rotation from a seed, before FAISS"""
    lexical: LexicalSpec = field(default_factory=LexicalSpec)
    """the formula of the lexical half"""
    rank_constant: int = RANK_CONSTANT
    """of the fusion: a chunk at place r of a ranking gets 1 / (rank_constant + r)"""
    depth: int = 100
    """chunks that each half ranks"""

    def __post_init__(self) -> None:
        if self.depth < 1 or self.rank_constant < 0:
            raise ValueError("depth must be 1 or more, rank_constant 0 or more")
        _ = self.spec

    @property
    def spec(self) -> IndexSpec:
        return IndexSpec(factory=self.factory, rotate_to=self.rotate_to)

    def named(self, setting: str | None = None) -> str:
        dials = [f"c{self.rank_constant}"] if self.rank_constant != RANK_CONSTANT else []
        dials += [f"d{self.depth}"] if self.depth != HybridMemoryConfig.depth else []
        return "-".join([self.family, self.spec.label, self.lexical.label, *dials])

    def build(self, *, seed: int) -> "HybridMemory":
        return HybridMemory(self)


class HybridMemory(StoreMemory):
    """Both halves search the chunks of the question's relation."""

    config: HybridMemoryConfig
    config_type: ClassVar[type[HybridMemoryConfig]] = HybridMemoryConfig

    def write(self, facts: Facts) -> WriteCost:
        """Index vectors and texts. Refused for facts that are vectors alone, or too few to train the index."""
        assert self._store is None, "a memory is written once"
        sources = self.config.sources(facts, in_words=True)
        load_faiss()
        start = time.perf_counter()
        self._values, self._encoder_hash = facts.values, sources[0].encoder_hash
        self._store = build_store(facts, sources, self.config.spec, with_values=True)
        self._know_words(None)
        return untrained_cost(start, texts_encoded=len(facts) * len(sources), exposures=float(len(sources)))

    def _know_words(self, lexical: LexicalIndex | None) -> None:
        """`lexical`: over the live chunks, sorted by group; None to make it of their texts."""
        store = self._written
        live_P = np.flatnonzero(store.is_live_N)
        self._live_P = live_P[np.argsort(store.groups_N[live_P], kind="stable")]
        self._starts = np.searchsorted(store.groups_N[self._live_P], np.arange(len(self._values.relations) + 1))
        texts = [] if lexical else [store.text(position) for position in self._live_P.tolist()]
        self._lexical = lexical or LexicalIndex.build(texts, self.config.lexical)

    def recall(self, queries: Queries, *, top_k: int = 10, score: Int64[ndarray, "Q C"] | None = None) -> Recall:
        store, texts, depth = self._written, queries.texts, self.config.depth
        assert texts is not None, "half of this index is asked in words"
        assert queries.encoder_hash == self._encoder_hash, "these keys are of another encoder"
        keys_QD = queries.key_vectors()

        def search(relation: int, rows: Int64[ndarray, " B"]) -> tuple[Int64[ndarray, "B 1"], Float32[ndarray, "B 1"]]:
            window = range(int(self._starts[relation]), int(self._starts[relation + 1]))
            dense_BL = store.search(keys_QD[rows], depth, relation)[0]
            live_BL = self._lexical.search([texts[row] for row in rows.tolist()], depth, window)[0]
            lexical_BL = np.where(live_BL < 0, -1, self._live_P[live_BL])
            return reciprocal_rank_fusion([dense_BL, lexical_BL], 1, constant=self.config.rank_constant)

        return recall_by_votes(
            queries,
            self._values,
            search,
            labels_N=store.labels_N,
            facts_N=self._facts_N,
            temperature=1.0,
            top_k=top_k,
            score=score,
        )

    def _extra_files(self) -> dict[str, bytes]:
        return {**super()._extra_files(), _LEXICAL: self._lexical.storage()}

    def footprint(self) -> Footprint:
        stored = super().footprint()
        return Footprint(stored.holdings, resident_bytes=(stored.resident_bytes or 0) + self._lexical.resident_bytes)

    def _take(self, folder: Path, meta: Mapping[str, Any]) -> None:
        # What was changed since is in the store alone.
        changed = self._written.generation > 0
        self._know_words(None if changed else LexicalIndex.from_storage((folder / _LEXICAL).read_bytes()))
