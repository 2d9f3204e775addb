"""Statements to read, found by their words: BM25 among those of the question's relation.

Words that the questions of a relation have in common are not searched.

Shape legend: N statements, Q questions, K statements a question.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from retrieval.chunks import npy_bytes
from retrieval.lexical_index import LexicalIndex, LexicalSpec
from retromem.memories.common_words import COMMON_WORDS, CommonWords
from retromem.seam import Facts, Queries

INDEX, TEXTS, IDS, STARTS = "lexical.npz", "statements.txt.zlib", "ids.npy", "relation_starts.npy"


class StatementStore:
    """Statements in the order of their relations, an index of their words, and the fact that each one states."""

    def __init__(
        self,
        texts: Sequence[str],
        ids_N: Int64[ndarray, " N"],
        starts_R: Int64[ndarray, " R"],
        common: CommonWords,
        index: LexicalIndex,
    ) -> None:
        """`starts_R`: where the statements of each relation begin, and where the last end."""
        self.texts, self.ids_N, self._starts_R, self._index = list(texts), ids_N, starts_R, index
        self._common = common

    @classmethod
    def of(cls, facts: Facts) -> Self:
        """The statements of these facts."""
        statements = facts.statements
        assert statements is not None and statements.texts is not None, "a memory that reads is given statements"
        order = np.argsort(statements.relation_ids_Q, kind="stable")
        texts = [statements.texts[row] for row in order.tolist()]
        relations = np.arange(len(facts.values.relations) + 1)
        starts_R = np.searchsorted(statements.relation_ids_Q[order], relations).astype(np.int64)
        return cls(texts, facts.ids_N[order], starts_R, CommonWords.of(facts), LexicalIndex.build(texts, LexicalSpec()))

    def search(self, queries: Queries, k: int) -> Int64[ndarray, "Q K"]:
        """The `k` best statements of each question's relation, best first; -1 where no more of them shares a word."""
        assert queries.texts is not None
        rows_QK = np.full((len(queries), k), -1, dtype=np.int64)
        for relation in np.unique(queries.relation_ids_Q).tolist() if k else ():
            asked = np.flatnonzero(queries.relation_ids_Q == relation)
            texts = [self._common.left_out(queries.texts[row], relation) for row in asked.tolist()]
            rows_QK[asked] = self._index.search(texts, k, self.window(relation))[0]
        return rows_QK

    def window(self, relation: int) -> range:
        """Where the statements of this relation stand."""
        return range(int(self._starts_R[relation]), int(self._starts_R[relation + 1]))

    def storage_files(self) -> dict[str, bytes]:
        """What an answer needs: the texts, which are read, and the index."""
        texts = zlib.compress("\n".join(text.replace("\n", " ") for text in self.texts).encode(), 9)
        return {
            INDEX: self._index.storage(),
            TEXTS: texts,
            STARTS: npy_bytes(self._starts_R),
            COMMON_WORDS: self._common.to_bytes(),
        }

    def maintain_files(self) -> dict[str, bytes]:
        """What a change of a fact needs beside it."""
        return {IDS: npy_bytes(self.ids_N)}

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """The store whose files lie there."""
        ids_N, starts_R = (np.load(folder / name, allow_pickle=False) for name in (IDS, STARTS))
        texts = zlib.decompress((folder / TEXTS).read_bytes()).decode().split("\n")
        common = CommonWords.from_bytes((folder / COMMON_WORDS).read_bytes())
        return cls(texts, ids_N, starts_R, common, LexicalIndex.from_storage((folder / INDEX).read_bytes()))
