"""What memories over a chunk store share: facts to chunks, and the ledger of a store with files beside it."""

import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from retrieval.chunk_store import ChunkStore
from retrieval.chunks import Chunks, EncoderId
from retrieval.errors import UserError
from retrieval.generations import current_name
from retrieval.payload import count_labels
from retrieval.vector_index import IndexSpec
from retromem.configuration import build
from retromem.knowledge.knowledge_set import value_file
from retromem.memories.saved import CALIBRATION, VALUES, load_calibration, load_values, of_one_generation, values_name
from retromem.seam import MAX_WORDINGS, Facts, Footprint, Holding, Part, Queries, Side, ValueTable


def load_faiss() -> None:
    """Import FAISS (and torch before it): seconds that are no part of writing, to be spent before a clock starts."""
    import retrieval._faiss  # noqa: F401


def build_store(
    facts: Facts,
    sources: list[Queries],
    spec: IndexSpec,
    *,
    with_values: bool,
    encoder_name: str | None = None,
    num_shards: int = 1,
) -> ChunkStore:
    """The chunks of some facts, and an index over them. `num_shards`: threads that build at once."""
    made_by = sources[0].encoder_hash
    encoder = EncoderId(name=encoder_name, revision=made_by) if made_by else None
    return ChunkStore.build(chunks_of(facts, sources, with_values=with_values), spec, encoder, num_shards=num_shards)


def chunks_of(facts: Facts, sources: list[Queries], *, with_values: bool) -> Chunks:
    """One chunk for each fact and source (its cues, or its statements), sorted by relation.

    The payload is the value within its relation, or nothing where the reader reads the value from the vector.
    """
    values = facts.values
    relation_ids = np.concatenate([source.relation_ids_Q for source in sources])
    order = np.argsort(relation_ids, kind="stable")
    assert len(sources) <= MAX_WORDINGS, "a chunk's id has no room for so many wordings"
    ids = np.concatenate([facts.ids_N | number for number in range(len(sources))])
    labels = np.tile(facts.value_ids_N, len(sources)) - np.asarray(values.starts)[relation_ids]
    texts = None if sources[0].texts is None else [text for source in sources for text in source.texts or ()]
    num_values = values.num_candidates_R().tolist()
    return Chunks(
        ids_N=ids[order],
        vectors_ND=np.ascontiguousarray(np.concatenate([source.key_vectors() for source in sources])[order]),
        labels_N=labels[order] if with_values else np.zeros(len(order), dtype=np.int64),
        groups_N=relation_ids[order],
        label_bits_G=label_bits(values) if with_values else [0] * len(values.relations),
        texts=None if texts is None else [texts[row] for row in order],
        named_labels_G=num_values if with_values else (),
        # How often each value occurs is given to every memory; all wordings have the same frequencies.
        label_counts_G=count_labels(labels, relation_ids, num_values) if with_values else None,
    )


def label_bits(values: ValueTable) -> list[int]:
    """Bits of a value's label, for each relation."""
    return [math.ceil(math.log2(max(1, count))) for count in values.num_candidates_R().tolist()]


def fact_ids_of_chunks(store: ChunkStore) -> Int64[ndarray, " N"]:
    """The fact that each chunk of `build_store` was made from, by position."""
    return store.ids_N & ~np.int64(MAX_WORDINGS - 1)


def checked_spec(spec: IndexSpec, dim: int) -> None:
    """UserError where FAISS does not know the index, before anything is run."""
    from retrieval.vector_index import VectorIndex

    VectorIndex(spec, dim)


def extra_files(values: ValueTable, calibration: bytes, *, values_name: str = VALUES) -> dict[str, bytes]:
    """What lies beside a store of facts: the value strings, and (T, eps)."""
    return {values_name: value_file(values), **({CALIBRATION: calibration} if calibration else {})}


def store_footprint(
    store: ChunkStore,
    files: Mapping[str, bytes],
    meta: Mapping[str, Any],
    *,
    num_params: Mapping[str, int] | None = None,
    seeded_bytes: int = 0,
    is_read: bool = True,
) -> Footprint:
    """The ledger of a store and of the files beside it, which count as storage.

    A store that is never read (no neighbours) is not needed to answer: then it is no storage.
    """
    params = num_params or {}
    holdings = [
        Holding(name=name, part=Part.STORAGE if is_read else Part.MAINTAIN, num_bytes=size)
        for name, size in store.file_bytes.items()
    ]
    holdings += [
        Holding(name=name, part=Part.MAINTAIN, num_bytes=len(content))
        for name, content in store.maintain_files().items()
    ]
    for name, content in files.items():
        part = Part.VALUE if current_name([name], VALUES) == name else Part.STORAGE
        count = params.get(name, 0)
        holdings.append(
            Holding(name=name, part=part, num_bytes=len(content), num_params=count, num_active_params=count)
        )
    manifest = store.manifest_bytes(extra_files=files, meta=meta)
    holdings.append(Holding(name="manifest.json", part=Part.MAINTAIN, num_bytes=len(manifest)))
    holdings.append(Holding(name="from a seed", part=Part.SEEDED, num_bytes=seeded_bytes + store.seeded_bytes))
    resident = store.resident_bytes + 4 * sum(params.values()) + seeded_bytes
    return Footprint(tuple(holdings), resident_bytes=resident)


def open_store(folder: Any, memory: str) -> tuple[ChunkStore, dict[str, Any]]:
    """A saved store and what its memory noted; UserError where another kind of memory saved it."""
    from retrieval.sealed_folder import read_manifest

    store = ChunkStore.open(folder)
    meta: dict[str, Any] = read_manifest(folder)["meta"]["extra"]
    if meta.get("memory") != memory:
        raise UserError(f"{folder}: holds a {meta.get('memory')!r} memory, not {memory!r}")
    return store, meta


class StoreMemory:
    """A memory over a chunk store, weighed, saved and loaded; how it is written and answers is each kind's own."""

    side: ClassVar[Side] = "retrieval"
    config_type: ClassVar[type[Any]]
    calibration: bytes = b""
    _values: ValueTable
    _values_name: str = VALUES
    _encoder_hash: str
    _store: ChunkStore | None = None

    def __init__(self, config: Any, *, seed: int = 0) -> None:
        self.config = config
        self.seed = seed

    @property
    def name(self) -> str:
        return str(self.config.name)

    @property
    def _written(self) -> ChunkStore:
        assert self._store is not None, "write or load before recall"
        return self._store

    @cached_property
    def _facts_N(self) -> Int64[ndarray, " N"]:
        return fact_ids_of_chunks(self._written)

    def _extra_files(self) -> dict[str, bytes]:
        return extra_files(self._values, self.calibration, values_name=self._values_name)

    def _meta(self) -> dict[str, object]:
        return {
            "memory": self.config.memory,
            "config": self.config.saved(),
            "encoder_hash": self._encoder_hash,
            "relations": self._values.relations,
            "starts": self._values.starts,
        }

    def footprint(self) -> Footprint:
        return store_footprint(self._written, self._extra_files(), self._meta())

    def save(self, folder: Path) -> None:
        self._written.save(folder, extra_files=self._extra_files(), meta=self._meta())

    @classmethod
    @of_one_generation
    def load(cls, folder: Path) -> Self:
        store, meta = open_store(folder, cls.config_type.memory)
        memory = cls(build(cls.config_type, meta["config"], source=str(folder)), seed=meta.get("seed", 0))
        memory._store, memory._encoder_hash = store, meta["encoder_hash"]
        memory._values, memory._values_name = load_values(folder, meta), values_name(folder)
        memory.calibration = load_calibration(folder)
        memory._take(folder, meta)
        return memory

    def _take(self, folder: Path, meta: Mapping[str, Any]) -> None:
        """What it has beside its store, from a saved folder."""
