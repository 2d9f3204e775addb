"""BM25 on LIMIT-small (Weller et al. 2025)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from retrieval.lexical_index import LexicalIndex, LexicalSpec
from retromem.knowledge.limit_small import FILES, limit_small
from retromem.panels.published.published_panel import PublishedPanel


@dataclass(frozen=True, kw_only=True)
class LimitSmallWordsConfig(PublishedPanel):
    """Share of the relevant texts among the two best of their question, by BM25."""

    panel: Literal["limit_small_words"] = "limit_small_words"
    folder: str = ""
    """with `corpus.jsonl`, `queries.jsonl` and `qrels.jsonl`, as published (not ours to ship); left out where empty"""
    seeds: tuple[int, ...] = (0,)
    """nothing is drawn"""

    unit = "of the relevant texts"

    @property
    def setting(self) -> str:
        spec = LexicalSpec()
        return (
            f"BM25 on LIMIT-small: recall@2 ({spec.method}, k1 = {spec.k1:g}, b = {spec.b:g}, words of letters or "
            "digits in lower case, no stop words, no stemming)"
        )

    def files_read(self) -> Mapping[str, Sequence[Path]]:
        return {"folder": [Path(self.folder) / name for name in FILES]}

    def number(self, seed: int) -> float:
        data = limit_small(Path(self.folder))
        positions_QK, _ = LexicalIndex.build(data.texts, LexicalSpec()).search(data.questions, 2)
        return data.recall(positions_QK)
