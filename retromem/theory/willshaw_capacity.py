"""What Willshaw's binary memory holds: the limit for many units, and the same at any finite number of them.

P random patterns, of k active among m cue units and l active among n target units; recall by threshold, so that no unit
of a target is ever missed and false ones are the only error.
"""

import math
from decimal import Decimal, localcontext

_DIGITS = 60
WILLSHAW_ONES_PER_SYNAPSE = math.log(2)
"""P k l / (m n), ones written a synapse, and bits stored a synapse, up to which one false unit fires a pattern.

Willshaw, Buneman and Longuet-Higgins 1969: k = l = log2 n, half of the synapses on, n to infinity. The ones come near
to it soon (.683 at 4,096 units), the bits with log log n / log n only (.537 there, .583 at 2^20): a pattern tells
log2 C(n, l), which is l log2(n e / l) and not l log2 n, since a set has no order.
"""


def share_on(num_patterns: int, cue: tuple[int, int], target: tuple[int, int]) -> float:
    """Expected share of the synapses that are on: 1 - (1 - k l / (m n))^P. `cue` is (k, m), `target` (l, n)."""
    (active, units), (active_out, units_out) = cue, target
    return -math.expm1(num_patterns * math.log1p(-active * active_out / (units * units_out)))


def false_unit_share(num_patterns: int, cue: tuple[int, int], target: tuple[int, int]) -> float:
    """Chance that a unit outside the target fires for the cue of a stored pattern, exact at every size.

    The other P - 1 patterns that have the unit active must cover all k synapses. By inclusion and exclusion over those
    left off, with q_i = C(m - i, k) / C(m, k) the share of cues that avoid i given units:

        sum over i of (-1)^i C(k, i) (1 - l / n (1 - q_i))^(P - 1)

    It is more than share_on^k, as if synapses were independent (1969), since units differ in how many patterns they
    take part in. Knoblauch 2008 (SIAM J. Appl. Math. 69:169) works with the distribution behind it; summed anew here.
    """
    (active, units), (active_out, units_out) = cue, target
    with localcontext() as context:
        context.prec = _DIGITS  # the terms cancel to a millionth of themselves and less
        total = Decimal(0)
        for left_off in range(active + 1):
            avoiding = Decimal(math.comb(units - left_off, active)) / math.comb(units, active)
            never_covered = 1 - Decimal(active_out) / units_out * (1 - avoiding)
            covered_by_none = never_covered ** (num_patterns - 1) if num_patterns > 1 else 1
            total += (-1) ** left_off * math.comb(active, left_off) * covered_by_none
        return float(total)


def false_units(num_patterns: int, cue: tuple[int, int], target: tuple[int, int]) -> float:
    """Expected number of false units that fire for the cue of a stored pattern."""
    return (target[1] - target[0]) * false_unit_share(num_patterns, cue, target)


def most_patterns(most_false: float, cue: tuple[int, int], target: tuple[int, int]) -> int:
    """The most patterns at which at most so many false units are expected to fire; fewer than there are to fire."""
    assert most_false < target[1] - target[0], "that many never fire"
    good, bad = 1, 2
    while false_units(bad, cue, target) <= most_false:
        good, bad = bad, 2 * bad
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if false_units(middle, cue, target) <= most_false else (good, middle)
    return good


def bits_a_synapse(num_patterns: int, false_share: float, cue_units: int, target: tuple[int, int]) -> float:
    """Information that recalled targets bear on the stored ones, over the synapses: P n T / (m n).

    T is the transinformation of a target unit through a channel that never loses a one and makes a share of the zeros
    into ones (Palm 1980; Knoblauch, Palm and Sommer 2010).
    """
    active, units = target
    ones = active / units
    zeros_kept = (1 - ones) * (1 - false_share)
    transinformation = _entropy(zeros_kept) - (1 - ones) * _entropy(false_share)
    return num_patterns * transinformation / cue_units


def _entropy(share: float) -> float:
    """Of a coin, in bits."""
    return sum(-part * math.log2(part) for part in (share, 1 - share) if part > 0)
