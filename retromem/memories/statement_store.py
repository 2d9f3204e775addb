"""Statements to read, found by their words: BM25 among those of the question's relation.

Words that the written questions of a relation have in common say how it is asked and not of whom: they are not used,
as the mean of a wording is taken off its keys where questions are vectors.

Shape legend: N statements, Q questions, K statements a question.
"""

import json
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from retrieval.chunks import npy_bytes
from retrieval.lexical_index import LexicalIndex, LexicalSpec
from retrieval.words import search_words
from retromem.seam import Facts, Queries

INDEX, TEXTS, COMMON = "lexical.npz", "statements.txt.zlib", "common_words.json.zlib"
IDS, STARTS = "ids.npy", "relation_starts.npy"
_COMMON_SHARE = 0.05
"""of a relation's facts whose questions have a word in common: from .02 to .1 as good"""


class StatementStore:
    """Statements in the order of their relations, an index of their words, and the fact that each one states."""

    def __init__(
        self,
        texts: Sequence[str],
        ids_N: Int64[ndarray, " N"],
        starts_R: Int64[ndarray, " R"],
        common_R: Sequence[Sequence[str]],
        index: LexicalIndex,
    ) -> None:
        """`starts_R`: where the statements of each relation begin, and where the last end. `common_R`: of each
        relation the words that its questions have in common."""
        self.texts, self.ids_N, self._starts_R, self._index = list(texts), ids_N, starts_R, index
        self._common_R = [sorted(words) for words in common_R]

    @classmethod
    def of(cls, facts: Facts) -> Self:
        """The statements of these facts."""
        statements = facts.statements
        assert statements is not None and statements.texts is not None, "a memory that reads is given statements"
        order = np.argsort(statements.relation_ids_Q, kind="stable")
        texts = [statements.texts[row] for row in order.tolist()]
        relations = np.arange(len(facts.values.relations) + 1)
        starts_R = np.searchsorted(statements.relation_ids_Q[order], relations).astype(np.int64)
        common_R = [_common_words(facts, relation) for relation in relations[:-1].tolist()]
        return cls(texts, facts.ids_N[order], starts_R, common_R, LexicalIndex.build(texts, LexicalSpec()))

    def search(self, queries: Queries, k: int) -> Int64[ndarray, "Q K"]:
        """The `k` best statements of each question's relation, best first; -1 where no more of them shares a word."""
        assert queries.texts is not None
        rows_QK = np.full((len(queries), k), -1, dtype=np.int64)
        for relation in np.unique(queries.relation_ids_Q).tolist() if k else ():
            asked = np.flatnonzero(queries.relation_ids_Q == relation)
            common = set(self._common_R[relation])
            texts = [_without(common, queries.texts[row]) for row in asked.tolist()]
            rows_QK[asked] = self._index.search(texts, k, self.window(relation))[0]
        return rows_QK

    def window(self, relation: int) -> range:
        """Where the statements of this relation stand."""
        return range(int(self._starts_R[relation]), int(self._starts_R[relation + 1]))

    def storage_files(self) -> dict[str, bytes]:
        """What an answer needs: the texts, which are read, and the index."""
        texts = zlib.compress("\n".join(text.replace("\n", " ") for text in self.texts).encode(), 9)
        common = zlib.compress(json.dumps(self._common_R).encode(), 9)
        return {INDEX: self._index.storage(), TEXTS: texts, STARTS: npy_bytes(self._starts_R), COMMON: common}

    def maintain_files(self) -> dict[str, bytes]:
        """What a change of a fact needs beside it."""
        return {IDS: npy_bytes(self.ids_N)}

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """The store whose files lie there."""
        ids_N, starts_R = (np.load(folder / name, allow_pickle=False) for name in (IDS, STARTS))
        texts = zlib.decompress((folder / TEXTS).read_bytes()).decode().split("\n")
        common_R = json.loads(zlib.decompress((folder / COMMON).read_bytes()))
        return cls(texts, ids_N, starts_R, common_R, LexicalIndex.from_storage((folder / INDEX).read_bytes()))


def _common_words(facts: Facts, relation: int) -> list[str]:
    """Of the written questions of a relation: those of more facts than share a name by chance."""
    rows = np.flatnonzero(facts.cues[0].relation_ids_Q == relation).tolist()
    of_facts = ({word for cue in facts.cues for word in search_words((cue.texts or ())[row])} for row in rows)
    counts = Counter(word for words in of_facts for word in words)
    most = max(2, _COMMON_SHARE * len(rows))
    return [word for word, count in counts.items() if count > most]


def _without(common: set[str], text: str) -> str:
    return " ".join(word for word in search_words(text) if word not in common)
