"""What a run plans, promises, keeps and tells: whole records of small experiments, written out."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retrieval.errors import UserError
from retromem.knowledge.random_keys import KeysConfig
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.measure.settings import CapacitySearch, MeasureConfig, SmallestSearch
from retromem.memories.closed_form_memory import ClosedFormMemoryConfig
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.memories.static_function import StaticFunctionConfig
from retromem.run.cells import Cell, _rounded_up, plan
from retromem.run.experiment import ArmsConfig, ExperimentConfig, StudyConfig
from retromem.run.plan_record import plan_record
from retromem.run.progress import Progress, opening
from retromem.run.run_experiment import _check_place, _other_sets

KEYS = KeysConfig(num_facts=300, num_values=8, dim=6)
FFN = FFNMemoryConfig(ffn=DenseConfig(kind="relu", width=9), training=TrainingBudget(steps=1000))


@pytest.fixture
def people(tmp_path: Path) -> TextConfig:
    lines = [{"subject": f"Person {row}", "relation": "trade", "value": f"kind {row % 5}"} for row in range(60)]
    lines += [{"subject": f"Person {row}", "relation": "town", "value": f"town {row % 7}"} for row in range(20)]
    lines.append({"subject": "", "relation": "town", "value": "town 1"})
    path = tmp_path / "people.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return TextConfig(source="file", file=str(path))


def two_studies(people: TextConfig) -> ExperimentConfig:
    trained = ArmsConfig(memories=(FFN,), num_facts=(50, 20), seeds=(3, 1), twins=(True, False), keys="raw")
    others = ArmsConfig(memories=(FaissMemoryConfig(), FrequencyConfig()), num_facts=(40,), seeds=(2,), role="control")
    halves = ArmsConfig(memories=(FaissMemoryConfig(chunks=2),), num_facts=(30,), seeds=(0,), halves=True)
    search = ArmsConfig(
        memories=(ClosedFormMemoryConfig(),), capacity=CapacitySearch(high=200), seeds=(5,), shuffled=True
    )
    return ExperimentConfig(
        title="Two",
        question="Which?",
        studies={
            "people": StudyConfig(knowledge=people, arms=(trained, others)),
            "keys": StudyConfig(knowledge=KEYS, arms=(halves, search)),
        },
        measures=MeasureConfig(max_asked=17),
    )


# ---- cells ---------------------------------------------------------------------------------------------------------


def test_every_field_of_every_cell_that_is_planned(people: TextConfig) -> None:
    cells = plan(two_studies(people), encoder_hash="enc", text_dim=48)
    shared: dict[str, Any] = {
        "knowledge": people,
        "knowledge_hash": build_knowledge(people).content_hash,
        "encoder_hash": "enc",
        "study": "people",
        "capacity": None,
        "smallest": None,
        "halves": False,
        "shuffled": False,
        "measures": MeasureConfig(max_asked=17),
    }
    plain, shuffled = {"twin": False, "raw_keys": False}, {"seed": 5, "shuffled": True}
    of_keys = {
        **shared, "study": "keys", "knowledge": KEYS, "knowledge_hash": build_knowledge(KEYS).content_hash,
        "encoder_hash": "", "twin": False, "raw_keys": False, "role": "arm",
    }  # fmt: skip
    wanted = [
        Cell(
            **{**shared, "memory": FFN, "num_facts": size, "seed": seed, "twin": twin, "raw_keys": True, "role": "arm"}
        )
        for size in (50, 20)
        for twin in (True, False)
        for seed in (3, 1)
    ]
    wanted += [
        Cell(**{**shared, "memory": memory, "num_facts": 40, "seed": 2, **plain, "role": "control"})
        for memory in (FaissMemoryConfig(), FrequencyConfig())
    ]
    wanted.append(
        Cell(**{**of_keys, "memory": FaissMemoryConfig(chunks=2), "num_facts": 30, "seed": 0, "halves": True})
    )
    search = CapacitySearch(high=200)
    wanted.append(
        Cell(**{**of_keys, "memory": ClosedFormMemoryConfig(), "num_facts": 200, "capacity": search, **shuffled})
    )
    assert cells == wanted
    assert [cell.folder_name[:-9] for cell in (cells[0], cells[3], cells[8], cells[10], cells[11])] == [
        "people-twin-ffn-relu-9-raw-n50-s3",
        "people-ffn-relu-9-raw-n50-s1",
        "people-faiss-q-Flat-n40-s2",
        "keys-faiss-q-Flat-k2-n30-s0",
        "keys-closed-pseudo-inverse-shuffled-capacity-s5",
    ]
    # Long cells first: .3 ms a step on keys, 3 ms with texts; ten writings for a capacity, six for a smallest memory.
    assert [cells[place].weight for place in (0, 8, 10, 11)] == [3.0, 0.4, 0.4, 4.0]
    assert replace(cells[10], smallest=SmallestSearch()).weight == pytest.approx(2.4)
    on_keys = replace(cells[0], encoder_hash="")
    assert on_keys.weight == pytest.approx(0.3)
    assert replace(on_keys, capacity=search).weight == pytest.approx(3.0)
    # A cell is named by all that changes its result, in whatever order its settings stand.
    identity = cells[0].identity()
    assert set(identity) == {
        "measure_version", "memory_version", "max_calibration", "study", "knowledge_hash", "encoder_hash", "memory",
        "num_facts", "capacity", "smallest", "seed", "twin", "raw_keys", "role", "halves", "shuffled", "measures",
    }  # fmt: skip
    assert identity["max_calibration"] == people.max_calibration
    assert identity["memory"] == asdict(FFN) and identity["memory_version"] == FFN.version


def test_sets_that_cannot_be_asked_or_read_are_named() -> None:
    def planned(**arms: Any) -> None:
        block = ArmsConfig(**{"memories": (FrequencyConfig(), FaissMemoryConfig()), "seeds": (0,), **arms})
        studies = {"s": StudyConfig(knowledge=KEYS, arms=(block,))}
        plan(ExperimentConfig(title="t", question="q", studies=studies), encoder_hash="", text_dim=0)

    for arms, said in (
        (
            {"capacity": CapacitySearch(phrasing="heldout")},
            "studies.s.arms.0.capacity.phrasing: keys has no heldout questions; it is asked in identical ones",
        ),
        (
            {"memories": (FrequencyConfig(), FaissMemoryConfig(key_by="statement"))},
            "studies.s.arms.0.memories.1: faiss-s-Flat reads statements, and keys has no text",
        ),
        (
            {"memories": (FrequencyConfig(), replace(FFN, code_dim=1))},
            "studies.s.arms.0.memories.1.code_dim: 8 values have two codes between them in one dimension: name 2 or "
            "more",
        ),
        (
            {"num_facts": (0,)},
            "studies.s.arms.0.num_facts: keys: 0 facts asked for, but the set holds 300; ask for 1 to 300",
        ),
        (
            {"memories": (FFN,), "num_facts": (300,), "widths_from_demand": (1e-7,)},
            "studies.s.arms.0.memories.0.ffn: widths_from_demand of 1e-07 would give 900 bits more than 1,000,000,000 "
            "parameters, which take 16 GB to train: name 9e-07 or more",
        ),
        (
            {"memories": (replace(FFN, ffn=DenseConfig(kind="relu", width=10**9)),)},
            "studies.s.arms.0.memories.0.ffn: relu-1000000000 has 12,000,000,000 parameters; none may have more than "
            "1,000,000,000 parameters, which take 16 GB to train",
        ),
    ):  # fmt: skip
        with pytest.raises(UserError) as refusal:
            planned(**arms)
        assert said in str(refusal.value).replace(build_knowledge(KEYS).name, "keys")
    planned()
    # In one dimension two values can be told apart.
    two = StudyConfig(knowledge=replace(KEYS, num_values=2), arms=(ArmsConfig(memories=(replace(FFN, code_dim=1),)),))
    assert plan(ExperimentConfig(title="t", question="q", studies={"s": two}), encoder_hash="", text_dim=0)


@pytest.mark.parametrize(
    ("number", "text"),
    [(9e-7, "9e-07"), (9.01e-7, "9.1e-07"), (0.123, "0.13"), (4.0, "4"), (41.0, "41"), (40.2, "41"), (999.0, "1e+03")],
)
def test_a_bound_is_rounded_upwards_to_two_digits(number: float, text: str) -> None:
    assert _rounded_up(number) == text
    assert float(text) >= number * (1 - 1e-12)


def test_sizes_from_demand_are_the_smallest_that_hold_it() -> None:
    """Sizes by hand: a ReLU FFN of width w over keys and codes of six has 12 w parameters."""
    for bits_per_param, width in (
        (900 / 12 / 7, 7),
        (900 / 12 / 7.01, 8),
        (900 / 24, 2),
        (1e6, 2),
        (900 / 12 / 6.99, 7),
    ):
        block = ArmsConfig(memories=(FFN,), num_facts=(20, 300), seeds=(0,), widths_from_demand=(bits_per_param,))
        studies = {"s": StudyConfig(knowledge=KEYS, arms=(block,))}
        cells = plan(ExperimentConfig(title="t", question="q", studies=studies), encoder_hash="", text_dim=0)
        assert {(cell.memory.ffn.width, cell.num_facts) for cell in cells} == {(width, 20), (width, 300)}  # type: ignore[union-attr]


def test_sizes_beyond_the_weights_stop_short_of_three_quarters_of_the_set() -> None:
    def sizes(num_facts: int, most: int) -> list[int]:
        knowledge = replace(KEYS, num_facts=num_facts)
        studies = {"s": StudyConfig(knowledge=knowledge, arms=(ArmsConfig(memories=(FrequencyConfig(),), seeds=(0,)),))}
        config = ExperimentConfig(title="t", question="q", studies=studies, max_weight_facts=most)
        return [cell.num_facts for cell in plan(config, encoder_hash="", text_dim=0)]

    assert sizes(400, 150) == [18, 37, 75, 150, 400]  # 300 are three quarters
    assert sizes(402, 150) == [18, 37, 75, 150, 300, 402]
    assert sizes(9, 2) == [1, 2, 4, 9]


def test_blocks_at_their_edges() -> None:
    memories = (FrequencyConfig(),)
    for fields, said in (
        ({"num_facts": (4, 9, 4)}, r"num_facts must name each once, not \[4, 9, 4\]"),
        ({"twins": (True, True)}, "twins must name each once"),
        ({"memories": ()}, "memories must name one or more"),
        ({"seeds": ()}, "seeds must name one or more"),
        ({"num_params": (9,)}, "num_params sizes the FFN of ffn and closed_form memories, not frequency"),
        ({"memories": (FFN,), "num_params": (9,), "num_active_params": (9,)}, "give one of widths_from_demand"),
        ({"memories": (FFN,), "widths_from_demand": (0.0,)}, r"more than 0 and finite, not \[0.0\]"),
        ({"memories": (FFN,), "widths_from_demand": (math.inf,)}, "more than 0 and finite"),
        (
            {"memories": (FFN, StaticFunctionConfig()), "capacity": CapacitySearch(phrasing="heldout")},
            "static answers the written wording alone",
        ),
        ({"halves": True, "num_facts": (1,)}, "halves need two facts or more"),
    ):
        with pytest.raises(ValueError, match=said):
            ArmsConfig(**{"memories": memories, **fields})  # type: ignore[arg-type]
    ArmsConfig(memories=(FFN, ClosedFormMemoryConfig()), num_params=(9,), halves=True, num_facts=(2,))
    ArmsConfig(memories=(StaticFunctionConfig(),), capacity=CapacitySearch())
    with pytest.raises(ValueError, match="arms must name one or more blocks"):
        StudyConfig(knowledge=KEYS, arms=())
    with pytest.raises(ValueError, match="max_weight_facts must be 1 or more, not 0"):
        ExperimentConfig(title="t", question="q", max_weight_facts=0)
    ExperimentConfig(title="t", question="q", max_weight_facts=1)


# ---- a run ---------------------------------------------------------------------------------------------------------


def test_the_whole_record_of_a_plan(people: TextConfig) -> None:
    config = two_studies(people)
    cells = plan(config, encoder_hash="enc", text_dim=48)
    record = plan_record(config, "two", "make two", cells, encoder_text="an encoder")
    people_set, keys_set_ = build_knowledge(people), build_knowledge(KEYS)
    upper = "Demand is summed over relations: an upper bound where they depend on each other; exact on the twin."
    assert record == {
        "name": "two",
        "title": "Two",
        "question": "Which?",
        "notes": [*people_set.notes, *keys_set_.notes, upper],
        "unsearched": [],
        "dropped": {"empty": 1},
        "knowledge_hashes": {
            people_set.content_hash: people_set.name,
            keys_set_.content_hash: keys_set_.name,
        },
        "knowledge_names": {"people": people_set.name, "keys": keys_set_.name},
        "sweeps": {},
        "places": {},
        "cells": [cell.folder_name for cell in cells],
        "method": {
            "command": "make two",
            "knowledge sets": f"people: {people_set.name}, 80 facts, 12 values, hash {people_set.content_hash}, "
            f"keys: {keys_set_.name}, 300 facts, 8 values, hash {keys_set_.content_hash}",
            "encoder": "an encoder",
            "seeds": "0, 1, 2, 3, 5",
        },
        "measures": asdict(config.measures),
        "panels": {},
    }
    # One relation has no bound to speak of; sizes that stop short of the set are told where nobody chose them.
    keys_alone = replace(config, studies={"keys": config.studies["keys"]})
    assert plan_record(keys_alone, "two", "", cells, encoder_text="")["notes"] == [*keys_set_.notes]
    chosen = config.studies["people"]
    free = StudyConfig(knowledge=people, arms=(replace(chosen.arms[0], num_facts=()),))
    for most, told in ((79, True), (80, False)):
        capped = replace(config, studies={"a": chosen, "b": free}, max_weight_facts=most)
        notes = plan_record(capped, "two", "", cells, encoder_text="")["notes"]
        said = f"The weights' curve takes at most {most:,} facts (MAX_FACTS= raises it)."
        assert (said in notes) == told
        # The same set in two studies is counted once, and noted once.
        assert plan_record(capped, "two", "", cells, encoder_text="")["dropped"] == {"empty": 1}
        assert len(set(notes)) == len(notes)
    only_chosen = replace(config, studies={"a": chosen}, max_weight_facts=5)
    assert not any("weights' curve" in note for note in plan_record(only_chosen, "", "", [], encoder_text="")["notes"])


def test_the_time_that_is_promised_without_a_measurement_is_of_the_cells() -> None:
    search = ArmsConfig(
        memories=(replace(FFN, training=TrainingBudget(steps=100_000)),), capacity=CapacitySearch(), seeds=(0, 1, 2)
    )
    studies = {"s": StudyConfig(knowledge=KEYS, arms=(search,))}
    config = ExperimentConfig(title="t", question="Who?", studies=studies)
    cells = plan(config, encoder_hash="", text_dim=0)
    assert sum(cell.weight for cell in cells) == pytest.approx(900)
    # 20 s, and half of 900 on two cores: 470 s.
    assert opening("run", config, cells, cells, 2).endswith("Who? 3 of 3 cells to run in 2 processes, about 8 min")
    assert opening("run", config, cells, cells[:1], 1).endswith("1 of 3 cells to run in 1 processes, about 5 min")
    assert opening("run", config, cells, cells[:1], 16).endswith("about 1 min")  # never none


def test_lines_of_progress_come_now_and_then(monkeypatch: pytest.MonkeyPatch, people: TextConfig) -> None:
    now, said = [100.0], list[str]()
    monkeypatch.setattr("retromem.run.run_experiment.time.perf_counter", lambda: now[0])
    cells = plan(two_studies(people), encoder_hash="enc", text_dim=48)
    progress = Progress(12, said.append)
    for seconds, status in (
        (7.9, "done"),
        (0.2, "done"),
        (7.0, "done"),
        (0.5, "refused"),
        (7.9, "done"),
        (0.2, "done"),
    ):
        now[0] += seconds
        progress(status, cells[0])
    named = cells[0].folder_name
    # After 8 s, at once for what is not done, and again 8 s after that.
    assert said == [
        f"     2 of 12 cells, 8 s; {named}: done",
        f"     4 of 12 cells, 16 s; {named}: refused",
        f"     6 of 12 cells, 24 s; {named}: done",
    ]
    last = Progress(1, said.append)
    last("done", cells[1])
    assert said[3:] == [f"     1 of 1 cells, 0 s; {cells[1].folder_name}: done"]


def test_a_place_that_cannot_be_written_and_a_run_of_other_facts(tmp_path: Path, people: TextConfig) -> None:
    _check_place(tmp_path / "new" / "deep")
    _check_place(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: is a file; remove it, or give the run another name"):
        _check_place(tmp_path / "file")
    config = two_studies(people)
    assert _other_sets(tmp_path, config) == ""
    shared = build_knowledge(KEYS).content_hash
    for hashes, said in (({"a": "x", shared: "y"}, ""), ({"a": "x", "b": "y"}, "x, y"), ({}, "")):
        (tmp_path / "plan.json").write_text(json.dumps({"cells": [], "knowledge_hashes": hashes}))
        assert _other_sets(tmp_path, config) == said
