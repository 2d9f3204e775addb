"""A search for the most facts that a memory holds.

Each step writes a memory and asks the questions of the goal alone; the one where the search ends is judged in full.
"""

from typing import Any

from models.training_budget import TrainingCutShort
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.measure.capacity import Capacity, Outcome, search_capacity, search_from_outcomes
from retromem.measure.judgement import Setting, Written, judge, write
from retromem.measure.latency import EncoderCost
from retromem.measure.search_bounds import load_of
from retromem.measure.searched_training import ending_at, told_of_capacity
from retromem.measure.settings import CapacitySearch, MeasureConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.rows import CapacityRow, Row


def find_capacity(
    memory: Any,
    knowledge: KnowledgeSet,
    search: CapacitySearch,
    *,
    setting: Setting,
    measures: MeasureConfig,
    encoder: EncoderCost,
) -> tuple[tuple[Row, ...], CapacityRow]:
    """Rows of each size that was tried to its end, that at capacity in full, and the capacity. Raises Refused."""
    config = memory
    if measures.max_asked is None:  # a training ends by all of its facts, and must not be judged on others
        config = ending_at(memory, search.accuracy, search.phrasing)
    seen, outcomes, abandoned = dict[int, Row](), dict[int, Outcome](), set[int]()
    held: tuple[int, Written] | None = None  # the most facts that reached the accuracy

    def reaches(num_facts: int) -> bool:
        nonlocal held
        prefix = knowledge.prefix(num_facts)
        written = write(config, prefix, setting=setting)
        (row,) = judge(
            config,
            prefix,
            setting=setting,
            measures=measures,
            encoder=encoder,
            only=search.phrasing,
            quick=True,
            tau=search.accuracy,
            written=written,
        ).rows
        seen[num_facts], accuracy = row, row.accuracy or 0.0
        reached = row.accuracy is not None and accuracy >= search.accuracy
        if not reached and not row.succeeded:
            raise TrainingCutShort(
                f"{num_facts:,} facts were not learnt within training.max_seconds, which says nothing of the capacity: "
                "raise it"
            )
        if reached and (held is None or num_facts > held[0]):
            held = num_facts, written
        if written.costs[-1].abandoned:
            abandoned.add(num_facts)
        over = told_of_capacity(config, written.costs, accuracy, search.accuracy, search.phrasing)
        if over is not None:
            outcomes[num_facts] = Outcome(reached=reached, over_capacity=over)
        return reached

    found = _searched(config, knowledge, search, reaches, outcomes)
    rows = tuple(seen[num_facts] for num_facts in sorted(seen) if num_facts not in abandoned)
    at = seen.get(found.num_facts)
    if at is not None:  # the row at capacity is judged in full
        assert held is not None and held[0] == found.num_facts
        prefix = knowledge.prefix(found.num_facts)
        full = judge(
            config, prefix, setting=setting, measures=measures, encoder=encoder, tau=search.accuracy, written=held[1]
        ).rows
        rows = tuple(row for row in rows if row.num_facts != found.num_facts) + full
    weighed = at or next(iter(seen.values()))  # at capacity: a store grows with its facts
    return rows, CapacityRow(
        study=setting.study,
        memory=weighed.memory,
        twin=weighed.twin,
        phrasing=search.phrasing,
        tau=search.accuracy,
        seed=setting.seed,
        num_facts=found.num_facts,
        censored=found.censored,
        storage_bytes=weighed.storage_bytes,
        num_params=weighed.num_params,
        bits=at.bits_at_tau if at and at.bits_at_tau is not None else at.bits_ce if at else None,
        monotone=found.monotone,
        sizes_tried=" ".join(map(str, seen)),
        optimizer_steps=sum(row.optimizer_steps or 0 for row in seen.values()),
        sizes_abandoned=" ".join(str(num_facts) for num_facts in seen if num_facts in abandoned),
    )


def _searched(
    config: Any,
    knowledge: KnowledgeSet,
    search: CapacitySearch,
    reaches: Any,
    outcomes: dict[int, Outcome],
) -> Capacity:
    """By how trainings end, where that is seen while they last; by bisection for everything else."""
    if not isinstance(config, FFNMemoryConfig) or config.training.goal_accuracy is None or not config.training.steps:
        return search_capacity(reaches, search, num_available=knowledge.num_facts)

    def outcome_of(num_facts: int) -> Outcome:
        reaches(num_facts)
        return outcomes[num_facts]

    dim = knowledge.ask("identical", num=1).queries.key_vectors().shape[1]
    start = search.low or round(config.first_num_facts(load_of(knowledge, dim, search.phrasing)))
    return search_from_outcomes(outcome_of, search, num_available=knowledge.num_facts, start=start)
