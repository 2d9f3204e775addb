"""The published fit of how many documents free embeddings can tell apart (Weller et al. 2025, k = 2)."""


def critical_documents(dim: int) -> float:
    """The cubic through their critical numbers of documents, r^2 = .999; it was fitted to free embeddings that were
    trained by one optimiser in float32, and is no bound of geometry."""
    return -10.5322 + 4.0309 * dim + 0.0520 * dim**2 + 0.0037 * dim**3
