"""The points of the panel on LIMIT-small."""

from retromem.panels.panel_config import Encoded, Vectors
from retromem.panels.points import Point
from retromem.panels.retrieval.limit_small_recall import RANKS, LimitSmallConfig
from retromem.panels.retrieval.ranked_recall import trained_rankers
from retromem.panels.retrieval.rankers import plain_queries


def limit_small_points(config: LimitSmallConfig, encoded: Encoded, seed: int) -> list[Point]:
    """Of every ranker and way to ask."""
    assert isinstance(encoded, Vectors), "these texts have no wording to be centred by"
    points = []
    for condition, data in config.conditions.items():
        stored = plain_queries(data.texts, encoded, is_document=True)
        queries = plain_queries(data.questions, encoded, is_document=False)
        for name, ranker in trained_rankers(config.rankers, stored, max(RANKS)):
            ranked_QK, labels = ranker.search(queries), {"asked": condition}
            for rank in RANKS:
                recall = data.recall(ranked_QK[:, :rank])
                points.append(Point(quantity=f"recall_at_{rank}", series=name, labels=labels, y=recall, seed=seed))
    return points
