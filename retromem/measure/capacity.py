"""Capacity: the largest N such that a memory of this size answers the first N facts with accuracy >= a.

A search over the nested prefixes of one set, on final weights; initial weights and labels come from one seed. Beyond
capacity stored bits fall, so a capacity is never read off one N.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from models.training_budget import TrainingDiverged
from retrieval.errors import Refused
from retromem.measure.brackets import End, has_looked_at, in_a_row, next_size
from retromem.measure.settings import CapacitySearch
from retromem.rows import CapacityRow, Row

BEYOND = 1.1
"""times the smallest size that failed: asked too, for where success is noisy one failure is not the end"""
_FIRST_SIZE = 16
_MOST_LOOKS = 3
"""beyond a failure: each that succeeds sends the search on from there"""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """Where the search ended."""

    num_facts: int
    """largest N seen to reach the accuracy; 0 where none did"""
    censored: bool
    """`high` reached it too: a lower bound only"""
    monotone: bool = True
    """false: fewer facts failed. Success is noisy there, and another seed may end elsewhere"""


def search_capacity(reaches: Callable[[int], bool], search: CapacitySearch, *, num_available: int) -> Capacity:
    """Bisection: gallop from `low` by doubling, halve to `resolution`, look beyond; `reaches(n)` writes and asks n.

    The first failure is not yet the end, neither at `low` nor in the bisection. A size that cannot be written at all
    (Refused, or diverged) is none: more facts may do, as an index that must be trained wants them. Raised again where
    no size could be written, or where a larger one diverges: that is no lack of capacity.
    """
    high = min(search.high, num_available)
    held: dict[int, bool | None] = {}  # None: could not be written
    looks, size, why = 0, min(search.low or _FIRST_SIZE, high), None
    while True:
        try:
            held[size] = reaches(size)
        except (Refused, TrainingDiverged) as error:
            if isinstance(error, TrainingDiverged) and any(held.values()):
                raise
            held[size], why = None, error
        good = max((tried for tried, did in held.items() if did), default=0)
        bad = min((tried for tried, did in held.items() if not did and tried > good), default=None)
        failures = sum(did is False for did in held.values())
        if bad is None or (not good and failures < 2):
            size = min(2 * max(held if bad else (good,)), high)
        elif good and bad - good > max(1.0, search.resolution * good):
            size = (good + bad) // 2
        elif good and looks < _MOST_LOOKS:
            looks, size = looks + 1, min(max(math.ceil(BEYOND * bad), bad + 1), high)
        if size in held:
            break
    if why and not any(did is not None for did in held.values()):
        raise why
    monotone = all(did is not False for tried, did in held.items() if tried < good)
    return Capacity(num_facts=good, censored=good == high, monotone=monotone)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one size did."""

    reached: bool
    """the accuracy"""
    over_capacity: float
    """times the capacity that this size is expected to be, from how its training ended"""


def search_from_outcomes(
    outcome_of: Callable[[int], Outcome], search: CapacitySearch, *, num_available: int, start: int
) -> Capacity:
    """The same, of what is trained: the next size follows from how the trainings so far ended.

    A third of the trainings that `search_capacity` takes. Where a size succeeded so late in its training that no more
    than the resolution is expected beyond it, one a tenth larger is asked, and the search is over if that fails: what
    falls just short takes longest. Otherwise it ends as bisection does. A size which cannot be written, or diverges,
    ends it with that error.
    """
    high = min(search.high, num_available)
    held: dict[int, Outcome] = {}
    looks, size = 0, min(max(1, start), high)

    def end(size: int) -> End | None:
        return None if not size else End(size=size, expected=size / held[size].over_capacity)

    while size not in held:
        held[size] = outcome_of(size)
        good = max((tried for tried, one in held.items() if one.reached), default=0)
        bad = min((tried for tried, one in held.items() if not one.reached and tried > good), default=0)
        wide = bad - good > max(1.0, search.resolution * good)
        is_expected_here = good > 0 and held[good].over_capacity * (1 + search.resolution) >= 1
        beyond = max(math.ceil(BEYOND * good), good + 1)
        if good == high or bad == 1 or (is_expected_here and good < bad <= beyond):
            break
        same = in_a_row(one.reached for one in held.values())
        if is_expected_here and (wide or not bad) and same <= 2:
            size = min(beyond, high)
        elif not good or not bad or wide:
            wanted = next_size(end(good), end(bad), tolerance=search.resolution, same=same)
            size = min(max(round(wanted), good + 1), (bad or high + 1) - 1)
        elif looks < _MOST_LOOKS and not has_looked_at(BEYOND * bad, held):
            looks, size = looks + 1, min(max(math.ceil(BEYOND * bad), bad + 1), high)
    monotone = all(one.reached for tried, one in held.items() if tried < good)
    return Capacity(num_facts=good, censored=good == high, monotone=monotone)


def read_off(rows: Sequence[Row], *, tau: float, phrasing: Literal["identical", "heldout"]) -> list[CapacityRow]:
    """Capacities of weights of fixed size, read off the sizes that were run: as coarse as those are.

    The largest N that reached `tau`, for each memory, twin and seed; a lower bound only where the largest size did.
    """
    found = []
    arms = [
        row
        for row in rows
        # What a search for the smallest memory found has another size at each number of facts.
        if (row.role, row.side, row.phrasing, row.smallest_for) == ("arm", "parametric", phrasing, "")
    ]
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
