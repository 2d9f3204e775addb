"""Words that the written questions of a relation have in common: they say how it is asked, and not of whom.

A search by words that leaves them out is what taking the mean of a wording off its keys is where questions are vectors.
"""

import json
import zlib
from collections import Counter
from typing import Self

import numpy as np

from retrieval.words import search_words
from retromem.seam import Facts

COMMON_WORDS = "common_words.json.zlib"
"""the file of what is stored"""
_SHARE = 0.05
"""of a relation's facts whose questions have a word in common: from .02 to .1 as good"""
_BY_CHANCE = 2
"""facts that may share a name"""


class CommonWords:
    """Of each relation."""

    def __init__(self, words_R: list[list[str]]) -> None:
        self._words_R = [frozenset(words) for words in words_R]

    @classmethod
    def of(cls, facts: Facts) -> Self:
        """Those in the written questions of more facts than share a name by chance."""
        found = []
        for relation in range(len(facts.values.relations)):
            rows = np.flatnonzero(facts.cues[0].relation_ids_Q == relation).tolist()
            of_facts = ({word for cue in facts.cues for word in search_words((cue.texts or ())[row])} for row in rows)
            counts = Counter(word for words in of_facts for word in words)
            most = max(_BY_CHANCE, _SHARE * len(rows))
            found.append([word for word, count in counts.items() if count > most])
        return cls(found)

    def left_out(self, text: str, relation: int) -> str:
        """The words of a question that tell its subject."""
        return " ".join(word for word in search_words(text) if word not in self._words_R[relation])

    def to_bytes(self) -> bytes:
        """As they are stored."""
        return zlib.compress(json.dumps([sorted(words) for words in self._words_R]).encode(), 9)

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """What `to_bytes` gave."""
        return cls(json.loads(zlib.decompress(stored)))
