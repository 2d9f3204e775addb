"""The smallest memory of a family that answers so many facts well enough: searched, and judged in full.

Each step writes a memory and asks the questions of the goal alone.
"""

import math
import time
from dataclasses import replace
from functools import partial
from typing import Any

from models.training_budget import TrainingCutShort
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.measure.judgement import Setting, Written, judge, write
from retromem.measure.latency import EncoderCost
from retromem.measure.settings import MeasureConfig, SmallestSearch
from retromem.measure.smallest import Tried, search_smallest
from retromem.memories.dial import Dialled, dial_of
from retromem.rows import Row, SmallestRow
from retromem.seam import Part
from retromem.search_bounds import load_of


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
    load = load_of(knowledge, knowledge.ask("identical", num=1).queries.key_vectors().shape[1], search)
    best: tuple[Tried, Written] | None = None
    of_bound: dict[float, Tried] = {}

    def rank(tried: Tried) -> tuple[float, float]:
        reached = tried.accuracy >= search.accuracy
        return (1.0, -float(tried.storage_bytes or 0)) if reached else (0.0, tried.accuracy)

    def written(value: int) -> Tried:
        nonlocal best
        bound = family.most_bits(value, load)
        if bound in of_bound:  # two settings may come to one memory: widths of a gated FFN, whose units are whole
            return of_bound[bound]
        config = _ending_at(family.turned(value), search)
        memory = write(config, knowledge, setting=setting)
        (row,) = ask(config, knowledge, only=search.phrasing, quick=True, written=memory).rows
        if not row.succeeded and (row.accuracy or 0) < search.accuracy:
            raise TrainingCutShort(
                f"{config.name} did not learn {knowledge.num_facts:,} facts within training.max_seconds, which says "
                "nothing of its size: raise it, or lower smallest.high"
            )
        assert row.accuracy is not None
        tried = Tried(
            setting=value,
            storage_bytes=memory.memory.footprint().num_bytes(Part.STORAGE),
            accuracy=row.accuracy,
        )
        if 0 < bound < math.inf:
            of_bound[bound] = tried
        if best is None or rank(tried) > rank(best[0]):
            best = tried, memory
        return tried

    found = search_smallest(written, settings, search, start=round(family.first_setting(load)))
    seconds = time.perf_counter() - start
    assert best is not None
    at, memory = best
    rows = ask(_ending_at(family.turned(at.setting), search), knowledge, written=memory).rows
    name = f"{family.searched_name}{setting.suffix}"
    rows = tuple(replace(row, memory=name, smallest_for=search.phrasing, dial_setting=at.setting) for row in rows)
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
