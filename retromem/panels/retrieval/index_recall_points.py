"""The points of the panel on the recall of indexes.

Shape legend: Q queries, K ranked answers.
"""

from functools import partial

from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.measure.robustness import with_key_noise
from retromem.measure.settings import MeasureConfig
from retromem.panels.points import Point
from retromem.panels.retrieval.index_recall import NOISES, RANKS, IndexRecallConfig
from retromem.panels.retrieval.ranked_recall import own_fact_found, recall_at, trained_rankers
from retromem.seam import Asked

_MOST_ASKED = MeasureConfig().max_reworded  # more are not encoded


def index_recall_points(config: IndexRecallConfig, knowledge: KnowledgeSet, seed: int) -> list[Point]:
    """Of every index and size."""
    points = []
    for num_facts in config.num_facts:
        part = knowledge.prefix(num_facts)
        facts, worded = part.facts(), _questions(part)
        noisy = {f"noise {noise:g}": with_key_noise(worded["identical"], noise, seed=seed) for noise in NOISES}
        point = partial(Point, x=float(num_facts), seed=seed)
        for name, ranker in trained_rankers(config.indexes, facts.cues[0], max(RANKS)):
            size = ranker.num_bytes / num_facts
            points.append(point(quantity="bytes_a_fact", series=name, y=size))
            for phrasing, asked in (worded if ranker.in_words else worded | noisy).items():
                found_QK, labels = own_fact_found(ranker, facts, asked), {"asked": phrasing}
                for rank in RANKS:
                    recall = recall_at(rank, found_QK)
                    points.append(point(quantity=f"recall_at_{rank}", series=name, labels=labels, y=recall))
                if phrasing == "heldout" and num_facts == max(config.num_facts):
                    recall = recall_at(1, found_QK)
                    points.append(Point(quantity="recall_by_bytes", series=name, x=size, y=recall, seed=seed))
    return points


def _questions(part: KnowledgeSet) -> dict[str, Asked]:
    """By how they are asked; those of which there are none are left out."""
    asked = {phrasing: part.ask(phrasing, num=_MOST_ASKED) for phrasing in ("identical", *part.phrasings())}
    return {phrasing: questions for phrasing, questions in asked.items() if len(questions)}
