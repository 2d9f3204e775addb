import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retromem.cells import Cell, plan
from retromem.experiment import ArmsConfig, ExperimentConfig, StudyConfig
from retromem.knowledge.random_keys import KeysConfig
from retromem.measure.capacity import Capacity, read_off, search_capacity
from retromem.measure.latency import EncoderCost
from retromem.measure.settings import CapacitySearch, MeasureConfig
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.memories.memory_configs import AnyMemoryConfig
from retromem.rows import Row
from retromem.run_cell import Workplace, measure_cell


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
        assert found == Capacity(num_facts=0, censored=False)
        assert asked.sizes == [min(low, most)]
    else:
        assert not found.censored
        assert 0 <= holds[-1] - found.num_facts <= max(0.0, resolution * found.num_facts)
        assert found.num_facts in asked.sizes


def test_without_tolerance_the_boundary_is_exact() -> None:
    for capacity in range(16, 200):
        found = search_capacity(Asked(capacity), CapacitySearch(low=16, high=300, resolution=1e-9), num_available=500)
        assert found == Capacity(num_facts=capacity, censored=False)


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
    return Workplace(cells_folder=str(tmp_path), cache_folder="", encoder=EncoderCost())


def test_a_memory_that_never_fails_has_a_lower_bound_and_is_weighed_where_it_ended(workplace: Workplace) -> None:
    search = CapacitySearch(low=16, high=128)
    rows, capacity = measure_cell(search_cell(FaissMemoryConfig(), search), workplace)
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


def test_a_memory_that_always_fails_holds_nothing(workplace: Workplace) -> None:
    rows, capacity = measure_cell(search_cell(FrequencyConfig(), CapacitySearch(low=64, high=128)), workplace)
    assert capacity is not None
    assert (capacity.num_facts, capacity.censored, capacity.bits) == (0, False, None)
    assert [row.num_facts for row in rows] == [64]


def test_a_search_ends_between_the_largest_size_that_held_and_one_that_did_not(workplace: Workplace) -> None:
    # The most frequent of four values answers a quarter or more: of few facts a larger share, of many a smaller one.
    search = CapacitySearch(accuracy=0.4, low=4, high=256, resolution=0.02)
    rows, capacity = measure_cell(search_cell(FrequencyConfig(), search), workplace)
    assert capacity is not None and not capacity.censored
    held = {row.num_facts for row in rows if row.accuracy is not None and row.accuracy >= 0.4}
    failed = {row.num_facts for row in rows} - held
    assert capacity.num_facts == max(held, default=0)
    assert min(failed) > capacity.num_facts
    assert min(failed) - capacity.num_facts <= max(1, 0.02 * capacity.num_facts)
