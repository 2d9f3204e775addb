"""Where a search for a boundary asks next, between the sizes known to lie on either side of it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

_LEAST_STEP, _LARGEST_STEP = 1.02, 4.0
"""outwards"""
_ALIKE = 1.05
"""times a size: near enough to stand for it in a second look"""
_WITHIN = 0.95
"""of the tolerance: what is rounded to whole sizes closes the bracket still"""


@dataclass(frozen=True, kw_only=True)
class End:
    """A size that was asked, on one side of the boundary."""

    size: float
    expected: float | None
    """where the boundary is expected, from how this one did; None where nothing is known"""


def next_size(low: End | None, high: End | None, *, tolerance: float, same: int) -> float:
    """The size to ask next; one end at least is known, and where it expects the boundary.

    That is where the nearer end expects it, or one tolerance from an end that it is expected beside, so that the
    bracket closes if it is there. `same`: of the last sizes asked, those in a row that fell on one side; from two on
    the expectations were wrong, and steps outwards are taken to that power, and brackets halved.
    """
    ends = [end for end in (low, high) if end is not None]
    told = [(_apart(end.size, end.expected), end.expected) for end in ends if end.expected is not None]
    expected = min(told, default=None)  # by the nearer end
    if low is None or high is None:
        assert expected is not None, "a search without expectations has its own steps"
        step = min(math.pow(max(expected[0], 1 + tolerance, _LEAST_STEP), same), _LARGEST_STEP)
        return ends[0].size * step if high is None else ends[0].size / step
    if expected is None or same > 1:
        return math.sqrt(low.size * high.size)
    closes = 1 + _WITHIN * tolerance
    if expected[1] < low.size * closes:
        return low.size * closes
    return min(expected[1], high.size / closes)


def in_a_row(reached: Iterable[bool]) -> int:
    """Of the last sizes asked, in their order, those in a row that fell on one side."""
    last, *before = reversed(list(reached))
    return 1 + len(list(takewhile(lambda one: one == last, before)))


def has_looked_at(wanted: float, sizes: Iterable[float]) -> bool:
    """Whether one of the sizes asked tells what a look at the wanted one would."""
    return any(_apart(wanted, size) <= _ALIKE for size in sizes)


def _apart(one: float, other: float) -> float:
    """The larger over the smaller."""
    return one / other if one > other else other / one
