"""Weller et al. 2025 (LIMIT): how many documents free embeddings can rank in every combination."""

from functools import partial

from models.free_embeddings import FreeEmbeddingsConfig, critical_n
from retromem.reproduce.claim import Claim, Tier
from retromem.theory.limit_cubic import critical_documents

_SEEDS = tuple(range(8))


def critical_documents_of(dim: int, low: int, high: int) -> float:
    """By training, from `low` documents on, which are few enough to be answered."""
    return float(critical_n(dim, top_k=2, seeds=_SEEDS, config=FreeEmbeddingsConfig(), low=low, high=high))


def _claim(
    dim: int, source: str, published: float, band: tuple[float, float], *, tier: Tier, seconds_expected: float
) -> Claim:
    return Claim(
        source=source,
        setting=f"LIMIT, free embeddings, d = {dim}, k = 2: most documents that at least half of 8 seeds solve",
        unit="documents",
        published=published,
        band=band,
        # Sizes are whole numbers: one by one is as fine as they come.
        measure=partial(critical_documents_of, dim, int(0.7 * published), int(1.5 * published)),
        tier=tier,
        seconds_expected=seconds_expected,
    )


CLAIMS = [
    # Below d = 8 the published cubic is no guide (6.7 at d = 4).
    _claim(4, "independent trial", 9.5, (9.0, 10.0), tier="quick", seconds_expected=60.0),
    _claim(8, "Weller et al. 2025", round(critical_documents(8), 1), (24.0, 30.0), tier="full", seconds_expected=120.0),
]
