"""BM25 on LIMIT-small (Weller et al. 2025)."""

from functools import partial
from pathlib import Path

from retrieval.lexical_index import LexicalIndex, LexicalSpec
from retromem.knowledge.limit_small import limit_small
from retromem.reproduce.claim import Claim

_SPEC = LexicalSpec()


def recall_at_2(folder: Path) -> float:
    """Share of the relevant texts among the two best of their question."""
    data = limit_small(folder)
    positions_QK, _ = LexicalIndex.build(data.texts, _SPEC).search(data.questions, 2)
    return data.recall(positions_QK)


def claim_for(folder: Path) -> Claim:
    """The row, of the files in this folder; UserError where they are not there or are others."""
    limit_small(folder)
    return Claim(
        source="Weller et al. 2025",
        setting=f"BM25 on LIMIT-small: recall@2 ({_SPEC.method}, k1 = {_SPEC.k1:g}, b = {_SPEC.b:g}, words of "
        "letters or digits in lower case, no stop words, no stemming)",
        unit="of the relevant texts",
        published=0.978,
        band=(0.97, 1.0),
        measure=partial(recall_at_2, folder),
        seconds_expected=5.0,
    )
