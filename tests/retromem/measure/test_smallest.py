"""The search for the smallest memory of a family, against every setting tried; the dials of all families."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models import abandoning
from models.ffn_kinds import GatedConfig
from models.training_budget import TrainingBudget, TrainingCutShort, TrainingDiverged
from retrieval.errors import Refused, UserError
from retromem.compare import smallest
from retromem.configuration import build
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.measure.capacity_law import facts_over_capacity_in_new_words
from retromem.measure.judgement import Setting, judge
from retromem.measure.latency import EncoderCost
from retromem.measure.settings import MeasureConfig, SmallestSearch
from retromem.measure.smallest import Smallest, Tried, search_smallest
from retromem.memories.closed_form_memory import ClosedFormMemoryConfig
from retromem.memories.dial import Dial, Load, dial_of
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.memories.memory_configs import AnyMemoryConfig
from retromem.run.cells import Cell
from retromem.run.run_cell import Workplace, measure_cell

GOAL = SmallestSearch(accuracy=0.9)


def searched(reached: Any, settings: range, start: int, *, resolution: float = 0.05, header: int = 0) -> Smallest:
    """A family of `setting` bytes behind a header; `reached` says which are good enough, None which cannot be."""

    def written(setting: int) -> Tried:
        good = reached(setting)
        if good is None:
            raise Refused(f"{setting} cannot be")
        return Tried(setting=setting, storage_bytes=header + setting, accuracy=0.95 if good else 0.2)

    return search_smallest(written, settings, replace(GOAL, resolution=resolution), start=start)


# ---- the search ----------------------------------------------------------------------------------------------------


@given(
    needed=st.integers(-5, 3000),
    low=st.integers(1, 500),
    length=st.integers(1, 900),
    step=st.integers(1, 9),
    start=st.integers(-10, 4000),
    resolution=st.sampled_from([1e-9, 0.05, 0.3]),
    header=st.sampled_from([0, 40, 5000]),
)
@example(needed=40, low=1, length=600, step=1, start=40, resolution=0.05, header=0)
@example(needed=9999, low=1, length=1, step=1, start=1, resolution=0.05, header=0)
def test_the_search_finds_the_smallest_of_a_step(
    needed: int, low: int, length: int, step: int, start: int, resolution: float, header: int
) -> None:
    settings = range(low, low + step * length, step)
    first = min(settings, key=lambda setting: abs(setting - start))
    settings = range(low, min(settings[-1], 64 * first) + 1, step)  # what lies beyond is not tried
    found = searched(lambda setting: setting >= needed, settings, start, resolution=resolution, header=header)
    tried = [one.setting for one in found.tried]
    assert set(tried) <= set(settings) and len(set(tried)) == len(tried)
    good = [setting for setting in settings if setting >= needed]  # every setting, one after the other
    assert found.monotone
    assert found.is_lowest == (good == list(settings))
    if not good:
        assert found.found is None and settings[-1] in tried
        return
    assert found.found is not None and found.found.storage_bytes is not None
    assert needed <= found.found.setting in settings
    # Nothing smaller by more than the resolution.
    assert found.found.storage_bytes - (header + good[0]) <= resolution * found.found.storage_bytes
    assert len(tried) <= 2 * np.log2(max(2, len(settings) * step)) + 6


@given(good=st.sets(st.integers(10, 60)), start=st.integers(10, 60), unwritten=st.sets(st.integers(10, 60)))
def test_success_that_comes_and_goes_is_noticed(good: set[int], start: int, unwritten: set[int]) -> None:
    if len(unwritten) == 51:
        unwritten.pop()
    written = [setting for setting in range(10, 61) if setting not in unwritten]

    def reached(setting: int) -> bool | None:
        return None if setting in unwritten else setting in good

    try:
        found = searched(reached, range(10, 61), start, resolution=1e-9)
    except Refused:
        return  # of those tried none could be written
    tried = {one.setting: one for one in found.tried}
    for setting, one in tried.items():
        assert (one.storage_bytes is None) == (setting in unwritten)
    reaching = [setting for setting in tried if reached(setting)]
    assert (found.found is None) == (not reaching)
    if reaching:
        assert found.found == tried[min(reaching)]
        failed_above = [setting for setting in tried if setting > min(reaching) and reached(setting) is False]
        assert found.monotone == (not failed_above)
        assert found.is_lowest == (min(reaching) == 10)
    assert set(tried) & set(written)


def test_a_failure_below_the_smallest_is_looked_behind() -> None:
    """88 to 95 fail and 84 to 87 do not: where a bisection ends at 96, the look below it goes on."""
    found = searched(lambda setting: setting >= 96 or 84 <= setting <= 87, range(1, 200), 140, resolution=0.02)
    assert found.found is not None and found.found.setting in (84, 85) and not found.monotone
    steady = searched(lambda setting: setting >= 96, range(1, 200), 140, resolution=0.02)
    assert steady.found is not None and steady.found.setting in (96, 97) and steady.monotone
    assert steady.tried[-1].setting in (85, 86)  # .9 of 95


@pytest.mark.parametrize(
    ("short_by", "abandoned", "looks_below"), [(1.01, False, True), (1.2, False, False), (1.01, True, False)]
)
def test_what_fell_clearly_short_is_not_looked_below(short_by: float, abandoned: bool, looks_below: bool) -> None:
    def written(setting: int) -> Tried:
        if setting >= 96:
            return Tried(setting=setting, storage_bytes=setting, accuracy=0.95, over_capacity=0.99)
        return Tried(setting=setting, storage_bytes=setting, accuracy=0.2, over_capacity=short_by, abandoned=abandoned)

    found = search_smallest(written, range(1, 200), GOAL, start=96)
    assert found.found is not None and 96 <= found.found.setting <= 101
    failed = sorted(one.setting for one in found.tried if one.setting < 96)
    assert (failed[0] < 0.92 * failed[-1]) == looks_below


def test_a_sample_of_questions_is_searched_in_few_looks_and_without_bias() -> None:
    """Answers right at random around a law of the size, as 400 paraphrased questions tell them: 1,000 searches."""
    search, generator = SmallestSearch(accuracy=0.95, phrasing="heldout"), np.random.default_rng(7)
    odds_of_size, needed, tried, errors = 4.2, 130.0, [], []

    def written(setting: int) -> Tried:
        odds = 19 * (setting / needed) ** odds_of_size * np.exp(generator.normal(0, 0.08))
        right = generator.binomial(400, odds / (1 + odds)) / 400
        over = facts_over_capacity_in_new_words(right, search.accuracy)
        return Tried(setting=setting, storage_bytes=setting, accuracy=right, over_capacity=over)

    for _ in range(1000):
        start = round(needed * np.exp(generator.normal(0, 0.07)))
        found = search_smallest(written, range(1, 3000), search, start=start)
        assert found.found is not None
        tried.append(len(found.tried))
        errors.append(np.log(found.found.setting / needed))
    assert np.mean(tried) < 3.7  # 2 at least: the one that is good enough, and the one that is not
    assert abs(np.mean(errors)) < 0.025 and np.std(errors) < 0.06


def test_a_search_in_which_nothing_can_be_written_says_why() -> None:
    with pytest.raises(Refused, match="cannot be"):
        searched(lambda setting: None, range(1, 9), 3)

    def diverges(setting: int) -> Tried:
        if setting > 4:
            raise TrainingDiverged("too fast")
        return Tried(setting=setting, storage_bytes=setting, accuracy=1.0)

    found = search_smallest(diverges, range(1, 9), GOAL, start=8)
    assert found.found is not None and found.found.setting == 1 and found.is_lowest and found.monotone
    assert Tried(setting=8, storage_bytes=None, accuracy=0.0) in found.tried

    # One divergence below what does well is a failure like others.
    def holes(setting: int) -> Tried:
        if setting == 150:
            raise TrainingDiverged("too fast")
        return Tried(setting=setting, storage_bytes=setting, accuracy=0.95 if setting >= 100 else 0.2)

    found = search_smallest(holes, range(1, 400), GOAL, start=180)
    assert found.found is not None and 100 <= found.found.setting <= 105

    def slow(setting: int) -> Tried:
        raise TrainingCutShort("the clock")

    with pytest.raises(TrainingCutShort, match="the clock"):
        search_smallest(slow, range(1, 9), GOAL, start=8)
    # A family that gets nowhere is given up at 64 times where it was expected to get there.
    never = searched(lambda setting: False, range(1, 65_537), 150)
    assert max(one.setting for one in never.tried) == 9600 and len(never.tried) < 12
    # What is not enough and diverges beyond: no setting above that is tried.
    fewer = search_smallest(lambda setting: replace(diverges(setting), accuracy=0.5), range(1, 9), GOAL, start=3)
    assert fewer.found is None and [one.setting for one in fewer.tried if one.storage_bytes] == [3, 4]
    with pytest.raises(TrainingDiverged, match="too fast"):
        search_smallest(diverges, range(5, 9), GOAL, start=7)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"accuracy": 0.0}, "accuracy must be more than 0 and at most 1, not 0"),
        ({"resolution": 0.0}, "resolution must be more than 0, not 0"),
        ({"low": 0}, "low and high must be 1 or more"),
        ({"low": 9, "high": 8}, "low is 9 and high 8: low must be no more than high"),
    ],
)
def test_searches_that_cannot_be(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SmallestSearch(**settings)


@pytest.mark.parametrize(("accuracy", "needed"), [(0.99, 100), (0.95, 20), (0.9, 10), (1.0, 1), (0.3, 2)])
def test_questions_that_a_goal_needs(accuracy: float, needed: int) -> None:
    assert SmallestSearch(accuracy=accuracy).questions_needed == needed


# ---- dials -----------------------------------------------------------------------------------------------------------


def test_settings_of_a_dial_lie_on_its_steps() -> None:
    dial = Dial(name="features", low=1, high=99, step=7)
    assert list(dial.between(None, None)) == list(range(1, 100, 7))
    assert list(dial.between(9, 30)) == [15, 22, 29] and list(dial.between(8, 8)) == [8]
    assert list(dial.between(1, 10**6)) == list(range(1, 100, 7))
    with pytest.raises(ValueError, match="features has no setting from 9 to 14: it goes from 1 to 99 in steps of 7"):
        dial.between(9, 14)


@dataclass(frozen=True, kw_only=True)
class One:
    memory: AnyMemoryConfig


def config(content: dict[str, Any]) -> Any:
    """Of a memory, as YAML would give it."""
    return build(One, {"memory": content}, source="test").memory


FAMILIES: dict[str, tuple[Any, str, int, str]] = {
    "swiglu": (FFNMemoryConfig(rotate_to=9, training=TrainingBudget(key_noise=0.4), precision="midrise3"),
               "ffn.width", 7, "ffn-rot9-gelu-*-midrise3-noise0.4"),
    "closed": (ClosedFormMemoryConfig(method="gated_jl"), "width", 7, "closed-gated-jl-*"),
    "lsh": (FaissMemoryConfig(factory="LSH", rotate_to=8), "rotate_to", 13, "faiss-q-rot*-LSH"),
    "waves": (FaissMemoryConfig(factory="LSH", rotate_to=8, bandwidth=4.0), "rotate_to", 13, "faiss-q-waves*x4-LSH"),
    "pq": (FaissMemoryConfig(factory="PQ4x2np", rotate_to=12), "rotate_to", 15, "faiss-q-rot*-PQ*x2np"),
    "fast": (FaissMemoryConfig(factory="PQ4x4fs", rotate_to=8), "rotate_to", 20, "faiss-q-rot*-PQ*x4fs"),
    "scalar": (FaissMemoryConfig(factory="SQ4", rotate_to=8, chunks=2), "rotate_to", 5, "faiss-q-rot*-SQ4-k2"),
    "called": (FaissMemoryConfig(factory="LSH", rotate_to=8, called="bits"), "rotate_to", 5, "bits"),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_a_dial_changes_nothing_but_the_size(family: str) -> None:
    memory, dial, setting, name = FAMILIES[family]
    found = dial_of(memory)
    assert found is not None and found.name == dial and setting in found.between(None, None)
    assert memory.searched_name == name
    larger = memory.turned(setting)
    assert larger.searched_name == name and larger.turned(setting) == larger
    assert larger.family == memory.family and larger.stores == memory.stores


def test_parts_of_a_product_code_keep_their_dimensions() -> None:
    memory = FaissMemoryConfig(factory="PQ4x2np", rotate_to=12)
    assert memory.dial == Dial(name="rotate_to", low=3, high=4095, step=3)
    assert memory.turned(15) == FaissMemoryConfig(factory="PQ5x2np", rotate_to=15)
    assert FaissMemoryConfig(factory="PQ4x4fs", rotate_to=8).turned(20).factory == "PQ10x4fs"
    for without in (FaissMemoryConfig(factory="LSH"), FaissMemoryConfig(factory="IVF4,PQ4x2np", rotate_to=12)):
        assert dial_of(without) is None
    assert dial_of(FaissMemoryConfig(factory="PQ5x2np", rotate_to=12)) is None  # which no FAISS index is


@pytest.mark.parametrize("memory", ["frequency", "static", "bm25"])
def test_memories_of_one_size_have_no_dial(memory: str) -> None:
    assert dial_of(config({"memory": memory})) is None
    assert dial_of(config({"memory": "ffn", "ffn": {"kind": "linear"}})) is None
    assert dial_of(ClosedFormMemoryConfig(method="pseudo_inverse")) is None
    assert dial_of(config({"memory": "ffn", "ffn": {"kind": "experts"}})) is not None


KEYS = KeysConfig(num_facts=300, num_values=8, dim=10)
SETTING = Setting(study="s", role="arm", seed=3)
MEASURES = MeasureConfig(robustness=False)
SHORT = TrainingBudget(steps=400, learning_rate=0.03, goal_nats=0.0, rounding="aware")


@pytest.mark.parametrize(
    ("memory", "setting"),
    [
        (FaissMemoryConfig(factory="LSH", rotate_to=8), 3),
        (FaissMemoryConfig(factory="PQ3x2np", rotate_to=9), 3),
        (ClosedFormMemoryConfig(method="random_features"), 20),
        (FFNMemoryConfig(precision="midrise1", training=SHORT), 12),
        (FFNMemoryConfig(precision="int3", training=SHORT), 3),
        (config({"memory": "signs"}), 61),
        (config({"memory": "willshaw"}), 20),
    ],
)
def test_no_memory_tells_more_than_its_bound(memory: Any, setting: int) -> None:
    knowledge = keys_set(KEYS).twin(seed=3)
    load = Load(demand_bits=knowledge.demand_bits(), num_facts=300, num_candidates=8, dim=10)
    (row,) = judge(
        memory.turned(setting), knowledge, setting=SETTING, measures=MEASURES, encoder=EncoderCost(), quick=True
    ).rows
    assert row.bits_argmax is not None and row.bits_argmax <= memory.most_bits(setting, load)
    dial = dial_of(memory)
    assert dial is not None
    most = [memory.most_bits(value, load) for value in dial.between(1, 50)]
    assert most == sorted(most) and most[0] < most[-1]


# ---- a cell that searches ------------------------------------------------------------------------------------------


def cell_of(memory: Any, search: SmallestSearch, num_facts: int = 200) -> Cell:
    return Cell(
        study="s", knowledge=KEYS, knowledge_hash=keys_set(KEYS).content_hash, encoder_hash="", memory=memory,
        num_facts=num_facts, capacity=None, smallest=search, seed=3, twin=False, raw_keys=False, role="arm",
        halves=False, shuffled=False, measures=MEASURES,
    )  # fmt: skip


def place(folder: Path) -> Workplace:
    return Workplace(cells_folder=str(folder / "cells"), cache_folder=str(folder / "cache"))


@pytest.mark.parametrize(
    "memory",
    [FaissMemoryConfig(factory="LSH", rotate_to=8), ClosedFormMemoryConfig(method="random_features", precision="int8")],
)
def test_a_cell_ends_at_the_smallest_of_every_setting(memory: Any, tmp_path: Path) -> None:
    search = SmallestSearch(accuracy=0.95, resolution=0.02)
    measured = measure_cell(cell_of(memory, search), place(tmp_path))
    found = measured.smallest
    assert found is not None and measured.capacity is None
    knowledge = keys_set(KEYS).twin(seed=3).prefix(200)

    def row_at(setting: int) -> Any:
        (row,) = judge(
            memory.turned(setting), knowledge, setting=SETTING, measures=MEASURES, encoder=EncoderCost(), quick=True
        ).rows
        return row

    for setting, num_bytes, accuracy in found.tried:
        assert (num_bytes, accuracy) == (row_at(setting).storage_bytes, row_at(setting).accuracy)
    reached = {setting: num_bytes for setting, num_bytes, accuracy in found.tried if accuracy >= 0.95}
    assert found.storage_bytes == min(reached.values()) == reached[found.setting]
    below = [setting for setting in range(max(1, int(0.97 * found.setting)), found.setting)]
    assert all(row_at(setting).accuracy < 0.95 or row_at(setting).storage_bytes >= 0.97 * found.storage_bytes
               for setting in below)  # fmt: skip
    (row,) = measured.rows
    assert (row.memory, row.smallest_for, row.dial_setting) == (memory.searched_name, "identical", found.setting)
    assert row.storage_bytes == found.storage_bytes and row.accuracy == found.accuracy
    assert row.query_ms_p50 is not None  # judged in full
    assert (found.memory, found.side, found.stores) == (row.memory, row.side, "questions")
    assert (found.tau, found.phrasing, found.num_facts, found.seed) == (0.95, "identical", 200, 3)
    assert (found.dial, found.low) == (dial_of(memory).name, 1)  # type: ignore[union-attr]
    assert not found.is_lowest and found.search_seconds > 0
    assert found.num_tried == len(found.tried) == len(found.settings_tried.split())


def test_a_goal_that_is_nowhere_reached_leaves_the_best_of_those_tried(tmp_path: Path) -> None:
    search = SmallestSearch(accuracy=0.9, low=2, high=5)
    measured = measure_cell(cell_of(FaissMemoryConfig(factory="LSH", rotate_to=8), search), place(tmp_path))
    found = measured.smallest
    assert found is not None and found.storage_bytes is None and (found.low, found.high) == (2, 5)
    best = max(found.tried, key=lambda one: one[2])
    assert (found.setting, found.accuracy) == (best[0], best[2]) and best[0] == 5
    (row,) = measured.rows
    assert row.accuracy == found.accuracy < 0.9 and row.dial_setting == 5 and row.smallest_for == "identical"


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_trainings_end_once_they_succeed_and_the_best_of_those_abandoned_is_trained_whole(tmp_path: Path) -> None:
    budget = TrainingBudget(steps=1000, learning_rate=0.03, goal_nats=0.0, rounding="aware")
    family = FFNMemoryConfig(ffn=GatedConfig(), precision="midrise4", training=budget)
    measured = measure_cell(cell_of(family, SmallestSearch()), place(tmp_path))
    found = measured.smallest
    assert found is not None and found.storage_bytes is not None and found.accuracy >= 0.99
    assert 0 < found.optimizer_steps <= 1000 * found.num_tried
    abandoned = {int(setting) for setting in found.settings_abandoned.split()}
    assert {setting for setting, _, share in found.tried if share >= 0.99} & abandoned == set()
    # Far too small: all are abandoned, and the one that is shown was trained to its end.
    measured = measure_cell(cell_of(family, SmallestSearch(low=2, high=5)), place(tmp_path))
    none = measured.smallest
    assert none is not None and none.storage_bytes is None and none.setting == 5
    assert str(none.setting) not in none.settings_abandoned.split()
    assert none.optimizer_steps < 1000 * (none.num_tried + 1)
    (row,) = measured.rows
    (whole,) = judge(
        family.turned(5), keys_set(KEYS).twin(seed=3).prefix(200), setting=SETTING, measures=MEASURES,
        encoder=EncoderCost(), quick=True,
    ).rows  # fmt: skip
    assert row.optimizer_steps == 1000 and row.accuracy == none.accuracy == whole.accuracy
    assert none.accuracy in [share for setting, _, share in none.tried if setting == 5]


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_a_training_that_the_clock_ended_says_nothing_of_a_size(tmp_path: Path) -> None:
    budget = TrainingBudget(steps=100_000, goal_nats=0.0, max_seconds=0.0)
    with pytest.raises(TrainingCutShort, match=r"did not learn 200 facts within training\.max_seconds"):
        measure_cell(cell_of(FFNMemoryConfig(training=budget), SmallestSearch()), place(tmp_path))


def test_the_same_search_from_python(tmp_path: Path) -> None:
    """Twin and seeds as a cell has them; what a config would be refused for is refused."""
    family = FaissMemoryConfig(factory="LSH", rotate_to=8)
    search = SmallestSearch(accuracy=0.95)
    of_cell = measure_cell(cell_of(family, search), place(tmp_path)).smallest
    found = smallest(keys_set(KEYS), family, num_facts=200, accuracy=0.95, seed=3, measures=MEASURES)
    assert of_cell is not None
    assert replace(found, study="s", search_seconds=0.0) == replace(of_cell, search_seconds=0.0)
    with pytest.raises(UserError, match="faiss-q-Flat has no dial"):
        smallest(keys_set(KEYS), FaissMemoryConfig(), num_facts=200)
    with pytest.raises(UserError, match="it takes 100; give more facts, or a lower accuracy"):
        smallest(keys_set(KEYS), family, num_facts=99)
    few = replace(MEASURES, max_asked=90)
    with pytest.raises(UserError, match="90 identical questions .* it takes 100; raise measures.max_asked, or a lower"):
        smallest(keys_set(KEYS), family, num_facts=200, measures=few)
    assert SmallestSearch(accuracy=0.9999).questions_needed == 10_000


def test_searched_cells_are_called_by_their_family(tmp_path: Path) -> None:
    memory = FaissMemoryConfig(factory="LSH", rotate_to=8)
    cell = cell_of(memory, SmallestSearch(phrasing="heldout"))
    assert cell.name == "faiss-q-rot*-LSH" and "n200-smallest-heldout-s3" in cell.folder_name
    assert cell.identity()["smallest"]["accuracy"] == 0.99
    assert cell_of(memory, SmallestSearch()).folder_name != cell.folder_name


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_what_is_found_is_one_memory_even_if_all_were_abandoned_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bound that abandons everything: the search is made again without it, and its row is of the memory found."""
    monkeypatch.setattr(abandoning, "most_gained", lambda *_, **__: -100.0)
    budget = TrainingBudget(steps=600, learning_rate=0.03, goal_nats=0.0, rounding="aware")
    family = FFNMemoryConfig(ffn=GatedConfig(), precision="midrise4", training=budget)
    measured = measure_cell(cell_of(family, SmallestSearch(low=20, high=60)), place(tmp_path))
    found = measured.smallest
    assert found is not None and found.storage_bytes is not None and found.settings_abandoned == ""
    (row,) = measured.rows
    assert (row.storage_bytes, row.accuracy, row.dial_setting) == (found.storage_bytes, found.accuracy, found.setting)
    assert found.storage_bytes == min(size for _, size, share in found.tried if size and share >= 0.99)


def test_a_memory_in_new_words_is_judged_on_questions_that_its_search_did_not_ask(tmp_path: Path) -> None:
    knowledge = keys_set(KEYS).twin(seed=3)
    asked = knowledge.ask("identical")

    def accuracies(first: Literal[0, 1] | None) -> tuple[int | None, float | None]:
        (row,) = judge(
            FaissMemoryConfig(factory="LSH", rotate_to=8), knowledge, setting=SETTING, measures=MEASURES,
            encoder=EncoderCost(), quick=True, every_other={} if first is None else {"identical": first},
        ).rows  # fmt: skip
        return row.num_asked, row.accuracy

    (whole, share), (num_even, even), (num_odd, odd) = accuracies(None), accuracies(0), accuracies(1)
    assert (whole, num_even, num_odd) == (len(asked), 150, 150)
    assert share is not None and even is not None and odd is not None and even != odd
    assert share == pytest.approx((even + odd) / 2)
