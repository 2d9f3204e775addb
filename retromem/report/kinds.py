"""Bits per parameter, or per byte, of FFN kinds at their capacity: what a study without an index is about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from retromem.report.seed_spread import Spread, seed_spread, spread_of
from retromem.report.sides import Group, group_of
from retromem.rows import TAU, CapacityRow, Row

Per = Literal["parameter", "byte"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One weight memory at the most facts it holds."""

    memory: str
    density: Spread
    """bits per parameter; per byte where the weights of the study are stored in different precisions"""
    per: Per
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
    """Weight arms of a study, densest first; from `capacities` where given, else read off the rows."""
    twin = any(row.twin for row in rows if row.study == study)
    memories = weight_memories(rows, study)
    precisions = {row.precision for row in rows if row.study == study and row.memory in memories}
    per: Per = "byte" if len(precisions) > 1 else "parameter"
    kinds = []
    for memory in memories:
        searched = [
            row
            for row in capacities
            if (row.study, row.memory, row.twin, row.phrasing, row.tau)
            == (study, memory, twin, "identical", TAU["identical"])
        ]
        here = [row for row in rows if (row.study, row.memory, row.twin) == (study, memory, twin)]
        kind = _from_capacities(memory, searched, per) or _from_rows(memory, here, per)
        if kind is not None:
            kinds.append(kind)
    return sorted(kinds, key=lambda kind: -kind.density.median)


def _from_capacities(memory: str, rows: Sequence[CapacityRow], per: Per) -> Kind | None:
    if all(row.num_facts == 0 for row in rows):
        return None
    # A seed that held nothing counts as 0.
    sizes = [row.num_params if per == "parameter" else row.storage_bytes for row in rows]
    bits = spread_of((row.bits or 0.0) / size for row, size in zip(rows, sizes, strict=True) if size)
    num_facts = spread_of(row.num_facts for row in rows)
    if bits is None or num_facts is None:
        return None
    return Kind(
        memory=memory,
        density=bits,
        per=per,
        num_facts=num_facts.median,
        reached=True,
        censored=any(row.censored for row in rows),
    )


def _from_rows(memory: str, rows: Sequence[Row], per: Per) -> Kind | None:
    by_size: dict[int, Spread] = {}
    reaching = []
    for num_facts in sorted({row.num_facts for row in rows}):
        here = [row for row in rows if row.num_facts == num_facts and row.phrasing == "identical"]
        column = "bits_per_param" if per == "parameter" else "bits_per_byte"
        bits, accuracy = seed_spread(here, column), seed_spread(here, "accuracy")
        if bits is not None and accuracy is not None:
            by_size[num_facts] = bits
            if accuracy.median >= TAU["identical"]:
                reaching.append(num_facts)
    if not by_size:
        return None
    best = reaching[-1] if reaching else max(by_size, key=lambda num_facts: by_size[num_facts].median)
    return Kind(
        memory=memory,
        density=by_size[best],
        per=per,
        num_facts=float(best),
        reached=bool(reaching),
        censored=bool(reaching) and best == max(by_size),
    )
