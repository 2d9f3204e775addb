"""The points of the panel on weights alone and weights that read an index: a search over widths for each."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.text_keys import RotatedKeys
from retromem.measure.answers import accuracy
from retromem.measure.settings import MeasureConfig
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.memories.paired_memory import PairedMemory, PairedMemoryConfig
from retromem.panels.panel_config import Encoded
from retromem.panels.points import Point
from retromem.panels.retrieval.pair_curve import COPY, NO_CHUNK, ORACLE, PAIR, RANDOM, SMALL, WEIGHTS, PairCurveConfig
from retromem.seam import Asked, Memory


@dataclass(frozen=True, kw_only=True)
class _Result:
    """One memory, asked in paraphrases."""

    accuracy: float
    num_params: int
    storage_bytes: int


def pair_curve_points(config: PairCurveConfig, encoded: Encoded, seed: int) -> list[Point]:
    """Of every size and arm."""

    def rotated(knowledge: KnowledgeSet) -> KnowledgeSet:
        with_keys = encoded(knowledge)
        assert with_keys.text_keys is not None
        return with_keys.with_keys(RotatedKeys(with_keys.text_keys, config.dim, seed=seed))

    asked_sets, taught = config.parts(seed)
    parts, taught = [rotated(part) for part in asked_sets], rotated(taught)
    points = []
    for part in parts:
        alone = cache(lambda width, part=part: _alone(config, part, width, seed))
        points += _smallest(config, part, WEIGHTS, alone, seed)
        for series, memory in (
            (COPY, FaissMemoryConfig(key_by="statement", factory=config.factory)),
            (SMALL, FaissMemoryConfig(factory="LSH")),
        ):
            built = memory.build(seed=seed)
            built.write(part.facts(statements=memory.stores == "statements"))
            found = _result(built, _asked(part))
            reached = found.accuracy >= config.accuracy
            points += _points(part, series, seed, found.accuracy, found if reached else None)
    for series, neighbours, chunks in (
        (PAIR, "retrieved", 1),
        (ORACLE, "oracle", 1),
        (NO_CHUNK, "retrieved", 0),
        (RANDOM, "random", 1),
    ):
        reader = cache(lambda width, n=neighbours, k=chunks: _taught(config, taught, width, n, k, seed))
        for part in parts:
            read = cache(lambda width, reader=reader, part=part: _read(reader(width), part))
            if series in (NO_CHUNK, RANDOM):
                y, x = read(config.widths[-1]).accuracy, float(part.num_facts)
                points.append(Point(quantity="accuracy", series=series, x=x, y=y, seed=seed))
            else:
                points += _smallest(config, part, series, read, seed)
    return points


def _alone(config: PairCurveConfig, part: KnowledgeSet, width: int, seed: int) -> _Result:
    memory = FFNMemoryConfig(
        ffn=DenseConfig(kind="gelu", width=width), code_dim=config.dim, precision="int8", training=_budget(config)
    ).build(seed=seed)
    memory.write(part.facts())
    return _result(memory, _asked(part))


def _taught(
    config: PairCurveConfig,
    taught: KnowledgeSet,
    width: int,
    neighbours: Literal["retrieved", "random", "oracle"],
    chunks: int,
    seed: int,
) -> PairedMemory:
    memory = PairedMemoryConfig(
        ffn=DenseConfig(kind="gelu", width=width),
        code_dim=config.dim,
        precision="int8",
        chunks=chunks,
        neighbours=neighbours,
        factory=config.factory,
        training=_budget(config),
    ).build(seed=seed)
    memory.teach(taught.facts(statements=True))
    return memory


def _read(taught: PairedMemory, part: KnowledgeSet) -> _Result:
    """The same weights over a store of these facts."""
    memory, asked = copy.copy(taught), _asked(part)
    if memory.is_told:
        memory.reveal(dict(zip(asked.queries.texts or (), asked.fact_ids_Q.tolist(), strict=True)))
    memory.write(part.facts(statements=True))
    return _result(memory, asked)


def _budget(config: PairCurveConfig) -> TrainingBudget:
    return TrainingBudget(steps=config.steps)


def _asked(part: KnowledgeSet) -> Asked:
    return part.ask("heldout", num=MeasureConfig().max_reworded)


def _result(memory: Memory, asked: Asked) -> _Result:
    footprint = memory.footprint()
    assert footprint.storage_bytes is not None
    return _Result(
        accuracy=accuracy(memory, asked), num_params=footprint.num_params, storage_bytes=footprint.storage_bytes
    )


def smallest_reaching(reaches: Callable[[int], bool], widths: Sequence[int]) -> int | None:
    """The smallest width, by bisection of the rising `widths`; None where the last of them does not reach either."""
    if not reaches(widths[-1]):
        return None
    low, high = -1, len(widths) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(widths[middle]) else (middle, high)
    return widths[high]


def _smallest(
    config: PairCurveConfig, part: KnowledgeSet, series: str, result: Callable[[int], _Result], seed: int
) -> list[Point]:
    width = smallest_reaching(lambda width: result(width).accuracy >= config.accuracy, config.widths)
    at_largest = result(config.widths[-1]).accuracy
    return _points(part, series, seed, at_largest, None if width is None else result(width))


def _points(
    part: KnowledgeSet, series: str, seed: int, accuracy_at_largest: float, smallest: _Result | None
) -> list[Point]:
    """The accuracy at the largest size, and what the smallest that reaches enough has: without end where none does."""
    numbers = {
        "accuracy": accuracy_at_largest,
        "min_params": math.inf if smallest is None else float(smallest.num_params),
        "min_storage_bytes": math.inf if smallest is None else float(smallest.storage_bytes),
    }
    return [Point(quantity=of, series=series, x=float(part.num_facts), y=y, seed=seed) for of, y in numbers.items()]
