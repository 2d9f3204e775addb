"""The smallest memory of a family that answers so many facts well enough: searched, and judged in full.

Each step writes a memory and asks the questions of the goal alone: as written all of them; on paraphrases every other
one, and the memory where the search ends is judged on the rest.
"""

import math
import time
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from models.training_budget import TrainingCutShort
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.measure.judgement import Setting, Written, judge, share_right, write
from retromem.measure.latency import EncoderCost
from retromem.measure.search_bounds import load_of
from retromem.measure.searched_training import ending_at, told_of_capacity
from retromem.measure.settings import MeasureConfig, SmallestSearch
from retromem.measure.smallest import Smallest, Tried, search_smallest
from retromem.memories.dial import Dialled, dial_of
from retromem.rows import Row, SmallestRow
from retromem.seam import Part, Phrasing


def find_smallest(
    family: Any,
    knowledge: KnowledgeSet,
    search: SmallestSearch,
    *,
    setting: Setting,
    measures: MeasureConfig,
    encoder: EncoderCost,
) -> tuple[tuple[Row, ...], SmallestRow]:
    """Rows of the smallest memory that reached the goal, and what was tried; raises Refused where none can be written.

    `family`: the config of a memory with a dial (see `memories.dial`), whose own setting counts for nothing. Where none
    reached the goal the rows are those of the most accurate one.
    """
    dial, start = dial_of(family), time.perf_counter()
    assert isinstance(family, Dialled) and dial is not None, "a family has a dial"
    settings = dial.between(search.low, search.high)
    ask = partial(judge, setting=setting, measures=measures, encoder=encoder, tau=search.accuracy)
    # As written all facts are asked. Of paraphrased questions, a sample, the search may have found a lucky memory.
    halves: tuple[Literal[0, 1] | None, ...] = (None, None) if search.phrasing == "identical" else (0, 1)
    step = partial(share_right, phrasing=search.phrasing, setting=setting, measures=measures, first=halves[0])
    load = load_of(knowledge, knowledge.ask("identical", num=1).queries.key_vectors().shape[1], search.phrasing)
    asks_all = measures.most(search.phrasing) is None or knowledge.num_facts <= (measures.most(search.phrasing) or 0)
    steps = 0

    def tried_with(config: Any, value: int) -> tuple[Tried, Written]:
        nonlocal steps
        memory = write(config, knowledge, setting=setting)
        accuracy = step(memory)
        steps += sum(cost.optimizer_steps for cost in memory.costs)
        if not all(cost.succeeded for cost in memory.costs) and accuracy < search.accuracy:
            raise TrainingCutShort(
                f"{config.name} did not learn {knowledge.num_facts:,} facts within training.max_seconds, which says "
                "nothing of its size: raise it, or lower smallest.high"
            )
        tried = Tried(
            setting=value,
            storage_bytes=memory.memory.footprint().num_bytes(Part.STORAGE),
            accuracy=accuracy,
            over_capacity=told_of_capacity(config, memory.costs, accuracy, search.accuracy, search.phrasing),
            abandoned=memory.costs[-1].abandoned,
        )
        return tried, memory

    def rank(tried: Tried) -> tuple[float, float]:
        reached = tried.accuracy >= search.accuracy
        return (1.0, -float(tried.storage_bytes or 0)) if reached else (0.0, tried.accuracy)

    def searched(*, abandons: bool) -> tuple[Smallest, Tried, Any, Written]:
        best: tuple[Tried, Any, Written] | None = None
        of_bound: dict[float, Tried] = {}

        def written(value: int) -> Tried:
            nonlocal best
            bound = family.most_bits(value, load)
            if bound in of_bound:  # two settings may come to one memory: widths of a gated FFN, whose units are whole
                return of_bound[bound]
            config: Any = family.turned(value)
            if asks_all:
                config = ending_at(config, search.accuracy, search.phrasing, abandons=abandons)
            tried, memory = tried_with(config, value)
            if 0 < bound < math.inf:
                of_bound[bound] = tried
            if best is None or rank(tried) > rank(best[0]):
                best = tried, config, memory
            return tried

        found = search_smallest(written, settings, search, start=round(family.first_setting(load)))
        assert best is not None
        return found, *best

    found, at, config, memory = searched(abandons=True)
    tried = found.tried
    if at.abandoned:  # none reached the goal: the most accurate one is trained to its end
        config = family.turned(at.setting)
        whole, memory = tried_with(config, at.setting)
        tried, at = tuple(whole if one == at else one for one in tried), whole
        if whole.accuracy >= search.accuracy:  # abandoned falsely, and smaller ones may have been too
            found, at, config, memory = searched(abandons=False)
            tried = found.tried
    seconds = time.perf_counter() - start
    every_other: dict[Phrasing, Literal[0, 1]] = {} if halves[1] is None else {search.phrasing: halves[1]}
    rows = ask(config, knowledge, written=memory, every_other=every_other).rows
    name = f"{family.searched_name}{setting.suffix}"
    rows = tuple(
        replace(
            row,
            memory=name,
            smallest_for=search.phrasing,
            smallest_tau=search.accuracy,
            dial_setting=at.setting,
        )
        for row in rows
    )
    return rows, SmallestRow(
        study=setting.study,
        side=rows[0].side,
        stores=rows[0].stores,
        memory=name,
        in_words=family.turned(at.setting).in_words,
        twin=rows[0].twin,
        num_facts=knowledge.num_facts,
        seed=setting.seed,
        phrasing=search.phrasing,
        tau=search.accuracy,
        storage_bytes=at.storage_bytes if at.accuracy >= search.accuracy else None,
        setting=at.setting,
        accuracy=at.accuracy,
        dial=dial.name,
        low=settings[0],
        high=settings[-1],
        is_lowest=found.is_lowest,
        monotone=found.monotone,
        tried=tuple((one.setting, one.storage_bytes, one.accuracy) for one in tried),
        settings_abandoned=" ".join(str(one.setting) for one in tried if one.abandoned),
        optimizer_steps=steps,
        search_seconds=seconds,
    )
