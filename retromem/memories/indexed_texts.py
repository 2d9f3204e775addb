"""Whose texts an index holds: the questions that weights learn (question index), or statements with the value."""

from dataclasses import dataclass
from typing import Literal

from retrieval.errors import Refused
from retromem.memories.named_config import NamedConfig
from retromem.seam import Facts, Queries, Stores


@dataclass(frozen=True, kw_only=True)
class IndexedTexts(NamedConfig):
    """What the configs of such memories have in common."""

    memory: str
    key_by: Literal["question", "statement"] = "question"
    """whose texts are stored. question: the write cues, payload the value (question index). statement: texts that
    hold the value, as RAG (statement index)"""

    @property
    def family(self) -> str:
        """`faiss-q`, `faiss-s`."""
        return f"{self.memory}-{self.key_by[0]}"

    @property
    def stores(self) -> Stores:
        return "questions" if self.key_by == "question" else "statements"

    def sources(self, facts: Facts, *, in_words: bool = False) -> list[Queries]:
        """Of the facts the cues or the statements. Refused where they are to be `in_words`, and are vectors alone."""
        sources = list(facts.cues)
        if self.key_by == "statement":
            assert facts.statements is not None, "this set has no statements, or they were not asked for"
            sources = [facts.statements]
        if in_words and sources[0].texts is None:
            raise Refused(f"{self.name} needs texts, and these facts are vectors alone")
        return sources
