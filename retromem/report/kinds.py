"""Bits per parameter of FFN kinds at their capacity: what a study without an index is about."""

from collections.abc import Sequence
from dataclasses import dataclass

from retromem.report.seed_spread import Spread, seed_spread, spread_of
from retromem.report.sides import Group, group_of
from retromem.rows import TAU, CapacityRow, Row


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One weight memory at the most facts it holds."""

    memory: str
    bits_per_param: Spread
    num_facts: float
    """median over seeds"""
    reached: bool
    """False: no size reached tau, and this is the size with the most bits"""
    censored: bool
    """no larger size was measured: a lower bound"""


def weight_memories(rows: Sequence[Row], study: str) -> list[str]:
    """Names of a study's weight arms in the order of the rows."""
    arms = (row for row in rows if row.study == study and row.role == "arm")
    return list(dict.fromkeys(row.memory for row in arms if group_of(row) is Group.WEIGHTS))


def kinds_of(rows: Sequence[Row], capacities: Sequence[CapacityRow], study: str) -> list[Kind]:
    """Weight arms of a study, most bits per parameter first; from `capacities` where given, else read off the rows."""
    twin = any(row.twin for row in rows if row.study == study)
    kinds = []
    for memory in weight_memories(rows, study):
        searched = [
            row
            for row in capacities
            if (row.study, row.memory, row.twin, row.phrasing, row.tau)
            == (study, memory, twin, "identical", TAU["identical"])
        ]
        here = [row for row in rows if (row.study, row.memory, row.twin) == (study, memory, twin)]
        kind = _from_capacities(memory, searched) or _from_rows(memory, here)
        if kind is not None:
            kinds.append(kind)
    return sorted(kinds, key=lambda kind: -kind.bits_per_param.median)


def _from_capacities(memory: str, rows: Sequence[CapacityRow]) -> Kind | None:
    if all(row.num_facts == 0 for row in rows):
        return None
    bits = spread_of(row.bits_per_param or 0.0 for row in rows)  # a seed that held nothing counts as 0
    num_facts = spread_of(row.num_facts for row in rows)
    if bits is None or num_facts is None:
        return None
    return Kind(
        memory=memory,
        bits_per_param=bits,
        num_facts=num_facts.median,
        reached=True,
        censored=any(row.censored for row in rows),
    )


def _from_rows(memory: str, rows: Sequence[Row]) -> Kind | None:
    by_size: dict[int, Spread] = {}
    reaching = []
    for num_facts in sorted({row.num_facts for row in rows}):
        here = [row for row in rows if row.num_facts == num_facts and row.phrasing == "identical"]
        bits, accuracy = seed_spread(here, "bits_per_param"), seed_spread(here, "accuracy")
        if bits is not None and accuracy is not None:
            by_size[num_facts] = bits
            if accuracy.median >= TAU["identical"]:
                reaching.append(num_facts)
    if not by_size:
        return None
    best = reaching[-1] if reaching else max(by_size, key=lambda num_facts: by_size[num_facts].median)
    return Kind(
        memory=memory,
        bits_per_param=by_size[best],
        num_facts=float(best),
        reached=bool(reaching),
        censored=bool(reaching) and best == max(by_size),
    )
