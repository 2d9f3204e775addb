"""The points of the panel on the recall of indexes.

Shape legend: N facts, D dimensions, Q queries, K ranked answers.
"""

from typing import TYPE_CHECKING

from retrieval.errors import Refused
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.measure.robustness import with_key_noise
from retromem.measure.settings import MeasureConfig
from retromem.panels.points import Point
from retromem.panels.retrieval.index_recall import NOISES, RANKS
from retromem.panels.retrieval.rankers import ranker_of
from retromem.seam import Asked

if TYPE_CHECKING:
    from retromem.panels.retrieval.index_recall import IndexRecallConfig

_MOST_ASKED = MeasureConfig().max_reworded  # more are not encoded
_NOISY = "noise "


def index_recall_points(config: "IndexRecallConfig", knowledge: KnowledgeSet, seed: int) -> list[Point]:
    """Of every index and size; an index that cannot be trained on so few facts has no point there."""
    points = []
    for num_facts in config.num_facts:
        part = knowledge.prefix(num_facts)
        facts, asked_by_phrasing = part.facts(), _questions(part, seed)
        for name in config.indexes:
            try:
                ranker = ranker_of(name, facts.cues[0], max(RANKS))
            except Refused:
                continue
            size = ranker.num_bytes / num_facts
            points.append(Point(quantity="bytes_a_fact", series=name, x=float(num_facts), y=size, seed=seed))
            for phrasing, asked in asked_by_phrasing.items():
                if ranker.in_words and phrasing.startswith(_NOISY):
                    continue
                answers_QK = ranker.search(asked.queries)
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
        asked[f"{_NOISY}{noise:g}"] = with_key_noise(identical, noise, seed=seed)
    return {name: questions for name, questions in asked.items() if len(questions)}
