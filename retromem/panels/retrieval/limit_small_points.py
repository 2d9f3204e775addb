"""The points of the panel on LIMIT-small."""

from typing import TYPE_CHECKING

from retrieval.errors import Refused
from retromem.panels.panel_config import Encoded, Vectors
from retromem.panels.points import Point
from retromem.panels.retrieval.rankers import plain_queries, ranker_of

if TYPE_CHECKING:
    from retromem.panels.retrieval.limit_small_recall import LimitSmallConfig

_RANKED = 10


def limit_small_points(config: "LimitSmallConfig", encoded: Encoded, seed: int) -> list[Point]:
    """Of every ranker and way to ask; an index that cannot be trained on 46 texts has no point."""
    assert isinstance(encoded, Vectors), "these texts have no wording to be centred by"
    points = []
    for condition, data in config.conditions.items():
        stored = plain_queries(data.texts, encoded, is_document=True)
        queries = plain_queries(data.questions, encoded, is_document=False)
        for name in config.rankers:
            try:
                ranked_QK = ranker_of(name, stored, _RANKED).search(queries)
            except Refused:
                continue
            points += [
                Point(
                    quantity=f"recall_at_{number}, {name}",
                    series=condition,
                    y=data.recall(ranked_QK[:, :number]),
                    seed=seed,
                )
                for number in (2, _RANKED)
            ]
    return points
