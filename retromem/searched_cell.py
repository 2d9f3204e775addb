"""A cell that searches: for the most facts that a memory holds, or for the smallest memory that holds the facts.

Each step writes a memory and asks the questions of the goal alone; the one where the search ends is judged in full.
"""

import time
from dataclasses import replace
from functools import partial
from typing import Any

from models.training_budget import TrainingCutShort
from retromem.cells import Cell
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.measure.capacity import search_capacity
from retromem.measure.judgement import Setting, Written, judge, write
from retromem.measure.latency import EncoderCost
from retromem.measure.settings import SmallestSearch
from retromem.measure.smallest import Tried, search_smallest
from retromem.memories.dial import Dialled, dial_of
from retromem.rows import CapacityRow, Row, SmallestRow
from retromem.seam import Part
from retromem.search_bounds import load_of


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


def _ending_at(config: Any, search: SmallestSearch) -> Any:
    """The memory, trained no longer than until it has succeeded, where that is seen while it is trained: asked for what
    it learns, by the weights that will be stored."""
    training = getattr(config, "training", None)
    if training is None or search.phrasing != "identical" or training.key_noise:
        return config
    if training.rounding != "aware" and config.precision != "float32":
        return config
    return replace(config, training=replace(training, goal_accuracy=search.accuracy))


def find_smallest(
    cell: Cell, knowledge: KnowledgeSet, *, setting: Setting, encoder: EncoderCost
) -> tuple[tuple[Row, ...], SmallestRow]:
    """Rows of the smallest memory that reached the goal, and what was tried; raises Refused where none can be written.

    Where none reached the goal the rows are those of the most accurate one.
    """
    search, family, dial, start = cell.smallest, cell.memory, dial_of(cell.memory), time.perf_counter()
    assert search is not None and isinstance(family, Dialled) and dial is not None
    settings = dial.between(search.low, search.high)
    ask = partial(judge, setting=setting, measures=cell.measures, encoder=encoder, tau=search.accuracy)
    best: tuple[Tried, Written] | None = None

    def rank(tried: Tried) -> tuple[float, float]:
        reached = tried.accuracy >= search.accuracy
        return (1.0, -float(tried.storage_bytes or 0)) if reached else (0.0, tried.accuracy)

    def written(value: int) -> Tried:
        nonlocal best
        config = _ending_at(family.turned(value), search)
        memory = write(config, knowledge, setting=setting)
        (row,) = ask(config, knowledge, only=search.phrasing, quick=True, written=memory).rows
        if not row.succeeded and (row.accuracy or 0) < search.accuracy:
            raise TrainingCutShort(
                f"{config.name} did not learn {knowledge.num_facts:,} facts within training.max_seconds, which says "
                "nothing of its size: raise it"
            )
        assert row.accuracy is not None
        tried = Tried(
            setting=value,
            storage_bytes=memory.memory.footprint().num_bytes(Part.STORAGE),
            accuracy=row.accuracy,
        )
        if best is None or rank(tried) > rank(best[0]):
            best = tried, memory
        return tried

    dim = knowledge.ask("identical", num=1).queries.key_vectors().shape[1]
    load = load_of(knowledge, dim, search)
    found = search_smallest(written, settings, search, start=round(family.first_setting(load)))
    seconds = time.perf_counter() - start
    assert best is not None
    at, memory = best
    rows = ask(_ending_at(family.turned(at.setting), search), knowledge, written=memory).rows
    rows = tuple(replace(row, memory=cell.name, smallest_for=search.phrasing, dial_setting=at.setting) for row in rows)
    return rows, SmallestRow(
        study=cell.study,
        side=rows[0].side,
        stores=rows[0].stores,
        memory=cell.name,
        in_words=family.turned(at.setting).in_words,
        twin=rows[0].twin,
        num_facts=knowledge.num_facts,
        seed=cell.seed,
        phrasing=search.phrasing,
        tau=search.accuracy,
        storage_bytes=None if found.found is None else found.found.storage_bytes,
        setting=at.setting,
        accuracy=at.accuracy,
        dial=dial.name,
        low=settings[0],
        high=settings[-1],
        is_lowest=found.is_lowest,
        monotone=found.monotone,
        tried=tuple((one.setting, one.storage_bytes, one.accuracy) for one in found.tried),
        search_seconds=seconds,
    )
