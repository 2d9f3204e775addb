"""Facts in a lexical index: a question finds the text with which it shares the rarest words. No encoder, no vector.

Shape legend: N chunks, Q queries, B block, M candidates of a relation.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from retrieval.chunks import npy_bytes
from retrieval.lexical_index import LexicalIndex, LexicalSpec
from retrieval.payload import (
    LabelCounts,
    Payload,
    count_labels,
    noted_payload,
    pack_payload,
    payload_note,
    unpack_payload,
)
from retromem.memories.chunk_votes import recall_by_votes
from retromem.memories.common_words import COMMON_WORDS, CommonWords
from retromem.memories.indexed_texts import IndexedTexts
from retromem.memories.saved import FiledMemory, SavedFiles
from retromem.memories.store_memory import label_bits
from retromem.memories.untrained_cost import untrained_cost
from retromem.seam import MAX_WORDINGS, Facts, Footprint, Part, Queries, Recall, Side, ValueTable, WriteCost

_INDEX, _PAYLOAD, _IDS, _TEXTS = "lexical.npz", "payload.bin", "ids.npy", "texts.txt"


@dataclass(frozen=True, kw_only=True)
class LexicalMemoryConfig(IndexedTexts):
    """BM25 over the questions (question index) or the statements (statement index)."""

    version: ClassVar[int] = 4
    memory: Literal["bm25"] = "bm25"
    method: Literal["lucene", "robertson", "atire"] = "lucene"
    """which of the formulas called BM25"""
    k1: float = 1.5
    """how soon a repeated word adds no more"""
    b: float = 0.75
    """how much longer texts are discounted"""
    common_words: Literal["searched", "left_out"] = "searched"
    """words that the written questions of a relation have in common: searched as all others, or left out of a question,
    so that what is left tells its subject"""

    def __post_init__(self) -> None:
        _ = self.spec  # which refuses dials out of their range

    @property
    def spec(self) -> LexicalSpec:
        return LexicalSpec(method=self.method, k1=self.k1, b=self.b)

    def named(self, setting: str | None = None) -> str:
        names = "-names" if self.common_words == "left_out" else ""
        return self.family + self.spec.label.removeprefix("bm25") + names

    def build(self, *, seed: int) -> "LexicalMemory":
        return LexicalMemory(self)


class LexicalMemory(FiledMemory):
    """The best chunk of the question's relation speaks for its value; a question that shares no word gets no answer."""

    side: ClassVar[Side] = "retrieval"
    kind: ClassVar[str] = "lexical"

    def __init__(self, config: LexicalMemoryConfig) -> None:
        self.config = config
        self._index: LexicalIndex | None = None
        self._counts_R: LabelCounts | None = None
        self._common: CommonWords | None = None

    def write(self, facts: Facts) -> WriteCost:
        """Index the texts. Refused for facts without any."""
        assert self._index is None, "a memory is written once"
        start = time.perf_counter()
        sources = self.config.sources(facts, in_words=True)
        texts = [text for source in sources for text in source.texts or ()]
        relation_ids = np.concatenate([source.relation_ids_Q for source in sources])
        order = np.argsort(relation_ids, kind="stable")
        ids = np.concatenate([facts.ids_N | number for number in range(len(sources))])
        labels = np.tile(facts.value_ids_N, len(sources)) - np.asarray(facts.values.starts)[relation_ids]
        self._values, self._texts = facts.values, [texts[row] for row in order]
        self._know(labels[order], relation_ids[order], ids[order])
        self._counts_R = count_labels(labels, relation_ids, self._values.num_candidates_R().tolist())
        self._index = LexicalIndex.build(self._texts, self.config.spec)
        if self.config.common_words == "left_out":
            self._common = CommonWords.of(facts)
        return untrained_cost(start, texts_encoded=0, exposures=float(len(sources)))

    def _know(self, labels_N: ndarray, groups_N: ndarray, ids_N: ndarray) -> None:
        self._labels_N, self._groups_N, self._ids_N = labels_N, groups_N, ids_N
        self._starts = np.searchsorted(groups_N, np.arange(len(self._values.relations) + 1))

    def recall(self, queries: Queries, *, top_k: int = 10, score: Int64[ndarray, "Q C"] | None = None) -> Recall:
        index, texts, common = self._index, queries.texts, self._common
        assert index is not None, "write or load before recall"
        assert texts is not None, "a lexical index is asked in words"

        def search(relation: int, rows: Int64[ndarray, " B"]) -> tuple[Int64[ndarray, "B 1"], Float32[ndarray, "B 1"]]:
            window = range(int(self._starts[relation]), int(self._starts[relation + 1]))
            asked = [texts[row] for row in rows.tolist()]
            if common is not None:
                asked = [common.left_out(text, relation) for text in asked]
            return index.search(asked, 1, window)

        return recall_by_votes(
            queries,
            self._values,
            search,
            labels_N=self._labels_N,
            facts_N=self._ids_N & ~np.int64(MAX_WORDINGS - 1),
            temperature=1.0,
            top_k=top_k,
            score=score,
        )

    def _saved_files(self) -> SavedFiles:
        assert self._index is not None
        bits_R, counts_R = label_bits(self._values), self._counts_R
        payload = pack_payload(self._labels_N, self._groups_N, bits_R, counts_R)
        meta = {"config": self.config.saved(), **payload_note(payload, counts_R)}
        files = SavedFiles(self.kind, meta, self._values, self.calibration)
        files.add(_INDEX, Part.STORAGE, self._index.storage())
        files.add(_PAYLOAD, Part.STORAGE, payload.content)
        if self._common is not None:
            files.add(COMMON_WORDS, Part.STORAGE, self._common.to_bytes())
        files.add(_IDS, Part.MAINTAIN, npy_bytes(self._ids_N))
        files.add(_TEXTS, Part.MAINTAIN, "\n".join(text.replace("\n", " ") for text in self._texts).encode())
        return files

    def footprint(self) -> Footprint:
        assert self._index is not None
        return self._saved_files().footprint(resident_bytes=self._index.resident_bytes + self._labels_N.nbytes)

    @classmethod
    def _loaded(cls, folder: Path, meta: Mapping[str, Any], values: ValueTable) -> Self:
        memory = cls(LexicalMemoryConfig(**meta["config"]))
        memory._values = values
        ids_N = np.load(folder / _IDS, allow_pickle=False)
        is_coded, memory._counts_R = noted_payload(meta)
        payload = Payload((folder / _PAYLOAD).read_bytes(), is_coded)
        labels_N, groups_N = unpack_payload(payload, len(ids_N), label_bits(memory._values), memory._counts_R)
        memory._know(labels_N, groups_N, ids_N)
        memory._texts = (folder / _TEXTS).read_bytes().decode().split("\n")  # `read_text` would end lines at \r too
        memory._index = LexicalIndex.from_storage((folder / _INDEX).read_bytes())
        if memory.config.common_words == "left_out":
            memory._common = CommonWords.from_bytes((folder / COMMON_WORDS).read_bytes())
        return memory
