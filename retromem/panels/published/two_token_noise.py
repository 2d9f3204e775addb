"""Linsefors and Bushnaq 2026: the weight noise that a network of two-token keys bears, trained or constructed."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.ffn import FFN
from retromem.measure.trained_ffn import KeyTable, perturbed_accuracy
from retromem.panels.published.published_panel import PublishedPanel
from retromem.panels.published.two_token_keys import constructed, pair_table, trained

_LEVELS_A_DECADE = 20


def sigma90(ffn: FFN, table: KeyTable) -> float:
    """Relative weight noise at which the accuracy falls below .9, mean of 20 trials a level, 20 levels a decade.

    Bisected over the levels: the same draws of noise, only longer, at each. inf where the last level is borne.
    """
    levels = np.geomspace(1e-6, 1, 6 * _LEVELS_A_DECADE + 1)
    low, high = -1, len(levels)
    while high - low > 1:
        middle = (low + high) // 2
        borne = perturbed_accuracy(ffn, table, float(levels[middle]), trials=20, seed=0) >= 0.9
        low, high = (middle, high) if borne else (low, middle)
    return float(levels[high]) if high < len(levels) else math.inf


@dataclass(frozen=True, kw_only=True)
class TwoTokenNoiseConfig(PublishedPanel):
    """sigma90 of a network that stores all the facts."""

    panel: Literal["two_token_noise"] = "two_token_noise"
    dim: int = 32
    """d: hidden units and labels"""
    facts: int = 2080
    """stored"""
    weights: Literal["trained", "constructed"] = "trained"
    """by Adam, or by the two-sided construction"""
    seeds: tuple[int, ...] = (0,)
    """of first weights"""

    unit = "relative weight noise"

    @property
    def searched_to(self) -> float:
        return float(10 ** (1 / _LEVELS_A_DECADE) - 1)

    @property
    def setting(self) -> str:
        network = "trained network" if self.weights == "trained" else "two-sided construction"
        return f"sigma90 of the {network}, d = {self.dim}, {self.facts:,} facts"

    def number(self, seed: int) -> float:
        of_weights = trained if self.weights == "trained" else constructed
        return sigma90(of_weights(self.dim, self.facts, seed=seed), pair_table(self.dim, self.facts))
