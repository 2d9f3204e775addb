"""How recall@1 against exact search falls as a store grows, from a few nested samples of it.

    logit(share of misses at N) = level + slope * log2(N)

A sample's own slope is uncertain where it missed few, so it is weighed against what was found on other sets.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Median and deviation of the slopes of 12 codes over 6,000 cities and over 5,000 facts of generated biographies, from a
# quarter of the facts to all of them (docs/log.md).
PRIOR_SLOPE, PRIOR_SPREAD = 0.35, 0.2


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """Recall of one index over a sample of the store."""

    num_vectors: int
    asked: int
    found: int

    @property
    def logit(self) -> float:
        """Of the share of misses; half a miss and half a hit are added, so that none is infinite."""
        return math.log((self.asked - self.found + 0.5) / (self.found + 0.5))

    @property
    def variance(self) -> float:
        """Of the logit."""
        return 1 / (self.asked - self.found + 0.5) + 1 / (self.found + 0.5)


def slope_of(samples: Sequence[Sampled]) -> float:
    """Weighed least squares over the samples, drawn to the prior where they say little."""
    sizes = np.log2([sample.num_vectors for sample in samples])
    logits = np.array([sample.logit for sample in samples])
    weights = np.array([1 / sample.variance for sample in samples])
    centre = float(np.average(sizes, weights=weights))
    spread = float(weights @ (sizes - centre) ** 2)
    own = float(weights @ ((sizes - centre) * logits)) / spread if spread else 0.0
    precision, prior_precision = spread, 1 / PRIOR_SPREAD**2
    return (own * precision + PRIOR_SLOPE * prior_precision) / (precision + prior_precision)


def recall_at(num_vectors: int, samples: Sequence[Sampled]) -> float:
    """Recall expected among so many; that of the largest sample itself where it is the whole store."""
    largest = max(samples, key=lambda sample: sample.num_vectors)
    doublings = math.log2(num_vectors / largest.num_vectors)
    if doublings <= 0:
        return largest.found / largest.asked
    logit = largest.logit + slope_of(samples) * doublings
    return 1 / (1 + math.exp(logit))
