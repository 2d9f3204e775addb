"""Linsefors and Bushnaq 2026: the most facts of two-token keys that a ReLU network answers without an error."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from retromem.measure.capacity import search_capacity
from retromem.measure.settings import CapacitySearch
from retromem.measure.trained_ffn import accuracy
from retromem.panels.published.published_panel import PublishedPanel, of_seeds
from retromem.panels.published.two_token_keys import constructed, pair_table, trained

_BELOW, _ABOVE, _LOWEST = 0.9, 1.05, 0.95
"""shares of the expected number: where a search begins and ends, and how far down a long one goes"""


@dataclass(frozen=True, kw_only=True)
class TwoTokenFactsConfig(PublishedPanel):
    """Facts at accuracy 1, best of some first weights, which is how they were counted."""

    panel: Literal["two_token_facts"] = "two_token_facts"
    dim: int = 16
    """d: hidden units and labels"""
    weights: Literal["trained", "constructed"] = "trained"
    """by Adam, or by the two-sided construction"""
    expected: int
    """facts, from a tenth below which to a twentieth above is searched"""
    tries: int = 3
    """first weights, of which the best count"""
    downwards: bool = False
    """ask the expected number first, and fewer only where it fails: one training of 25,088 facts takes long"""
    resolution: float = 0.0125
    """of the search, relative"""
    seeds: tuple[int, ...] = (0,)
    """of the first of the first weights"""

    unit = "facts"

    @property
    def setting(self) -> str:
        how = "trained, 5,000 full-batch steps" if self.weights == "trained" else "two-sided construction"
        searched = "the published number first, then fewer" if self.downwards else "searched up to a twentieth more"
        return (
            f"{how}, d = {self.dim}, {5 * self.dim**2:,} parameters, accuracy 1, best of {of_seeds(self.tries)}; "
            f"{searched}"
        )

    def number(self, seed: int) -> float:
        of_weights = trained if self.weights == "trained" else constructed

        def reaches(num_facts: int) -> bool:
            table, first_weights = pair_table(self.dim, num_facts), range(seed, seed + self.tries)
            return any(accuracy(of_weights(self.dim, num_facts, seed=own), table) == 1 for own in first_weights)

        return self._downwards(reaches) if self.downwards else self._around(reaches)

    def _around(self, reaches: Callable[[int], bool]) -> int:
        low, high = int(_BELOW * self.expected), int(_ABOVE * self.expected)
        search = CapacitySearch(accuracy=1.0, low=low, high=high, resolution=self.resolution)
        return int(search_capacity(reaches, search, num_available=high).num_facts)

    def _downwards(self, reaches: Callable[[int], bool]) -> int:
        """The expected number where it is stored, or the first of those below it, down to a twentieth; else 0."""
        for share in np.arange(1.0, _LOWEST - 1e-9, -self.resolution):
            num_facts = math.ceil(float(share) * self.expected)
            if reaches(num_facts):
                return num_facts
        return 0
