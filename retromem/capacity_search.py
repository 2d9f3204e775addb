"""A search for the most facts that a memory holds.

Each step writes a memory and asks the questions of the goal alone; the one where the search ends is judged in full.
"""

from models.training_budget import TrainingCutShort
from retromem.cells import Cell
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.measure.capacity import search_capacity
from retromem.measure.judgement import Setting, judge
from retromem.measure.latency import EncoderCost
from retromem.rows import CapacityRow, Row


def find_capacity(
    cell: Cell, knowledge: KnowledgeSet, *, setting: Setting, encoder: EncoderCost
) -> tuple[tuple[Row, ...], CapacityRow]:
    """Rows of each size that was tried, that at capacity in full, and the capacity. Raises Refused."""
    assert cell.capacity is not None
    search, seen = cell.capacity, dict[int, Row]()

    def reaches(num_facts: int) -> bool:
        (row,) = judge(
            cell.memory,
            knowledge.prefix(num_facts),
            setting=setting,
            measures=cell.measures,
            encoder=encoder,
            only=search.phrasing,
            quick=True,
            tau=search.accuracy,
        ).rows
        seen[num_facts] = row
        reached = row.accuracy is not None and row.accuracy >= search.accuracy
        if not reached and not row.succeeded:
            raise TrainingCutShort(
                f"{num_facts:,} facts were not learnt within training.max_seconds, which says nothing of the capacity: "
                "raise it"
            )
        return reached

    found = search_capacity(reaches, search, num_available=knowledge.num_facts)
    at = seen.get(found.num_facts)
    rows = tuple(seen[num_facts] for num_facts in sorted(seen))
    if at is not None:  # the row at capacity is judged in full
        prefix = knowledge.prefix(found.num_facts)
        full = judge(
            cell.memory, prefix, setting=setting, measures=cell.measures, encoder=encoder, tau=search.accuracy
        ).rows
        rows = tuple(row for row in rows if row.num_facts != found.num_facts) + full
    weighed = rows[0] if at is None else at  # at capacity: a store grows with its facts
    return rows, CapacityRow(
        study=cell.study,
        memory=weighed.memory,
        twin=weighed.twin,
        phrasing=search.phrasing,
        tau=search.accuracy,
        seed=cell.seed,
        num_facts=found.num_facts,
        censored=found.censored,
        storage_bytes=weighed.storage_bytes,
        num_params=weighed.num_params,
        bits=at.bits_at_tau if at and at.bits_at_tau is not None else at.bits_ce if at else None,
        monotone=found.monotone,
    )
