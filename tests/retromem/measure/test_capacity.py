import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget, TrainingDiverged
from retrieval.errors import Refused
from retromem.knowledge.random_keys import KeysConfig
from retromem.measure.capacity import Capacity, read_off, search_capacity
from retromem.measure.judgement import Setting, judge
from retromem.measure.latency import EncoderCost
from retromem.measure.settings import CapacitySearch, MeasureConfig
from retromem.memories.dial import Load
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.memories.memory_configs import AnyMemoryConfig
from retromem.rows import Row
from retromem.run.cells import Cell, plan
from retromem.run.experiment import ArmsConfig, ExperimentConfig, StudyConfig
from retromem.run.run_cell import Workplace, cell_knowledge, measure_cell


class Asked:
    """A memory that holds `capacity` facts and no more; notes the sizes that were tried."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.sizes: list[int] = []

    def __call__(self, num_facts: int) -> bool:
        self.sizes.append(num_facts)
        return num_facts <= self.capacity


@given(
    capacity=st.integers(0, 3000),
    low=st.integers(1, 600),
    high=st.integers(1, 2500),
    num_available=st.integers(1, 2500),
    resolution=st.sampled_from([1e-9, 0.02, 0.3]),
)
@example(capacity=512, low=16, high=2048, num_available=512, resolution=0.02)
@example(capacity=0, low=16, high=2048, num_available=2048, resolution=0.02)
def test_the_search_finds_the_boundary_of_a_step(
    capacity: int, low: int, high: int, num_available: int, resolution: float
) -> None:
    asked, high = Asked(capacity), max(low, high)
    found = search_capacity(
        asked, CapacitySearch(low=low, high=high, resolution=resolution), num_available=num_available
    )
    most = min(high, num_available)
    assert all(0 < size <= most for size in asked.sizes)
    assert len(set(asked.sizes)) == len(asked.sizes)
    # Brute force over every size in range says where the step is.
    holds = [size for size in range(1, most + 1) if size <= capacity]
    if capacity >= most:
        assert found == Capacity(num_facts=most, censored=True)
    elif capacity < min(low, most):
        # One failure at the start is not the end; two are.
        assert found == Capacity(num_facts=0, censored=False)
        assert asked.sizes == sorted({min(low, most), min(2 * low, most)})
    else:
        assert not found.censored and found.monotone
        assert 0 <= holds[-1] - found.num_facts <= max(0.0, resolution * found.num_facts)
        assert found.num_facts in asked.sizes


def test_without_tolerance_the_boundary_is_exact() -> None:
    for capacity in range(16, 200):
        found = search_capacity(Asked(capacity), CapacitySearch(low=16, high=300, resolution=1e-9), num_available=500)
        assert found == Capacity(num_facts=capacity, censored=False)


def search(reaches: Any, low: int = 16, high: int = 1024) -> Capacity:
    return search_capacity(reaches, CapacitySearch(low=low, high=high, resolution=0.02), num_available=high)


@pytest.mark.parametrize("unlucky", [range(16, 17), range(64, 65), range(128, 129), range(250, 260)])
def test_one_failure_far_below_the_capacity_is_not_the_end(unlucky: range) -> None:
    asked = Asked(500)
    found = search(lambda num_facts: asked(num_facts) and num_facts not in unlucky)
    assert 490 <= found.num_facts <= 500
    assert found.monotone is not any(size in unlucky for size in asked.sizes)
    assert len(asked.sizes) < 25


def test_noise_at_every_size_ends_too_and_is_said() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        sizes: list[int] = []

        def tossed(num_facts: int, sizes: list[int] = sizes) -> bool:
            sizes.append(num_facts)
            return bool(rng.random() < 0.5)

        found = search(tossed, high=10_000)
        assert len(sizes) == len(set(sizes)) <= 45
        assert found.num_facts in {0, *sizes}


def test_sizes_that_cannot_be_written_are_no_end_of_the_search() -> None:
    def trained_from(least: int, capacity: int) -> Any:
        def reaches(num_facts: int) -> bool:
            if num_facts < least:
                raise Refused(f"{least} are needed to train, not {num_facts}")
            return num_facts <= capacity

        return reaches

    assert search(trained_from(256, 700)) == Capacity(num_facts=696, censored=False)
    assert search(trained_from(256, 5000)) == Capacity(num_facts=1024, censored=True)
    assert search(trained_from(100, 5)) == Capacity(num_facts=0, censored=False)
    with pytest.raises(Refused, match="2000 are needed to train, not 1024"):
        search(trained_from(2000, 5000))


def test_a_training_that_diverges_is_no_lack_of_capacity() -> None:
    def diverging(bad: range) -> Any:
        def reaches(num_facts: int) -> bool:
            if num_facts in bad:
                raise TrainingDiverged("the loss is nan")
            return num_facts <= 300

        return reaches

    assert search(diverging(range(40))).num_facts in range(294, 301)
    for bad in (range(2000), range(100, 2000)):
        with pytest.raises(TrainingDiverged):
            search(diverging(bad))


# ---- read off the sizes that were run ------------------------------------------------------------------------------


def row(num_facts: int, accuracy: float, **other: Any) -> Row:
    return Row(
        **{
            "study": "keys",
            "side": "parametric",
            "memory": "ffn-relu-8",
            "role": "arm",
            "family": "ffn-relu",
            "stores": "questions",
            "knowledge": "abc",
            "knowledge_name": "keys",
            "twin": False,
            "num_facts": num_facts,
            "seed": 0,
            "phrasing": "identical",
            "accuracy": accuracy,
            "demand_bits": 4.0 * num_facts,
            "bits_ce": 2.0 * num_facts,
            "storage_bytes": 100,
            "num_params": 25,
            **other,
        }
    )


def test_capacities_are_read_off_the_largest_size_that_reached_for_each_seed_and_twin() -> None:
    rows = [row(size, 1.0 if size <= 200 else 0.9) for size in (400, 100, 200)]
    rows += [row(size, 1.0, seed=1) for size in (100, 200, 400)]
    rows += [row(size, 0.5, twin=True) for size in (100, 200, 400)]
    rows += [row(100, 1.0, memory="asked at one size")]
    rows += [row(size, 1.0, memory="no weights", side="retrieval") for size in (100, 200)]
    rows += [row(size, 1.0, memory="a control", role="control") for size in (100, 200)]
    rows += [row(size, 1.0, memory="another phrasing", phrasing="heldout") for size in (100, 200)]
    # The smallest memory at each size is another one each time.
    rows += [row(size, 1.0, memory="ffn-*", smallest_for="identical") for size in (100, 200)]
    found = read_off(rows, tau=0.99, phrasing="identical")
    assert [(one.memory, one.seed, one.twin, one.num_facts, one.censored, one.bits) for one in found] == [
        ("ffn-relu-8", 0, False, 200, False, 400.0),
        ("ffn-relu-8", 1, False, 400, True, 800.0),
        ("ffn-relu-8", 0, True, 0, False, None),
    ]
    said = {(one.tau, one.phrasing, one.num_params, one.storage_bytes) for one in found}
    assert said == {(0.99, "identical", 25, 100)}
    assert [one.memory for one in read_off(rows, tau=0.99, phrasing="heldout")] == ["another phrasing"]


# ---- a search as a cell --------------------------------------------------------------------------------------------


def search_cell(memory: AnyMemoryConfig, search: CapacitySearch) -> Cell:
    arms = ArmsConfig(memories=(memory,), capacity=search, seeds=(0,))
    studies = {"keys": StudyConfig(knowledge=KeysConfig(num_facts=256, num_values=4), arms=(arms,))}
    measures = MeasureConfig(robustness=False)
    (cell,) = plan(
        ExperimentConfig(title="t", question="q", studies=studies, measures=measures), encoder_hash="", text_dim=384
    )
    return cell


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(cells_folder=str(tmp_path), cache_folder="")


def test_a_training_that_was_cut_short_and_sufficed_is_counted(workplace: Workplace) -> None:
    # Rounded once trained, so that nobody asks it while it is.
    ffn = FFNMemoryConfig(ffn=DenseConfig(width=64), precision="int8", training=TrainingBudget(max_seconds=1e-9))
    measured = measure_cell(search_cell(ffn, CapacitySearch(low=8, high=16)), workplace)
    rows, found = measured.rows, measured.capacity
    assert found is not None and (found.num_facts, found.censored) == (16, True)
    assert {(row.num_facts, row.accuracy, row.succeeded) for row in rows} == {(8, 1.0, False), (16, 1.0, False)}


def test_a_memory_that_never_fails_has_a_lower_bound_and_is_weighed_where_it_ended(workplace: Workplace) -> None:
    search = CapacitySearch(low=16, high=128)
    measured = measure_cell(search_cell(FaissMemoryConfig(), search), workplace)
    rows, capacity = measured.rows, measured.capacity
    assert capacity is not None
    assert (capacity.num_facts, capacity.censored, capacity.tau) == (128, True, 0.99)
    assert [row.num_facts for row in rows] == [16, 32, 64, 128]
    assert all(row.accuracy == 1.0 and row.phrasing == "identical" for row in rows)
    assert capacity.bits == rows[-1].bits_at_tau == 128 * 2
    assert capacity.storage_bytes == rows[-1].storage_bytes
    assert rows[0].storage_bytes is not None and rows[0].storage_bytes < (capacity.storage_bytes or 0)
    # Only where the search ended is the row judged in full.
    assert [row.query_ms_p50 is not None for row in rows] == [False, False, False, True]
    assert json.dumps(search_cell(FaissMemoryConfig(), search).identity())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_a_capacity_by_how_trainings_end_is_that_of_whole_trainings(workplace: Workplace) -> None:
    whole = TrainingBudget(steps=1000, learning_rate=0.03, goal_nats=0.0)
    ffn = FFNMemoryConfig(ffn=DenseConfig(kind="gelu", width=8), training=whole)
    search = CapacitySearch(high=256, resolution=0.05)
    measured = measure_cell(search_cell(ffn, search), workplace)
    found = measured.capacity
    assert found is not None
    knowledge = cell_knowledge(search_cell(ffn, search))

    def reaches(num_facts: int) -> bool:
        (row,) = judge(
            ffn, knowledge.prefix(num_facts), setting=Setting(study="keys", role="arm", seed=0),
            measures=MeasureConfig(robustness=False), encoder=EncoderCost(), quick=True,
        ).rows  # fmt: skip
        return row.accuracy is not None and row.accuracy >= 0.99

    by_bisection = search_capacity(reaches, search, num_available=256)
    assert (
        0.85 < found.num_facts / by_bisection.num_facts < 1.15
    )  # of single facts in some 70, the resolution is coarse
    tried, abandoned = ([int(size) for size in sizes.split()] for sizes in (found.sizes_tried, found.sizes_abandoned))
    assert found.num_facts in tried and set(abandoned) < set(tried)
    assert found.optimizer_steps < 1000 * len(tried)
    # An accuracy that somebody broke off says nothing of that size.
    assert {row.num_facts for row in measured.rows} == set(tried) - set(abandoned)
    (at,) = [row for row in measured.rows if row.num_facts == found.num_facts]
    assert at.query_ms_p50 is not None and at.accuracy is not None and at.accuracy >= 0.99


def test_a_search_for_a_capacity_begins_near_it() -> None:
    """At two bits per parameter, or where it is told to."""
    ffn = FFNMemoryConfig(ffn=DenseConfig(kind="gelu", width=32))
    load = Load(demand_bits=4096 * 4, num_facts=4096, num_candidates=16, dim=16)
    bits_per_param = ffn.first_num_facts(load) * 4 / ffn.ffn.num_params(16, 16)
    assert 2.0 < bits_per_param < 2.4
    half = ffn.first_num_facts(replace(load, demand_bits=4096 * 2))
    assert 1.2 < half / ffn.first_num_facts(load) < 2  # a fact of fewer bits costs more than its share


def test_a_search_begins_lower_where_minibatches_show_a_fact_less_often() -> None:
    load = Load(demand_bits=4096 * 4, num_facts=4096, num_candidates=16, dim=64)

    def first(steps: int, width: int) -> float:
        training = TrainingBudget(steps=steps, batch_size=512, full_batch_up_to=1024)
        return FFNMemoryConfig(ffn=DenseConfig(kind="gelu", width=width), training=training).first_num_facts(load)

    many = first(10**6, 256)
    for steps in (500, 2000, 8000):
        # At sizes where each fact is seen e times, a memory holds sqrt(e / 400) of what it does of facts seen often.
        assert first(steps, 256) == pytest.approx(many * math.sqrt(steps * 512 / first(steps, 256) / 400))
    assert first(1, 256) == 1024 and first(1, 8) == first(10**6, 8) < 1024  # a full batch shows all at each step


def test_a_memory_that_always_fails_holds_nothing(workplace: Workplace) -> None:
    measured = measure_cell(search_cell(FrequencyConfig(), CapacitySearch(low=64, high=128)), workplace)
    rows, capacity = measured.rows, measured.capacity
    assert capacity is not None
    assert (capacity.num_facts, capacity.censored, capacity.bits) == (0, False, None)
    assert [row.num_facts for row in rows] == [64, 128]


def test_a_search_ends_between_the_largest_size_that_held_and_one_that_did_not(workplace: Workplace) -> None:
    # The most frequent of four values answers a quarter or more: of few facts a larger share, of many a smaller one.
    search = CapacitySearch(accuracy=0.4, low=4, high=256, resolution=0.02)
    measured = measure_cell(search_cell(FrequencyConfig(), search), workplace)
    rows, capacity = measured.rows, measured.capacity
    assert capacity is not None and not capacity.censored
    held = {row.num_facts for row in rows if row.accuracy is not None and row.accuracy >= 0.4}
    failed = {row.num_facts for row in rows} - held
    assert capacity.num_facts == max(held, default=0)
    assert capacity.monotone is (min(failed) > capacity.num_facts)
    beyond = min(size for size in failed if size > capacity.num_facts)
    assert beyond - capacity.num_facts <= max(1, 0.02 * capacity.num_facts)
