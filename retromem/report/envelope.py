"""The smallest memory of each side at each number of facts: the lower envelope of its families, seed by seed."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from retromem.report.seed_spread import Spread, spread_of
from retromem.report.sides import Group, group_of
from retromem.rows import SmallestRow

RESOLVED = 0.05
"""of the bytes: two sizes that lie nearer were told apart by no search"""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a memory has to do."""

    phrasing: str
    tau: float

    def is_of(self, row: SmallestRow) -> bool:
        """Whether it was searched for."""
        return (row.phrasing, row.tau) == (self.phrasing, self.tau)


@dataclass(frozen=True, kw_only=True)
class EnvelopePoint:
    """One side at one number of facts."""

    num_facts: int
    bytes_by_seed: Mapping[int, float | None]
    """of the smallest family; None where no family of that seed was good enough"""
    rows: Sequence[SmallestRow]
    """of every family and seed"""

    @property
    def size(self) -> Spread | None:
        """Median and range; None where half of the seeds or more reached the goal with no family."""
        reached = [size for size in self.bytes_by_seed.values() if size is not None]
        if 2 * len(reached) <= len(self.bytes_by_seed):
            return None
        # A seed that never got there is larger than all others.
        every = sorted(math.inf if size is None else size for size in self.bytes_by_seed.values())
        return Spread(median=median(every), low=every[0], high=every[-1], num_seeds=len(every))

    @property
    def family(self) -> str | None:
        """The one that is smallest in most seeds."""
        names = Counter(row.memory for row in self.smallest)
        return names.most_common(1)[0][0] if names else None

    @property
    def smallest(self) -> list[SmallestRow]:
        """Of each seed that reached the goal, the family that is smallest."""
        found = []
        for seed in self.bytes_by_seed:
            sized = [(row.storage_bytes, row.memory, row) for row in self.rows if row.seed == seed]
            reached = [(size, memory, row) for size, memory, row in sized if size is not None]
            found += [min(reached, key=lambda one: one[:2])[2]] if reached else []
        return found

    @property
    def best_accuracy(self) -> float:
        """Where no family reaches the goal: the most accurate of all that were tried, median over seeds."""
        return median(
            max(share for row in self.rows if row.seed == seed for _, _, share in row.tried)
            for seed in self.bytes_by_seed
        )


def goals_of(rows: Sequence[SmallestRow]) -> list[Goal]:
    """Those that were searched for, as written first."""
    goals = {Goal(phrasing=row.phrasing, tau=row.tau) for row in rows}
    return sorted(goals, key=lambda goal: (goal.phrasing != "identical", goal.tau))


def envelope(rows: Sequence[SmallestRow], group: Group, goal: Goal) -> list[EnvelopePoint]:
    """Points by rising numbers of facts. The rows are those of one study and twin."""
    own = [row for row in rows if group_of(row) is group and goal.is_of(row)]
    points = []
    for num_facts in sorted({row.num_facts for row in own}):
        here = [row for row in own if row.num_facts == num_facts]
        sizes = {
            seed: min((row.storage_bytes for row in here if row.seed == seed and row.storage_bytes), default=None)
            for seed in sorted({row.seed for row in here})
        }
        points.append(EnvelopePoint(num_facts=num_facts, bytes_by_seed=sizes, rows=here))
    return points


def sizes_of(points: Sequence[EnvelopePoint]) -> dict[int, float]:
    """Numbers of facts at which the goal is reached, with the median bytes."""
    return {point.num_facts: size.median for point in points if (size := point.size) is not None}


def smaller(weights_bytes: float, index_bytes: float) -> str:
    """`weights`, `index`, or `` where the search does not tell them apart."""
    if abs(weights_bytes - index_bytes) <= RESOLVED * max(weights_bytes, index_bytes):
        return ""
    return "weights" if weights_bytes < index_bytes else "index"


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Where the smaller memory changes sides."""

    first: str
    """the smaller side before it"""
    then: str
    """and behind it"""
    num_facts: Spread
    """by interpolation, over the seeds that cross there"""
    of_seeds: int
    """that were searched"""


def crossings(weights: Sequence[EnvelopePoint], index: Sequence[EnvelopePoint]) -> list[Crossing]:
    """Changes of the smaller side between neighbouring sizes, by rising number of facts; a tie changes nothing."""
    # The first, second, ... change of a seed belongs with those of the others; each seed counts once in each.
    found: dict[tuple[int, str, str], list[float]] = {}
    of_weights, of_index = ({point.num_facts: point for point in points} for points in (weights, index))
    common = sorted(of_weights.keys() & of_index.keys())
    seeds = sorted({seed for point in (*weights, *index) for seed in point.bytes_by_seed})
    for seed in seeds:
        sizes = [
            (num_facts, of_weights[num_facts].bytes_by_seed.get(seed), of_index[num_facts].bytes_by_seed.get(seed))
            for num_facts in common
        ]
        decided = [(at, w, i) for at, w, i in sizes if w is not None and i is not None and smaller(w, i)]
        num_changes = 0
        for (before, w0, i0), (after, w1, i1) in pairwise(decided):
            assert w0 is not None and i0 is not None and w1 is not None and i1 is not None
            first, then = smaller(w0, i0), smaller(w1, i1)
            if first != then:
                lead, trail = math.log(w0 / i0), math.log(w1 / i1)
                share = lead / (lead - trail)
                found.setdefault((num_changes, first, then), []).append(before * (after / before) ** share)
                num_changes += 1
    listed = []
    for (_, first, then), places in found.items():
        spread = spread_of(places)
        assert spread is not None
        listed.append(Crossing(first=first, then=then, num_facts=spread, of_seeds=len(seeds)))
    return sorted(listed, key=lambda crossing: crossing.num_facts.median)


def told_crossings(weights: Sequence[EnvelopePoint], index: Sequence[EnvelopePoint]) -> list[Crossing]:
    """Those of most seeds, between sides that are each smaller at some size that was measured, by the medians."""
    of_weights, of_index = sizes_of(weights), sizes_of(index)
    winners = {smaller(of_weights[size], of_index[size]) for size in of_weights.keys() & of_index.keys()}
    if not {"weights", "index"} <= winners:
        return []
    return [crossing for crossing in crossings(weights, index) if 2 * crossing.num_facts.num_seeds > crossing.of_seeds]


@dataclass(frozen=True, kw_only=True)
class SearchedContest:
    """The searched comparison that the first screen is about: one study with both sides."""

    study: str
    twin: bool
    rows: Sequence[SmallestRow]


def searched_contests(rows: Sequence[SmallestRow]) -> list[SearchedContest]:
    """Of every study and twin with weights and an index of the same questions; in the order of the run, twin first."""
    found = []
    for study in dict.fromkeys(row.study for row in rows):
        for twin in (True, False):
            here = [row for row in rows if (row.study, row.twin) == (study, twin)]
            if {Group.WEIGHTS, Group.INDEX} <= {group_of(row) for row in here}:
                found.append(SearchedContest(study=study, twin=twin, rows=here))
    return found
