"""Where one side overtakes the other: byte curves at a fixed accuracy, and the sizes between which they cross."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from retromem.report.seed_spread import seed_spread
from retromem.report.sides import Contest, Group, group_of
from retromem.rows import TAU, Row


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One memory at one number of facts, medians over seeds."""

    memory: str
    storage_bytes: float
    accuracy: float
    is_smallest_tried: bool = False
    """of its group at its size, so that a smaller one might do as well"""


Curve = dict[int, Arm | None]
"""num_facts -> the smallest memory that reaches tau; None where memories were measured and none did"""


def recallable(rows: Iterable[Row]) -> list[Row]:
    """Those of sets with something to recall: where every fact has one value, no memory is the better one."""
    return [row for row in rows if row.demand_bits != 0]


def arms_at(rows: Iterable[Row], *, num_facts: int, phrasing: str, group: Group, twin: bool) -> list[Arm]:
    """The arms of a group at one size, medians over seeds. The rows are those of one study.

    A memory that does not tell its bytes takes no part: it could win every comparison.
    """
    here = [
        row
        for row in rows
        if (row.num_facts, row.phrasing, row.twin, row.role) == (num_facts, phrasing, twin, "arm")
        and group_of(row) is group
    ]
    arms = []
    for memory in dict.fromkeys(row.memory for row in here):
        seeds = [row for row in here if row.memory == memory]
        accuracy, storage = seed_spread(seeds, "accuracy"), seed_spread(seeds, "storage_bytes")
        if accuracy is not None and storage is not None:
            arms.append(Arm(memory=memory, accuracy=accuracy.median, storage_bytes=storage.median))
    return arms


def min_bytes(rows: Sequence[Row], *, tau: float, phrasing: str, group: Group, twin: bool) -> Curve:
    """Lower envelope of a group: the fewest storage bytes that answer N facts with median accuracy >= tau.

    The rows are those of one study; only arms count. A size without any measured arm is no key of the curve.
    """
    curve: Curve = {}
    for num_facts in sorted({row.num_facts for row in rows}):
        arms = arms_at(rows, num_facts=num_facts, phrasing=phrasing, group=group, twin=twin)
        if arms:
            reaching = [arm for arm in arms if arm.accuracy >= tau]
            smallest = min(reaching, key=lambda arm: arm.storage_bytes, default=None)
            if smallest is not None and smallest.storage_bytes == min(arm.storage_bytes for arm in arms):
                smallest = replace(smallest, is_smallest_tried=True)
            curve[num_facts] = smallest
    return curve


def curves_of(contest: Contest, phrasing: str) -> tuple[Curve, Curve]:
    """The weights and their rival, each by its fewest bytes at the accuracy that counts."""
    weights, rival = (
        min_bytes(contest.rows, tau=TAU[phrasing], phrasing=phrasing, group=group, twin=contest.twin)
        for group in (Group.WEIGHTS, contest.rival)
    )
    return weights, rival


Outcome = Literal["crosses", "none in range", "a never", "b never", "neither", "no common size"]


@dataclass(frozen=True, kw_only=True)
class Crossover:
    """How two byte curves at the same accuracy and phrasing lie to each other."""

    outcome: Outcome
    changes: tuple[tuple[int, int], ...] = ()
    """each pair of sizes between which the sign of the difference changes"""
    sizes: tuple[int, ...] = ()
    """where both reach tau, rising"""
    smaller: Literal["a", "b", "equal"] | None = None
    """at the largest of `sizes`"""

    @property
    def between(self) -> tuple[int, int] | None:
        """The first change."""
        return self.changes[0] if self.changes else None


def _reached(curve: Curve) -> dict[int, float]:
    return {num_facts: arm.storage_bytes for num_facts, arm in curve.items() if arm is not None}


def crossover(curve_a: Curve, curve_b: Curve) -> Crossover:
    """Compare two curves of `min_bytes` at the sizes where both reach tau. A tie belongs to no side."""
    bytes_a, bytes_b = _reached(curve_a), _reached(curve_b)
    if not bytes_a or not bytes_b:
        return Crossover(outcome="b never" if bytes_a else "a never" if bytes_b else "neither")
    sizes = tuple(sorted(bytes_a.keys() & bytes_b.keys()))
    if not sizes:
        return Crossover(outcome="no common size")
    differences = {num_facts: bytes_a[num_facts] - bytes_b[num_facts] for num_facts in sizes}
    decided = [num_facts for num_facts in sizes if differences[num_facts] != 0]
    changes = tuple(
        (before, after) for before, after in pairwise(decided) if (differences[before] < 0) != (differences[after] < 0)
    )
    last = differences[sizes[-1]]
    return Crossover(
        outcome="crosses" if changes else "none in range",
        changes=changes,
        sizes=sizes,
        smaller="a" if last < 0 else "b" if last > 0 else "equal",
    )
