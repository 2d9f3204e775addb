"""One search and its reference, on the same facts and first weights: how long each takes, and where it ends.

The reference is plain bisection with whole trainings, by autograd and torch.optim: the script that one would write.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from models.any_ffn import AnyFFNConfig, sized
from models.ffn_kinds import GatedConfig, LinearConfig
from models.training_budget import TrainingBudget
from retromem.benchmarks.autograd_road import built_without_passes
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.measure.capacity import search_capacity
from retromem.measure.capacity_search import find_capacity
from retromem.measure.judgement import Setting, judge
from retromem.measure.latency import EncoderCost
from retromem.measure.searched_training import ending_at
from retromem.measure.settings import CapacitySearch, MeasureConfig, SmallestSearch
from retromem.measure.smallest_search import find_smallest
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.rows import Row

GOAL = 0.99
_BUDGET = TrainingBudget(steps=2000, learning_rate=0.01)
_CAPACITY = CapacitySearch(accuracy=GOAL, high=1 << 16)
_SMALLEST = SmallestSearch(accuracy=GOAL, resolution=_CAPACITY.resolution)
_MEASURES = MeasureConfig(robustness=False)
_CITIES = FFNMemoryConfig(
    ffn=GatedConfig(kind="swiglu"),
    rotate_to=96,
    code_dim=48,
    precision="midrise4",
    training=TrainingBudget(steps=4000, learning_rate=0.03, rounding="aware"),
)
"""the family of the quickstart"""

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One seed, searched by both."""

    searched: str
    """what was"""
    seed: int
    unit: str
    found: int
    """facts at capacity, or bytes of the smallest memory"""
    reference_found: int
    seconds: float
    """of the thread"""
    reference_seconds: float
    steps: int
    """of the optimiser, in all trainings of the search"""
    reference_steps: int
    trainings: int
    reference_trainings: int
    abandoned: int
    """trainings that were ended early, for they would not succeed"""
    falsely_abandoned: int
    """those of them that do succeed when they are trained to their end"""
    succeeded: int
    """trainings that came to the goal"""


@dataclass(frozen=True, kw_only=True)
class _Found:
    found: int
    steps: int
    trainings: tuple[Any, ...]
    """numbers of facts, or settings"""
    abandoned: tuple[Any, ...] = ()
    succeeded: int = 0


def capacity_pair(kind: AnyFFNConfig, dim: int, seed: int) -> Pair:
    """Facts at capacity of an FFN of 8 d^2 parameters, of 4 bits each, on random keys."""
    facts = keys_set(KeysConfig(dim=dim, num_values=16, num_facts=12 * dim**2)).twin(seed=seed)
    ffn = kind if isinstance(kind, LinearConfig) else sized(kind, 8 * dim**2, dim, dim)
    memory = FFNMemoryConfig(ffn=ffn, training=_BUDGET)

    def ours() -> _Found:
        rows, found = find_capacity(
            memory, facts, _CAPACITY, setting=_setting(seed), measures=_MEASURES, encoder=EncoderCost()
        )
        return _Found(
            found=found.num_facts,
            steps=found.optimizer_steps,
            trainings=tuple(map(int, found.sizes_tried.split())),
            abandoned=tuple(map(int, found.sizes_abandoned.split())),
            succeeded=sum((row.accuracy or 0) >= GOAL for row in rows),
        )

    def reference() -> _Found:
        asked: dict[int, Row] = {}

        def reaches(num_facts: int) -> bool:
            asked[num_facts] = _asked(_by_autograd(memory), facts.prefix(num_facts), seed)
            return (asked[num_facts].accuracy or 0) >= GOAL

        found = search_capacity(reaches, _CAPACITY, num_available=facts.num_facts)
        return _Found(found=found.num_facts, steps=_steps(asked), trainings=tuple(asked))

    def succeeds(num_facts: int) -> bool:
        return (_asked(_unabandoned(memory), facts.prefix(num_facts), seed).accuracy or 0) >= GOAL

    _warm_up(memory, facts.prefix(16), seed)
    searched = f"capacity of {ffn.family}, {dim} inputs, {ffn.num_params(dim, dim):,} parameters"
    return _pair(searched, "facts", seed, ours, reference, succeeds)


def smallest_pair(facts: KnowledgeSet, seed: int) -> Pair:
    """Bytes of the smallest FFN of the quickstart's family that answers these facts."""

    def ours() -> _Found:
        found = find_smallest(
            _CITIES, facts, _SMALLEST, setting=_setting(seed), measures=_MEASURES, encoder=EncoderCost()
        )[1]
        assert found.storage_bytes is not None
        return _Found(
            found=found.storage_bytes,
            steps=found.optimizer_steps,
            trainings=tuple(setting for setting, _, _ in found.tried),
            abandoned=tuple(map(int, found.settings_abandoned.split())),
            succeeded=sum(accuracy >= GOAL for _, _, accuracy in found.tried),
        )

    def reference() -> _Found:
        asked: dict[int, Row] = {}

        def reaches(width: int) -> bool:
            asked[width] = _asked(_by_autograd(_CITIES.turned(width)), facts, seed)
            return (asked[width].accuracy or 0) >= GOAL

        good = 16
        while not reaches(good):
            good *= 2
        bad = good // 2
        while good - bad > max(1.0, _SMALLEST.resolution * good):
            middle = (good + bad) // 2
            good, bad = (middle, bad) if reaches(middle) else (good, middle)
        found = asked[good].storage_bytes
        assert found is not None
        return _Found(found=found, steps=_steps(asked), trainings=tuple(asked))

    def succeeds(width: int) -> bool:
        return (_asked(_unabandoned(_CITIES.turned(width)), facts, seed).accuracy or 0) >= GOAL

    _warm_up(_CITIES, facts, seed)
    searched = f"smallest memory of {facts.num_facts:,} cities, {_CITIES.searched_name}"
    return _pair(searched, "bytes", seed, ours, reference, succeeds)


def _pair(
    searched: str,
    unit: str,
    seed: int,
    ours: Callable[[], _Found],
    reference: Callable[[], _Found],
    succeeds: Callable[[int], bool],
) -> Pair:
    """Both, in an order that the seed turns; then what was abandoned is trained to its end."""
    torch.set_num_threads(1)
    (first, first_seconds), (second, second_seconds) = map(_timed, (ours, reference) if seed % 2 else (reference, ours))
    if not seed % 2:
        (first, first_seconds), (second, second_seconds) = (second, second_seconds), (first, first_seconds)
    return Pair(
        searched=searched,
        unit=unit,
        seed=seed,
        found=first.found,
        reference_found=second.found,
        seconds=first_seconds,
        reference_seconds=second_seconds,
        steps=first.steps,
        reference_steps=second.steps,
        trainings=len(first.trainings),
        reference_trainings=len(second.trainings),
        abandoned=len(first.abandoned),
        falsely_abandoned=sum(map(succeeds, first.abandoned)),
        succeeded=first.succeeded,
    )


def _timed(search: Callable[[], _T]) -> tuple[_T, float]:
    start = time.thread_time()
    return search(), time.thread_time() - start


def _setting(seed: int) -> Setting:
    return Setting(study="bench", role="arm", seed=seed)


def _asked(memory: FFNMemoryConfig, facts: KnowledgeSet, seed: int) -> Row:
    (row,) = judge(
        memory, facts, setting=_setting(seed), measures=_MEASURES, encoder=EncoderCost(), only="identical", quick=True
    ).rows
    return row


def _unabandoned(memory: FFNMemoryConfig) -> FFNMemoryConfig:
    """The same, taken to its end unless it succeeds before."""
    ends: FFNMemoryConfig = ending_at(memory, GOAL, "identical", abandons=False)
    return ends


def _by_autograd(memory: FFNMemoryConfig) -> FFNMemoryConfig:
    """Taken to its end, whatever it answers."""
    training = replace(memory.training, goal_nats=0.0)
    return replace(memory, training=training, ffn=built_without_passes(memory.ffn))


def _warm_up(memory: FFNMemoryConfig, facts: KnowledgeSet, seed: int) -> None:
    """What comes first is slow, on both roads."""
    for one in (memory, _by_autograd(memory)):
        _asked(replace(one, training=replace(one.training, steps=1)), facts, seed)


def _steps(asked: dict[int, Row]) -> int:
    return sum(row.optimizer_steps or 0 for row in asked.values())
