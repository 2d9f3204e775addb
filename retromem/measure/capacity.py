"""Capacity: the largest N such that a memory of this size answers the first N facts with accuracy >= a.

Bisection over the nested prefixes of one set, on final weights; initial weights and labels come from one seed. Beyond
capacity stored bits fall, so a capacity is never read off one N.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from retromem.measure.settings import CapacitySearch
from retromem.rows import CapacityRow, Row


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


def read_off(rows: Sequence[Row], *, tau: float, phrasing: Literal["identical", "heldout"]) -> list[CapacityRow]:
    """Capacities of weights of fixed size, read off the sizes that were run: as coarse as those are.

    The largest N that reached `tau`, for each memory, twin and seed; a lower bound only where the largest size did.
    """
    found = []
    arms = [row for row in rows if (row.role, row.side, row.phrasing) == ("arm", "parametric", phrasing)]
    for of_one in {(row.study, row.memory, row.twin, row.seed): None for row in arms}:
        own = [row for row in arms if (row.study, row.memory, row.twin, row.seed) == of_one]
        reached = [row for row in own if row.accuracy is not None and row.accuracy >= tau]
        if len({row.num_facts for row in own}) < 2:
            continue  # one size says nothing of a capacity
        best = max(reached, key=lambda row: row.num_facts, default=None)
        found.append(
            CapacityRow(
                study=own[0].study,
                memory=own[0].memory,
                twin=own[0].twin,
                phrasing=phrasing,
                tau=tau,
                seed=own[0].seed,
                num_facts=best.num_facts if best else 0,
                censored=best is not None and best.num_facts == max(row.num_facts for row in own),
                storage_bytes=own[0].storage_bytes,
                num_params=own[0].num_params,
                bits=best.bits_ce if best else None,
            )
        )
    return found
