"""Facts in a FAISS chunk store: the very keys that weights are trained on (question index), or statements.

Shape legend: N chunks, Q queries, B block, K chunks found, M candidates of a relation.
"""

import time
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from retrieval.vector_index import IndexSpec, rotation_label
from retromem.memories.chunk_votes import recall_by_votes
from retromem.memories.dial import Dial, Load
from retromem.memories.index_dial import (
    dial_of_index,
    first_rotation,
    index_in_words,
    most_bits_of_index,
    searched_factory,
    turned_factory,
)
from retromem.memories.indexed_texts import IndexedTexts
from retromem.memories.store_memory import StoreMemory, build_store, load_faiss
from retromem.memories.untrained_cost import untrained_cost
from retromem.seam import Facts, Queries, Recall, WriteCost


@dataclass(frozen=True, kw_only=True)
class FaissMemoryConfig(IndexedTexts):
    """One index over one kind of text. Search parameters belong to it, as they change its answers."""

    version: ClassVar[int] = 7
    memory: Literal["faiss"] = "faiss"
    factory: str = "Flat"
    """FAISS factory string"""
    rotate_to: int | None = None
    """dimensions of a random rotation from a seed, before FAISS"""
    rotation_seed: int = 0
    """of the rotation, added to the memory's own"""
    bandwidth: float | None = None
    """of random waves in place of the rotation: for questions as they were written, wide ones need fewer bits"""
    nprobe: int | None = None
    """inverted lists searched (IVF alone)"""
    ef_search: int | None = None
    """nodes kept while walking the graph (HNSW alone)"""
    chunks: int = 1
    """k, chunks that are read; their values share the probability by softmax(similarity / temperature)"""
    temperature: float = 0.05
    """of that softmax; without effect for one chunk"""

    def __post_init__(self) -> None:
        if self.chunks < 1 or self.temperature <= 0:
            raise ValueError("chunks must be 1 or more, temperature more than 0")
        _ = self.spec  # which refuses search parameters that its index does not have

    @property
    def spec(self) -> IndexSpec:
        return IndexSpec(
            factory=self.factory,
            rotate_to=self.rotate_to,
            rotation_seed=self.rotation_seed,
            bandwidth=self.bandwidth,
            nprobe=self.nprobe,
            ef_search=self.ef_search,
        )

    def named(self, setting: str | None = None) -> str:
        of_index = self.spec.label
        if setting:
            of_index = f"{rotation_label(setting, self.bandwidth)}-{searched_factory(self.factory)}"
        dials = [f"np{self.nprobe}"] if self.nprobe else []
        dials += [f"ef{self.ef_search}"] if self.ef_search else []
        dials += [f"k{self.chunks}"] if self.chunks > 1 else []
        return "-".join([self.family, of_index, *dials])

    @property
    def dial(self) -> Dial | None:
        return dial_of_index(self.factory, self.rotate_to)

    @property
    def in_words(self) -> str:
        return index_in_words(self.factory, self.rotate_to, self.bandwidth)

    def turned(self, setting: int) -> "FaissMemoryConfig":
        factory = turned_factory(self.factory, self.rotate_to, setting)
        return replace(self, factory=factory, rotate_to=setting)

    def first_setting(self, load: Load) -> float:
        return 0.0 if self.rotate_to is None else first_rotation(self.factory, self.rotate_to, load)

    def most_bits(self, setting: int, load: Load) -> float:
        return most_bits_of_index(self.turned(setting).factory, setting, load)

    def build(self, *, seed: int) -> "FaissMemory":
        if self.rotate_to is None:
            return FaissMemory(self)
        return FaissMemory(replace(self, rotation_seed=self.rotation_seed + seed))


class FaissMemory(StoreMemory):
    """The k nearest chunks of the question's relation; each speaks for its value."""

    config: FaissMemoryConfig
    config_type: ClassVar[type[FaissMemoryConfig]] = FaissMemoryConfig
    encoder_name: str | None = None
    """noted in the store; a hash alone where nobody says it"""
    num_shards = 1
    """threads that build at once"""

    def write(self, facts: Facts) -> WriteCost:
        """Build the index. UserError for an unknown factory, Refused for one that these facts cannot train."""
        assert self._store is None, "a memory is written once"
        load_faiss()
        start = time.perf_counter()
        sources = self.config.sources(facts)
        self._values, self._encoder_hash = facts.values, sources[0].encoder_hash
        self._store = build_store(
            facts,
            sources,
            self.config.spec,
            with_values=True,
            encoder_name=self.encoder_name,
            num_shards=self.num_shards,
        )
        return untrained_cost(start, texts_encoded=len(facts) * len(sources), exposures=float(len(sources)))

    def recall(self, queries: Queries, *, top_k: int = 10, score: Int64[ndarray, "Q C"] | None = None) -> Recall:
        store = self._written
        assert queries.encoder_hash == self._encoder_hash, "these keys are of another encoder"
        keys_QD = queries.key_vectors()
        return recall_by_votes(
            queries,
            self._values,
            lambda relation, rows: store.search(keys_QD[rows], self.config.chunks, relation),
            labels_N=store.labels_N,
            facts_N=self._facts_N,
            temperature=self.config.temperature,
            top_k=top_k,
            score=score,
        )

    def perturbed(self, *, relative_noise: float = 0.0, flip_rate: float = 0.0, seed: int) -> "FaissMemory":
        """A copy with random bits of codes and payload flipped, as they are stored: of an entropy-coded payload all is
        lost that lies behind a flip. NotImplementedError where codes lie in no array."""
        assert not relative_noise, "an index has no weights"
        copy = FaissMemory(self.config)
        copy._values, copy._encoder_hash = self._values, self._encoder_hash
        copy._store = self._written.disturbed(flip_rate, np.random.default_rng(seed))
        return copy
