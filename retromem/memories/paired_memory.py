"""A pair: an FFN that was taught to read on other facts, and a store that holds the facts it is asked for.

Shape legend: Q queries, B block, K neighbours, D key dimension, E code dimension, M candidates, V values.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from models.any_ffn import AnyFFNConfig
from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retrieval.chunk_store import ChunkStore
from retrieval.errors import Refused
from retrieval.vector_index import IndexSpec
from retromem.memories.ffn_settings import FFNSettings
from retromem.memories.neighbours import Neighbours, statements_to_read
from retromem.memories.ranking import rank_candidates
from retromem.memories.store_memory import StoreMemory, build_store, load_faiss, store_footprint
from retromem.memories.stored_ffn import StoredFFN
from retromem.memories.untrained_cost import untrained_cost
from retromem.seam import Facts, Footprint, Queries, Recall, Side, Stores, ValueTable, WriteCost

if TYPE_CHECKING:
    import torch


_WEIGHTS = "weights.bin"


@dataclass(frozen=True, kw_only=True)
class PairedMemoryConfig(FFNSettings):
    """An FFN over a key and its neighbours among the stored statements."""

    family: ClassVar[str] = "paired"
    stores: ClassVar[Stores] = "statements"
    version: ClassVar[int] = 6
    memory: Literal["paired"] = "paired"
    ffn: AnyFFNConfig = field(default_factory=lambda: DenseConfig(width=64))
    """its kind and size"""
    rotate_to: int | None = None
    """dimensions of a random rotation from a seed, of the key and of what is read beside it; None: as they are"""
    chunks: int = 1
    """k, statements that are read; 0 = no retrieval"""
    neighbours: Neighbours = "retrieved"
    """random and oracle (the statement of the very fact asked for) are controls"""
    factory: str = "Flat"
    """FAISS factory string of the store; its vectors are read, so it must be able to give them back"""
    training: TrainingBudget = field(default_factory=TrainingBudget)
    """optimiser steps and learning rate"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.training.rounding == "aware":
            raise ValueError("rounding: aware is for memories that answer from weights alone")
        if self.training.key_noise:
            raise ValueError("key_noise is for memories that answer from weights alone: leave it 0 for a pair")

    @property
    def spec(self) -> IndexSpec:
        return IndexSpec(factory=self.factory)

    def named(self, setting: str | None = None) -> str:
        arm = f"-k{self.chunks}" if self.neighbours == "retrieved" else f"-{self.neighbours}"
        return f"paired-{self.rotation_label}{self.ffn.label}{self.precision_label}{arm}"

    def build(self, *, seed: int) -> "PairedMemory":
        return PairedMemory(self, seed=seed)


class PairedMemory(StoreMemory):
    """`teach` trains the reader on facts of its own; `write` then stores the facts that will be asked for."""

    side: ClassVar[Side] = "paired"
    config: PairedMemoryConfig
    config_type: ClassVar[type[PairedMemoryConfig]] = PairedMemoryConfig

    def __init__(self, config: PairedMemoryConfig, *, seed: int, accelerator: str = "auto") -> None:
        super().__init__(config, seed=seed)
        self._accelerator = accelerator
        self._stored: StoredFFN | None = None
        self._revealed: dict[str, int] = {}

    @property
    def trained_on(self) -> str:
        """Kind of device: cpu, cuda."""
        return self._stored.trained_on if self._stored else "cpu"

    def _store_of(self, facts: Facts) -> ChunkStore:
        assert facts.statements is not None, "a pair reads statements"
        store = build_store(facts, [facts.statements], self.config.spec, with_values=False)
        try:
            store.reconstruct(np.zeros(1 if self.config.chunks else 0, dtype=np.int64))
        except NotImplementedError as error:
            raise Refused(f"{self.name} reads vectors, and its index gives none back ({error}); write Flat") from None
        return store

    @property
    def is_told(self) -> bool:
        """The oracle control alone is told which fact a question asks for."""
        return self.config.neighbours == "oracle"

    def reveal(self, fact_ids: Mapping[str, int]) -> None:
        """The fact that each text of a question asks for."""
        self._revealed.update(fact_ids)

    def teach(self, facts: Facts) -> WriteCost:
        """Train the reader on facts whose statements lie in a store of their own, which is thrown away."""
        import torch

        from models.reading import joined

        assert self._stored is None, "a pair is taught once"
        load_faiss()
        start = time.perf_counter()
        cue, store = facts.cues[0], self._store_of(facts)
        if self.is_told:
            self._revealed.update(zip(cue.texts or (), facts.ids_N.tolist(), strict=True))
        self._know(facts.values, cue.key_vectors().shape[1], cue.encoder_hash)
        keys_ND = torch.from_numpy(self._ffn.rotated(cue.key_vectors()))
        # Keys are frozen, so the neighbours are looked up once, and no search runs inside a step.
        inputs_NI = joined(keys_ND, *self._neighbours(store, cue)).numpy()
        budget, accelerator = self.config.training, self._accelerator
        cost, _ = self._ffn.train(inputs_NI, cue.relation_ids_Q, facts.value_ids_N, budget, accelerator=accelerator)
        return replace(cost, seconds=time.perf_counter() - start, texts_encoded=2 * len(facts))

    def _know(self, values: ValueTable, dim: int, encoder_hash: str) -> None:
        from models.reading import reading_dim

        self._values, self._dim, self._encoder_hash = values, dim, encoder_hash
        joined_dim = reading_dim(self.config.rotate_to or dim, self.config.chunks)
        self._stored = StoredFFN(self.config.ffn, self.config, values, dim=dim, joined_dim=joined_dim, seed=self.seed)

    @property
    def _ffn(self) -> StoredFFN:
        assert self._stored is not None, "teach before write"
        return self._stored

    def write(self, facts: Facts) -> WriteCost:
        """Store the statements; the weights do not change."""
        assert self._stored is not None, "teach before write"
        assert self._store is None, "a memory is written once"
        start = time.perf_counter()
        self._store = self._store_of(facts)
        return untrained_cost(start, texts_encoded=len(facts), exposures=1.0)

    def _neighbours(self, store: ChunkStore, queries: Queries) -> "tuple[torch.Tensor, torch.Tensor]":
        """Embeddings (Q, K, D), rotated, and similarities (Q, K), as they are, of the statements to read."""
        import torch

        keys_QD, k = queries.key_vectors(), self.config.chunks
        positions_QK = self._positions(store, queries)
        vectors_QKD = np.zeros((len(queries), k, keys_QD.shape[1]), dtype=np.float32)
        found_QK = positions_QK >= 0
        if found_QK.any():
            vectors_QKD[found_QK] = store.reconstruct(positions_QK[found_QK])
        similarities_QK = np.einsum("qd,qkd->qk", keys_QD, vectors_QKD)
        similarities_QK[~found_QK] = -np.inf
        if self.config.rotate_to is not None:
            flat = self._ffn.rotated(vectors_QKD.reshape(-1, self._dim))
            vectors_QKD = flat.reshape(len(queries), k, self.config.rotate_to)
        return torch.from_numpy(vectors_QKD), torch.from_numpy(similarities_QK)

    def _positions(self, store: ChunkStore, queries: Queries) -> Int64[ndarray, "Q K"]:
        k, neighbours = self.config.chunks, self.config.neighbours
        return statements_to_read(store, queries, k=k, neighbours=neighbours, seed=self.seed, revealed=self._revealed)

    def recall(self, queries: Queries, *, top_k: int = 10, score: Int64[ndarray, "Q C"] | None = None) -> Recall:
        import torch

        from models.reading import joined

        store, ffn = self._written, self._ffn
        assert queries.encoder_hash == self._encoder_hash, "these keys are of another encoder"

        def log_probs(relation: int, rows: Int64[ndarray, " B"]) -> Float32[ndarray, "B M"]:
            block = queries.rows(rows)
            keys_BD = torch.from_numpy(ffn.rotated(block.key_vectors()))
            inputs_BI = joined(keys_BD, *self._neighbours(store, block))
            return ffn.log_probs(inputs_BI, relation)

        return rank_candidates(queries, self._values, log_probs, top_k=top_k, score=score)

    def _extra_files(self) -> dict[str, bytes]:
        return {**super()._extra_files(), _WEIGHTS: self._ffn.packed}

    def _meta(self) -> dict[str, object]:
        return {**super()._meta(), "seed": self.seed, "dim": self._dim}

    def footprint(self) -> Footprint:
        return store_footprint(
            self._written,
            self._extra_files(),
            self._meta(),
            num_params={_WEIGHTS: self._ffn.num_params},
            seeded_bytes=self._ffn.seeded_bytes,
            is_read=self.config.chunks > 0,
        )

    def _take(self, folder: Path, meta: Mapping[str, Any]) -> None:
        self._know(self._values, meta["dim"], self._encoder_hash)
        self._ffn.use((folder / _WEIGHTS).read_bytes())
