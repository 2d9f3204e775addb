"""The statements of facts hidden in documents, among sentences that answer nothing.

Distractors are statements about invented people, in as many wordings as there are: as long as the facts, and about
something else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retromem.knowledge.biographies import BiographiesConfig, biographies_set
from retromem.knowledge.knowledge_set import KnowledgeSet

_ATTRIBUTES = 6  # of each invented person


@dataclass(frozen=True, kw_only=True)
class HiddenFacts:
    """Documents, and where in them each fact is stated."""

    documents: tuple[str, ...]
    spans_N: tuple[tuple[int, int, int], ...]
    """document, start and end of the statement of each fact, in the order of the set"""


def hide(knowledge: KnowledgeSet, *, facts_per_document: int, distractors_per_fact: int, seed: int) -> HiddenFacts:
    """The facts of a text set, in their order, so many a document; sentences within a document are shuffled."""
    statements = knowledge.facts(statements=True).statements
    assert statements is not None and statements.texts is not None, "facts without words can be hidden in no text"
    texts = statements.texts
    rng = np.random.default_rng([seed, 0x41DE])
    about_others = iter(_distractors(len(texts) * distractors_per_fact, seed))
    documents, spans = [], {}
    for number, first in enumerate(range(0, len(texts), facts_per_document)):
        facts = range(first, min(first + facts_per_document, len(texts)))
        lines = [(fact, texts[fact]) for fact in facts]
        lines += [(-1, next(about_others)) for _ in range(len(facts) * distractors_per_fact)]
        place, parts = 0, []
        for row in rng.permutation(len(lines)).tolist():
            fact, text = lines[row]
            if fact >= 0:
                spans[fact] = (number, place, place + len(text))
            parts.append(text)
            place += len(text) + 1
        documents.append(" ".join(parts))
    return HiddenFacts(documents=tuple(documents), spans_N=tuple(spans[fact] for fact in range(len(texts))))


def _distractors(num: int, seed: int) -> Sequence[str]:
    if num == 0:
        return ()
    people = biographies_set(BiographiesConfig(num_people=-(-num // _ATTRIBUTES), seed=seed + 1))
    statements = people.facts(statements=True).statements
    assert statements is not None and statements.texts is not None
    return statements.texts[:num]
