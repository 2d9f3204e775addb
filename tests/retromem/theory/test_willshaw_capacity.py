"""What Willshaw's memory holds: against every possible memory of a few units, simulations, and the limit."""

import itertools
import math

import numpy as np
import pytest

from retromem.theory.willshaw_capacity import (
    WILLSHAW_ONES_PER_SYNAPSE,
    bits_a_synapse,
    false_unit_share,
    false_units,
    most_patterns,
    share_on,
)


def false_share_by_listing(num_patterns, cue, target):
    """Over all sets that the other patterns can be: how often they cover the cue (0, 1, ...) at a unit that is off."""
    cues = list(itertools.combinations(range(cue[1]), cue[0]))
    targets = list(itertools.combinations(range(target[1]), target[0]))
    covered = 0
    for others in itertools.product(itertools.product(cues, targets), repeat=num_patterns - 1):
        at_unit = set().union(*(of_cue for of_cue, of_target in others if target[1] - 1 in of_target))
        covered += set(range(cue[0])) <= at_unit
    return covered / (len(cues) * len(targets)) ** (num_patterns - 1)


@pytest.mark.parametrize(
    ("num_patterns", "cue", "target"),
    [
        (1, (2, 4), (1, 3)),
        (2, (2, 4), (1, 3)),
        (3, (2, 4), (2, 3)),
        (4, (2, 3), (1, 3)),
        (3, (1, 5), (2, 4)),
        (3, (3, 4), (1, 2)),
    ],
)
def test_share_of_false_units_is_that_of_all_possible_memories(num_patterns, cue, target):
    expected = false_share_by_listing(num_patterns, cue, target)
    assert false_unit_share(num_patterns, cue, target) == pytest.approx(expected, abs=1e-12)
    assert false_units(num_patterns, cue, target) == pytest.approx((target[1] - target[0]) * expected, abs=1e-12)


def test_share_on_pattern_by_pattern():
    off = 1.0
    for num_patterns in range(5):
        assert share_on(num_patterns, (3, 10), (2, 8)) == pytest.approx(1 - off)
        off *= 1 - 6 / 80


def test_units_that_take_part_in_many_patterns_fire_more_than_independent_synapses_would():
    exact = false_unit_share(80_757, (12, 4096), (12, 4096))
    assert share_on(80_757, (12, 4096), (12, 4096)) == pytest.approx(0.5, abs=1e-5)
    assert 1.1 < exact / 0.5**12 < 1.2
    # All units alike in the limit of many patterns a unit: synapses on half the time, and no more to tell.
    assert false_unit_share(6_931, (5, 100), (1, 50)) == pytest.approx(share_on(6_931, (5, 100), (1, 50)) ** 5, rel=0.1)


def test_the_most_patterns_are_where_one_more_is_too_many():
    for most_false in (0.01, 1.0):
        found = most_patterns(most_false, (6, 64), (5, 80))
        assert false_units(found, (6, 64), (5, 80)) <= most_false < false_units(found + 1, (6, 64), (5, 80))


def test_a_million_units_lose_no_digits():
    """The terms of the sum cancel to a 10^20th of the largest."""
    units = (20, 2**20)
    found = most_patterns(1.0, units, units)
    assert found == pytest.approx(1.904e9, rel=1e-3)
    share = false_unit_share(found, units, units)
    assert share == pytest.approx(1 / (2**20 - 20), rel=1e-6)
    assert bits_a_synapse(found, share, 2**20, units) == pytest.approx(0.583, abs=5e-4)


def test_a_channel_without_noise_bears_the_entropy_and_one_that_fires_always_nothing():
    entropy = -(0.1 * math.log2(0.1) + 0.9 * math.log2(0.9))
    assert bits_a_synapse(30, 0.0, 60, (5, 50)) == pytest.approx(30 * entropy / 60)
    assert bits_a_synapse(30, 1.0, 60, (5, 50)) == pytest.approx(0.0, abs=1e-12)
    # By the joint table of what was stored and what fired.
    joint = np.array([[0.9 * 0.75, 0.9 * 0.25], [0.0, 0.1]])
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    told = sum(p * math.log2(p / q) for p, q in zip(joint.ravel(), apart.ravel(), strict=True) if p)
    assert bits_a_synapse(30, 0.25, 60, (5, 50)) == pytest.approx(30 * told / 60)


def test_ones_come_near_to_ln_2_and_bits_follow_slowly():
    ones, bits = [], []
    for active in (8, 10, 12, 16):
        pattern = active, 2**active
        most = most_patterns(1.0, pattern, pattern)
        ones.append(most * active**2 / 4**active)
        bits.append(bits_a_synapse(most, false_unit_share(most, pattern, pattern), 2**active, pattern))
    assert ones == sorted(ones) and bits == sorted(bits)
    assert pytest.approx([0.638, 0.668, 0.683, 0.692], abs=5e-4) == ones
    assert pytest.approx([0.467, 0.510, 0.537, 0.567], abs=5e-4) == bits
    assert ones[-1] < WILLSHAW_ONES_PER_SYNAPSE == pytest.approx(0.693, abs=2e-4)
