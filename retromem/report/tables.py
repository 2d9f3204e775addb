"""The tables of the page: the ledger, controls and floors, capacity."""

from collections.abc import Callable, Iterable, Sequence

from retromem.report.crossover import min_bytes, recallable
from retromem.report.figures import PHRASINGS
from retromem.report.numerals import bytes_text, count_text, list_text, percent_text, seconds_text, significant_text
from retromem.report.seed_spread import Spread, seed_spread, spread_of
from retromem.report.sides import Group, group_of
from retromem.report.table_text import Cell, Table
from retromem.rows import TAU, CapacityRow, Row

_LEDGER: tuple[tuple[str, str, Callable[[float | int], str]], ...] = (
    ("bits recalled", "bits_ce", count_text),
    ("storage", "storage_bytes", bytes_text),
    ("bits per byte", "bits_per_byte", significant_text),
    ("bits per param.", "bits_per_param", significant_text),
    ("to maintain", "maintain_bytes", bytes_text),
    ("for values", "value_bytes", bytes_text),
    ("shared", "shared_bytes", bytes_text),
    ("seeded", "seeded_bytes", bytes_text),
    ("write", "write_seconds", seconds_text),
    ("query p50", "query_ms_p50", lambda number: seconds_text(number / 1000)),
    ("query p95", "query_ms_p95", lambda number: seconds_text(number / 1000)),
    ("with encoding", "query_ms_p50_end_to_end", lambda number: seconds_text(number / 1000)),
)

# Said once above the table where all memories have the same.
_OFTEN_ALIKE = ("maintain_bytes", "value_bytes", "shared_bytes", "seeded_bytes")


def ledger_size(rows: Sequence[Row]) -> int | None:
    """The largest size that both sides finished.

    Without two sides the largest that every arm finished and at which some arm still answers as written: beyond its
    capacity a memory's numbers say little. The largest of all if none answers so well. None where the arms share no
    size, as in a search for capacities: there is nothing to set side by side.
    """
    sizes: dict[str, set[int]] = {}
    for row in rows:
        if row.role == "arm" and row.side in ("parametric", "retrieval"):
            sizes.setdefault(row.side, set()).add(row.num_facts)
    if len(sizes) == 2:
        candidates = set.intersection(*sizes.values())
    else:
        asked = [row for row in rows if (row.role, row.phrasing) == ("arm", "identical")]
        arms = {row.memory for row in asked}
        common = {
            num_facts
            for num_facts in {row.num_facts for row in asked}
            if arms == {row.memory for row in asked if row.num_facts == num_facts}
        }
        if arms and not common:
            return None
        candidates = common & {row.num_facts for row in asked if (row.accuracy or 0) >= TAU["identical"]}
    return max(candidates or {row.num_facts for row in rows})


def ledger_table(rows: Sequence[Row], *, twin: bool, num_facts: int, role: str) -> Table:
    """One line a memory of one study at one size: `role` arm, or control (then floors come along)."""
    roles = ("arm",) if role == "arm" else ("control", "floor")
    at_size = [row for row in rows if (row.twin, row.num_facts) == (twin, num_facts)]
    here = [row for row in at_size if row.role in roles]
    phrasings = [phrasing for phrasing in PHRASINGS if any(row.phrasing == phrasing for row in at_size)]
    known = [line for line in _LEDGER if any(getattr(row, line[1]) is not None for row in here)]
    alike = [line for line in known if line[1] in _OFTEN_ALIKE and len({getattr(row, line[1]) for row in here}) == 1]
    same = [f"{text(getattr(here[0], column))} {name}" for name, column, text in alike]
    ledger = [line for line in known if line not in alike]
    blocks = []
    for group in Group:
        members = [row for row in here if group_of(row) is group]
        smallest = min_bytes(
            recallable(at_size), tau=TAU["identical"], phrasing="identical", group=group, twin=twin
        ).get(num_facts)
        marked = smallest.memory if smallest is not None and role == "arm" else None
        lines = []
        for memory in dict.fromkeys(row.memory for row in members):
            its_rows = [row for row in members if row.memory == memory]
            accuracy = [
                _spread_cell(
                    seed_spread([row for row in its_rows if row.phrasing == phrasing], "accuracy"), percent_text
                )
                for phrasing in phrasings
            ]
            # Costs are the same whatever was asked; bits are those of the questions as written. A floor asks nothing.
            costs = [row for row in its_rows if row.phrasing in ("identical", "")] or its_rows
            numbers = [
                median_cell(seed_spread(costs, column), text, strong=memory == marked and column == "storage_bytes")
                for _, column, text in ledger
            ]
            lines.append([Cell(text=memory, is_name=True), *accuracy, *numbers])
        if lines:
            blocks.append((group.value, lines))
    return Table(
        caption=_ledger_caption(at_size, twin, num_facts, role)
        + (f" The same for all: {list_text(same)}." if same else ""),
        header=["memory", *(PHRASINGS[phrasing] for phrasing in phrasings), *(name for name, _, _ in ledger)],
        blocks=blocks,
    )


def demand_text(demand: Spread) -> str:
    """A twin's values are dealt anew by each seed, and so is what there is to recall."""
    low, high = count_text(round(demand.low)), count_text(round(demand.high))
    return f"{low} bits" if low == high else f"{low} to {high} bits (by seed)"


def _ledger_caption(rows: Sequence[Row], twin: bool, num_facts: int, role: str) -> str:
    values = "values shuffled among the subjects (the twin)" if twin else "values as given"
    demand = seed_spread([row for row in rows if row.side != "paired"], "demand_bits")
    bits = "" if demand is None else f"; {demand_text(demand)} to be recalled"
    seeds = len({row.seed for row in rows if row.role == "arm"})
    caption = f"{count_text(num_facts)} facts, {values}{bits}; median"
    caption += f" (range) over {seeds} seeds." if seeds > 1 else " of 1 seed."
    if role == "arm" and recallable(rows):
        caption += f" Bold: the smallest of its group that answers {percent_text(TAU['identical'])} as written."
    return caption


def _spread_cell(spread: Spread | None, text: Callable[[float | int], str]) -> Cell:
    if spread is None:
        return Cell(text="–")
    low, high = text(spread.low), text(spread.high)
    return Cell(text=text(spread.median), detail="" if low == high else f"{low.removesuffix(' %')}–{high}")


def median_cell(spread: Spread | None, text: Callable[[float | int], str], *, strong: bool = False) -> Cell:
    """A dash where nobody knows."""
    return Cell(text="–") if spread is None else Cell(text=text(spread.median), strong=strong)


def _active_density(row: Row) -> float | None:
    """Bits per parameter that one answer is computed from; None where these are all of them."""
    bits = row.bits_ce if row.bits_at_tau is None else row.bits_at_tau
    if not row.num_active_params or row.num_active_params == row.num_params or bits is None:
        return None
    return bits / row.num_active_params


_BESIDE_CAPACITY: tuple[tuple[str, Callable[[Row], float | None], Callable[[float | int], str]], ...] = (
    ("bits per active param.", _active_density, significant_text),
    ("weight noise borne", lambda row: row.sigma90, significant_text),
    ("flipped bits borne", lambda row: row.flip90, significant_text),
    ("keys moved by .1", lambda row: row.accuracy_noise_10, percent_text),
    ("slots used", lambda row: row.slots_used, percent_text),
    ("unevenness, bits", lambda row: row.slot_kl_bits, significant_text),
)
"""read off the row at capacity; columns that nobody fills are left out"""


def capacity_table(capacities: Sequence[CapacityRow], rows: Sequence[Row]) -> Table:
    """Most facts a memory of fixed size held, one line for each memory, phrasing and accuracy; densest first."""
    at_capacity = {(row.study, row.memory, row.twin, row.phrasing, row.seed, row.num_facts): row for row in rows}

    def found(group: Sequence[CapacityRow]) -> list[Row]:
        keys = [(row.study, row.memory, row.twin, row.phrasing, row.seed, row.num_facts) for row in group]
        return [at_capacity[key] for key in keys if key in at_capacity]

    def known(group: Sequence[CapacityRow], read: Callable[[Row], float | None]) -> list[float]:
        return [number for row in found(group) if (number := read(row)) is not None]

    def density(group: Sequence[CapacityRow]) -> Spread | None:
        return spread_of(row.bits_per_param for row in group if row.bits_per_param is not None)

    groups = {
        study: sorted(
            _memories(capacities, study), key=lambda group: -(spread.median if (spread := density(group)) else 0)
        )
        for study in dict.fromkeys(row.study for row in capacities)
    }
    everyone = [group for study in groups.values() for group in study]
    beside = [column for column in _BESIDE_CAPACITY if any(known(group, column[1]) for group in everyone)]

    def cells(group: Sequence[CapacityRow]) -> list[Cell]:
        first, facts = group[0], spread_of(row.num_facts for row in group)
        size = spread_of(row.storage_bytes for row in group if row.storage_bytes is not None)
        assert facts is not None
        spread = _spread_cell(facts, count_text)
        lower_bound = any(row.censored for row in group)
        text = f"at least {spread.text}" if lower_bound else spread.text
        if not all(row.monotone for row in group):
            text += ", not all smaller"
        return [
            Cell(text=first.memory),
            Cell(text="twin" if first.twin else "as given"),
            Cell(text=f"{percent_text(first.tau)} {PHRASINGS.get(first.phrasing, first.phrasing)}"),
            Cell(text=text, detail=spread.detail),
            median_cell(size, bytes_text),
            _spread_cell(density(group), significant_text),
            *(median_cell(spread_of(known(group, read)), text) for _, read, text in beside),
            Cell(text=str(len(group))),
        ]

    header = ["memory", "values", "goal", "facts held", "storage", "bits per param.", *(name for name, _, _ in beside)]
    unsteady = any(not row.monotone for row in capacities)
    return Table(
        caption=(
            "The most facts each memory answered to the accuracy given; the range over seeds, where there are several, "
            "beside the median. At least: a lower bound only, since no larger number that was tried failed."
            + (" Not all smaller: of a smaller number that was tried, too few were answered." if unsteady else "")
        ),
        header=[*header, "seeds"],
        blocks=[(study, [cells(group) for group in of_study]) for study, of_study in groups.items()],
    )


def _memories(capacities: Sequence[CapacityRow], study: str) -> Iterable[Sequence[CapacityRow]]:
    by_memory: dict[tuple[str, bool, str, float], list[CapacityRow]] = {}
    for row in capacities:
        if row.study == study:
            by_memory.setdefault((row.memory, row.twin, row.phrasing, row.tau), []).append(row)
    return by_memory.values()
