"""The points of the panel on embedding dimensions."""

import numpy as np

from models.free_embeddings import FreeEmbeddingsConfig, critical_n
from retromem.panels.points import Point
from retromem.panels.retrieval.embedding_limits import CUBIC, FORMATS, TRAINED, EmbeddingLimitsConfig
from retromem.theory.limit_cubic import critical_documents
from retromem.theory.moment_curve import num_wrong_sets, smallest_margin

_TOP_K = 2


def embedding_limits_points(config: EmbeddingLimitsConfig, seed: int) -> list[Point]:
    """Trained and published numbers of documents by dimension; losses and gaps on the moment curve by documents."""
    points = []
    trainings = tuple((seed * config.trainings + number) % 2**63 for number in range(config.trainings))
    for dim in config.dims:
        most = critical_n(
            dim,
            top_k=_TOP_K,
            seeds=trainings,
            config=FreeEmbeddingsConfig(steps=config.steps),
            low=_TOP_K,
            high=40 + 4 * dim**2,
        )
        points.append(Point(quantity="documents", series=TRAINED, x=float(dim), y=float(most), seed=seed))
        # Below d = 3 the cubic is negative.
        points.append(Point(quantity="documents", series=CUBIC, x=float(dim), y=max(0.0, critical_documents(dim))))
    for num in config.num_documents:
        for name in FORMATS:
            wrong, sets = num_wrong_sets(num, _TOP_K, dtype=getattr(np, name))
            points.append(Point(quantity="share_of_pairs_lost", series=name, x=float(num), y=wrong / sets, seed=seed))
        points.append(
            Point(quantity="margin", series="moment curve", x=float(num), y=smallest_margin(num, _TOP_K), seed=seed)
        )
    return points
