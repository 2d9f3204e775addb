"""The points of the panel on facts that are hard to tell apart."""

from typing import TYPE_CHECKING

import numpy as np

from retrieval.errors import Refused
from retromem.measure.settings import MeasureConfig
from retromem.panels.panel_config import Encoded
from retromem.panels.points import Point
from retromem.panels.retrieval.rankers import ranker_of

if TYPE_CHECKING:
    from retromem.panels.retrieval.near_duplicate_recall import NearDuplicatesPanelConfig


def near_duplicates_points(config: "NearDuplicatesPanelConfig", encoded: Encoded, seed: int) -> list[Point]:
    """Of every crowd, size and ranker; an index that cannot be trained on so few facts has no point there."""
    points = []
    for series, parts in config.sets(seed).items():
        for part in map(encoded, parts):
            facts, asked = part.facts(), part.ask("heldout", num=MeasureConfig().max_reworded)
            for name in config.rankers:
                try:
                    ranker = ranker_of(name, facts.cues[0], 1)
                except Refused:
                    continue
                nearest_Q = ranker.search(asked.queries)[:, 0]
                is_own_Q = (facts.ids_N[nearest_Q] == asked.fact_ids_Q) & (nearest_Q >= 0)
                points.append(
                    Point(
                        quantity=f"recall_at_1, {name}",
                        series=series,
                        x=float(part.num_facts),
                        y=float(np.mean(is_own_Q)),
                        seed=seed,
                    )
                )
    return points
