"""Willshaw, Buneman and Longuet-Higgins 1969: a binary matrix that is half on, and ln 2 bits a synapse in the limit.

With 4,096 units it holds .54 of these .69. What there should be at this size follows, without a free number, from the
chance of a false unit (`retromem.theory.willshaw_capacity`).

Shape legend: P patterns, B asked, F cue units, U target units, K active units of a cue, L of a target.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from models.closed_form.willshaw_matrix import fired_units, willshaw_memory
from retromem.measure.trained_ffn import most_facts
from retromem.panels.published.published_panel import PublishedPanel, of_seeds
from retromem.theory.willshaw_capacity import bits_a_synapse, most_patterns

Counted = Literal["ones", "bits"]


def random_patterns(num_patterns: int, units: int, active: int, generator: torch.Generator) -> Tensor:
    """(P, K) active units: of each pattern K different ones, all sets equally likely."""
    drawn_PK = torch.randint(units, (num_patterns, active), generator=generator)
    while True:
        sorted_PK = drawn_PK.sort(dim=1).values
        again_P = (sorted_PK[:, 1:] == sorted_PK[:, :-1]).any(dim=1)
        if not again_P.any():
            return drawn_PK
        drawn_PK[again_P] = torch.randint(units, (int(again_P.sum()), active), generator=generator)


def false_units_fired(cues_PK: Tensor, targets_PL: Tensor, units: int, num_asked: int) -> float:
    """Units that fire for the first cues though they are none of their target, mean of so many; none may be missed."""
    w_FU = willshaw_memory(cues_PK, targets_PL, cue_units=units, target_units=units)
    fired_BU = fired_units(w_FU, cues_PK[:num_asked])
    assert fired_BU.gather(1, targets_PL[:num_asked]).all(), "a unit of a stored target did not fire"
    return float(fired_BU.sum(dim=1).double().mean()) - targets_PL.shape[1]


@dataclass(frozen=True, kw_only=True)
class WillshawLoadConfig(PublishedPanel):
    """The most patterns of which a cue fires one false unit at most, as ones written or as bits told."""

    panel: Literal["willshaw_load"] = "willshaw_load"
    units: int = 4096
    """of cue and target"""
    active: int = 12
    """of them in a pattern, log2 of the units"""
    counted: Counted = "ones"
    """ones written a synapse, or bits that recalled targets tell of the stored ones"""
    asked: int = 2000
    """cues"""
    resolution: float = 0.0025
    """of the search, relative. 6,000 false units are counted, so their mean is known to 1.3 %; it grows with the eighth
    power of the patterns, so these are known to .16 %"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of the patterns"""

    unit = "a synapse"

    @property
    def setting(self) -> str:
        counted = "ones written" if self.counted == "ones" else "bits told"
        return (
            f"{self.units:,} cue and target units, {self.active} of each active, one false unit a cue, "
            f"{of_seeds(len(self.seeds))}: {counted}"
        )

    def number(self, seed: int) -> float:
        generator, pattern = torch.Generator().manual_seed(seed), (self.active, self.units)
        expected = most_patterns(1.0, pattern, pattern)
        most = 11 * expected // 10
        cues_PK, targets_PL = (random_patterns(most, *pattern[::-1], generator) for _ in range(2))

        def is_clean(num: int) -> bool:
            return false_units_fired(cues_PK[:num], targets_PL[:num], self.units, self.asked) <= 1.0

        found = most_facts(is_clean, low=9 * expected // 10, high=most, resolution=self.resolution)
        if self.counted == "ones":
            a_synapse = found * self.active**2 / self.units**2
        else:  # one of the zeros of a target comes back as a one
            a_synapse = bits_a_synapse(found, 1 / (self.units - self.active), self.units, pattern)
        return a_synapse
