"""What ranks stored questions, or texts, by their names: factory strings, with a rotation or without; bm25; hybrid.

Shape legend: N facts, D dimensions, Q queries, K ranked answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from retrieval.lexical_index import LexicalIndex, LexicalSpec
from retrieval.rank_fusion import reciprocal_rank_fusion
from retrieval.vector_index import IndexSpec, VectorIndex
from retromem.panels.panel_config import Vectors
from retromem.seam import Queries

LEXICAL, HYBRID = "bm25", "hybrid"
"""stand among the names of indexes: BM25 over the words, and its ranking fused with that of Flat by rank"""
_FUSED = 100
"""places of each ranking that are fused, as the memory does it"""


def spec_of(name: str) -> IndexSpec:
    """`rot64-LSH` or a factory string alone, as `IndexSpec.label` writes it."""
    rotated, dash, factory = name.partition("-")
    if dash and rotated.startswith("rot") and rotated[3:].isdecimal():
        return IndexSpec(factory=factory, rotate_to=int(rotated[3:]))
    return IndexSpec(factory=name)


def vectors_and_words(names: Sequence[str]) -> list[str]:
    """Of rankers the two that sentences set side by side: the first that ranks by vectors, and BM25; those that there
    are where there are others alone."""
    by_vectors = [name for name in names if name not in (LEXICAL, HYBRID)]
    return [*by_vectors[:1], *(name for name in names if name == LEXICAL)] or list(names)


def specs_among(names: Sequence[str], dim: int) -> list[tuple[IndexSpec, int]]:
    """The indexes among rankers, over vectors of so many dimensions."""
    return [(spec_of(name), dim) for name in names if name not in (LEXICAL, HYBRID)]


@dataclass(frozen=True)
class Ranker:
    """Something that ranks the stored questions."""

    num_bytes: int
    in_words: bool
    """whether it reads words too: noise on the key alone would not be a noisy question then"""
    search: Callable[[Queries], Int64[ndarray, "Q K"]]


def ranker_of(name: str, cue: Queries, top: int) -> Ranker:
    """The `top` nearest of the stored questions; Refused for an index that cannot be trained on so few."""
    if name == LEXICAL:
        lexical = LexicalIndex.build(cue.texts or (), LexicalSpec())
        return Ranker(len(lexical.storage()), True, lambda queries: lexical.search(queries.texts or (), top)[0])
    if name == HYBRID:
        halves = [ranker_of("Flat", cue, _FUSED), ranker_of(LEXICAL, cue, _FUSED)]
        return Ranker(
            sum(half.num_bytes for half in halves),
            True,
            lambda queries: reciprocal_rank_fusion([half.search(queries) for half in halves], top)[0],
        )
    vectors_ND = np.ascontiguousarray(cue.key_vectors())
    index = VectorIndex(spec_of(name), vectors_ND.shape[1])
    index.add(vectors_ND)
    return Ranker(index.storage_bytes, False, lambda queries: index.search(queries.key_vectors(), top)[0])


def plain_queries(texts: Sequence[str], encoded: Vectors, *, is_document: bool) -> Queries:
    """Texts of no wording with the vectors that the encoder gives them."""
    return Queries(
        texts=texts,
        keys_QD=encoded.vectors(texts, is_document=is_document),
        relation_ids_Q=np.zeros(len(texts), dtype=np.int64),
        encoder_hash="plain",
    )
