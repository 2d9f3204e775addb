"""The points of the panel on facts that are hard to tell apart."""

from functools import partial

from retromem.measure.settings import MeasureConfig
from retromem.panels.panel_config import Encoded
from retromem.panels.points import Point
from retromem.panels.retrieval.near_duplicate_recall import NearDuplicatesPanelConfig
from retromem.panels.retrieval.ranked_recall import own_fact_found, recall_at, trained_rankers


def near_duplicates_points(config: NearDuplicatesPanelConfig, encoded: Encoded, seed: int) -> list[Point]:
    """Of every crowd, size and ranker."""
    points = []
    for series, parts in config.sets(seed).items():
        for part in map(encoded, parts):
            facts, asked = part.facts(), part.ask("heldout", num=MeasureConfig().max_reworded)
            point = partial(Point, quantity="recall_at_1", series=series, x=float(part.num_facts), seed=seed)
            for name, ranker in trained_rankers(config.rankers, facts.cues[0], 1):
                recall = recall_at(1, own_fact_found(ranker, facts, asked))
                points.append(point(labels={"ranker": name}, y=recall))
    return points
