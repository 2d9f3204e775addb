"""Capacity: the largest N such that a memory of this size answers the first N facts with accuracy >= a.

Bisection over the nested prefixes of one set, on final weights; initial weights and labels come from one seed. Beyond
capacity stored bits fall, so a capacity is never read off one N.
"""

from collections.abc import Callable
from dataclasses import dataclass

from retromem.experiment import CapacitySearch


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """Where the search ended."""

    num_facts: int
    """largest N seen to reach the accuracy; 0 where not even `low` did"""
    censored: bool
    """`high` reached it too: a lower bound only"""


def search_capacity(reaches: Callable[[int], bool], search: CapacitySearch, *, num_available: int) -> Capacity:
    """Gallop from `low` by doubling, then bisect to `resolution`; `reaches(n)` writes and asks the first n facts."""
    high = min(search.high, num_available)
    good, bad, step = 0, 0, min(search.low, high)
    while not bad:
        if reaches(step):
            good = step
            if step == high:
                return Capacity(num_facts=high, censored=True)
            step = min(2 * step, high)
        else:
            bad = step
    while good and bad - good > max(1.0, search.resolution * good):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if reaches(middle) else (good, middle)
    return Capacity(num_facts=good, censored=False)
