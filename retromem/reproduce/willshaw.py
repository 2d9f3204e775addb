"""Willshaw, Buneman and Longuet-Higgins 1969: a binary matrix that is half on, and ln 2 bits a synapse in the limit.

With 4,096 units it holds .54 of these .69. What there should be at this size follows, without a free number, from the
chance of a false unit (`retromem.theory.willshaw_capacity`); both claims stand on the same measured load.

Shape legend: P patterns, B asked, F cue units, U target units, K active units of a cue, L of a target.
"""

from functools import cache, partial

import torch
from torch import Tensor

from models.closed_form.willshaw_matrix import fired_units, willshaw_memory
from retromem.measure.trained_ffn import most_facts
from retromem.reproduce.claim import Claim, within
from retromem.theory.willshaw_capacity import (
    WILLSHAW_ONES_PER_SYNAPSE,
    bits_a_synapse,
    false_unit_share,
    most_patterns,
)

_UNITS, _ACTIVE, _SEEDS, _RESOLUTION, _ASKED = 4096, 12, (0, 1, 2), 0.0025, 2000
_PATTERN = _ACTIVE, _UNITS
_EXPECTED = most_patterns(1.0, _PATTERN, _PATTERN)
"""patterns at which one false unit fires, in expectation"""
_BITS = bits_a_synapse(_EXPECTED, false_unit_share(_EXPECTED, _PATTERN, _PATTERN), _UNITS, _PATTERN)
_TOLERANCE = 0.01
"""Four standard deviations: 6,000 false units are counted, so their mean is known to 1.3 %; it grows with the eighth
power of the patterns, so these are known to .16 %, and to .25 % by the search"""


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


@cache
def patterns_stored(seeds: tuple[int, ...]) -> float:
    """The most patterns of which a cue fires one false unit at most; mean of the seeds."""
    found = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        most = 11 * _EXPECTED // 10
        cues_PK, targets_PL = (random_patterns(most, _UNITS, _ACTIVE, generator) for _ in range(2))

        def is_clean(num: int, cues: Tensor = cues_PK, targets: Tensor = targets_PL) -> bool:
            return false_units_fired(cues[:num], targets[:num], _UNITS, _ASKED) <= 1.0

        found.append(most_facts(is_clean, low=9 * _EXPECTED // 10, high=most, resolution=_RESOLUTION))
    return sum(found) / len(found)


def ones_per_synapse(seeds: tuple[int, ...]) -> float:
    """Ones written a synapse where one false unit fires a cue."""
    return patterns_stored(seeds) * _ACTIVE**2 / _UNITS**2


def bits_per_synapse(seeds: tuple[int, ...]) -> float:
    """What recalled targets tell there of the stored ones, of whose zeros 1 / (n - l) come back as ones."""
    return bits_a_synapse(round(patterns_stored(seeds)), 1 / (_UNITS - _ACTIVE), _UNITS, _PATTERN)


_SETTING = (
    f"{_UNITS:,} cue and target units, {_ACTIVE} = log2 n of each active, one false unit a cue, {len(_SEEDS)} seeds"
)

CLAIMS = [
    Claim(
        source="Willshaw, Buneman and Longuet-Higgins 1969",
        setting=f"{_SETTING}: ones written (published: ln 2, n to infinity; "
        f"{_EXPECTED * _ACTIVE**2 / _UNITS**2:.3f} expected at this n)",
        unit="ones a synapse",
        resolution=_RESOLUTION,
        published=WILLSHAW_ONES_PER_SYNAPSE,
        # From what is expected at this size to the limit.
        band=(
            _EXPECTED * _ACTIVE**2 / _UNITS**2 * (1 - _TOLERANCE),
            WILLSHAW_ONES_PER_SYNAPSE * (1 + _TOLERANCE),
        ),
        measure=partial(ones_per_synapse, _SEEDS),
        seconds_expected=6.0,
    ),
    Claim(
        source="Palm 1980, Willshaw's memory of finite size",
        setting=f"{_SETTING}: bits told (published: the formula at this n; "
        f"ln 2 = {WILLSHAW_ONES_PER_SYNAPSE:.3f} for n to infinity)",
        unit="bits a synapse",
        resolution=_RESOLUTION,
        published=_BITS,
        band=within(_BITS, _TOLERANCE),
        measure=partial(bits_per_synapse, _SEEDS),
        seconds_expected=6.0,
    ),
]
