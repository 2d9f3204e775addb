"""The points of the panel on the recall of indexes."""

from typing import TYPE_CHECKING

import numpy as np

from retrieval.errors import Refused
from retrieval.vector_index import VectorIndex
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.measure.robustness import with_key_noise
from retromem.panels.retrieval.index_recall import NOISES, RANKS, spec_of
from retromem.points import Point
from retromem.seam import Asked

if TYPE_CHECKING:
    from retromem.panels.retrieval.index_recall import IndexRecallConfig

_MOST_ASKED = 2000


def index_recall_points(config: "IndexRecallConfig", knowledge: KnowledgeSet, seed: int) -> list[Point]:
    """Of every index and size; an index that cannot be trained on so few facts has no point there."""
    points = []
    for num_facts in config.num_facts:
        part = knowledge.prefix(num_facts)
        facts = part.facts()
        vectors_ND = np.ascontiguousarray(facts.cues[0].key_vectors())
        for name in config.indexes:
            index = VectorIndex(spec_of(name), vectors_ND.shape[1])
            try:
                index.add(vectors_ND)
            except Refused:
                continue
            size = len(index.storage()) / num_facts
            points.append(Point(quantity="bytes_a_fact", series=name, x=float(num_facts), y=size, seed=seed))
            for phrasing, asked in _questions(part, seed).items():
                answers_QK = index.search(asked.queries.key_vectors(), max(RANKS))[0]
                is_own_QK = (facts.ids_N[answers_QK] == asked.fact_ids_Q[:, None]) & (answers_QK >= 0)
                for rank in RANKS:
                    recall = float(is_own_QK[:, :rank].any(axis=1).mean())
                    quantity = f"recall_at_{rank}, {phrasing}"
                    points.append(Point(quantity=quantity, series=name, x=float(num_facts), y=recall, seed=seed))
                    if rank == 1 and phrasing == "heldout" and num_facts == max(config.num_facts):
                        points.append(Point(quantity="recall_by_bytes", series=name, x=size, y=recall, seed=seed))
    return points


def _questions(part: KnowledgeSet, seed: int) -> dict[str, Asked]:
    """By how they are asked; those of which there are none are left out."""
    identical = part.ask("identical", num=_MOST_ASKED)
    asked: dict[str, Asked] = {"identical": identical}
    for phrasing in part.phrasings():
        if phrasing != "identical":
            asked[phrasing] = part.ask(phrasing, num=_MOST_ASKED)
    for noise in NOISES:
        asked[f"noise {noise:g}"] = with_key_noise(identical, noise, seed=seed)
    return {name: questions for name, questions in asked.items() if len(questions)}
