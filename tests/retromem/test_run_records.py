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
from retromem.cells import Cell, _rounded_up, plan
from retromem.experiment import ArmsConfig, ExperimentConfig, StudyConfig
from retromem.knowledge.random_keys import KeysConfig
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.measure.settings import CapacitySearch, MeasureConfig
from retromem.memories.closed_form_memory import ClosedFormMemoryConfig
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.memories.static_function import StaticFunctionConfig
from retromem.points import Point, points_to_csv
from retromem.report_run import (
    RunResults,
    _budgets,
    _capacities_read_off,
    _limits,
    _made_by,
    _warnings,
    is_finished,
    read_plan,
    read_results,
)
from retromem.rows import CapacityRow, Row
from retromem.run_cell import forget_cell, read_result
from retromem.run_experiment import _check_place, _opening, _other_sets, _plan_record, _Progress

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
    # Long cells first: .3 ms a step on keys, 3 ms with texts; ten trainings for a capacity.
    assert [cells[place].weight for place in (0, 8, 10, 11)] == [3.0, 0.4, 0.4, 0.4]
    on_keys = replace(cells[0], encoder_hash="")
    assert on_keys.weight == pytest.approx(0.3)
    assert replace(on_keys, capacity=search).weight == pytest.approx(3.0)
    # A cell is named by all that changes its result, in whatever order its settings stand.
    identity = cells[0].identity()
    assert set(identity) == {
        "measure_version", "memory_version", "max_calibration", "study", "knowledge_hash", "encoder_hash", "memory",
        "num_facts", "capacity", "seed", "twin", "raw_keys", "role", "halves", "shuffled", "measures",
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
    record = _plan_record(config, "two", "make two", cells, encoder_text="an encoder")
    people_set, keys_set_ = build_knowledge(people), build_knowledge(KEYS)
    upper = "Demand is summed over relations: an upper bound where they depend on each other; exact on the twin."
    assert record == {
        "name": "two",
        "title": "Two",
        "question": "Which?",
        "notes": [*people_set.notes, *keys_set_.notes, upper],
        "dropped": {"empty": 1},
        "knowledge_hashes": {
            people_set.content_hash: people_set.name,
            keys_set_.content_hash: keys_set_.name,
        },
        "knowledge_names": {"people": people_set.name, "keys": keys_set_.name},
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
    assert _plan_record(keys_alone, "two", "", cells, encoder_text="")["notes"] == [*keys_set_.notes]
    chosen = config.studies["people"]
    free = StudyConfig(knowledge=people, arms=(replace(chosen.arms[0], num_facts=()),))
    for most, told in ((79, True), (80, False)):
        capped = replace(config, studies={"a": chosen, "b": free}, max_weight_facts=most)
        notes = _plan_record(capped, "two", "", cells, encoder_text="")["notes"]
        said = f"The weights' curve takes at most {most:,} facts (MAX_FACTS= raises it)."
        assert (said in notes) == told
        # The same set in two studies is counted once, and noted once.
        assert _plan_record(capped, "two", "", cells, encoder_text="")["dropped"] == {"empty": 1}
        assert len(set(notes)) == len(notes)
    only_chosen = replace(config, studies={"a": chosen}, max_weight_facts=5)
    assert not any("weights' curve" in note for note in _plan_record(only_chosen, "", "", [], encoder_text="")["notes"])


def test_the_time_that_is_promised_without_a_measurement_is_of_the_cells() -> None:
    search = ArmsConfig(
        memories=(replace(FFN, training=TrainingBudget(steps=100_000)),), capacity=CapacitySearch(), seeds=(0, 1, 2)
    )
    studies = {"s": StudyConfig(knowledge=KEYS, arms=(search,))}
    config = ExperimentConfig(title="t", question="Who?", studies=studies)
    cells = plan(config, encoder_hash="", text_dim=0)
    assert sum(cell.weight for cell in cells) == pytest.approx(900)
    # 20 s, and half of 900 on two cores: 470 s.
    assert _opening("run", config, cells, cells, 2).endswith("Who? 3 of 3 cells to run in 2 processes, about 8 min")
    assert _opening("run", config, cells, cells[:1], 1).endswith("1 of 3 cells to run in 1 processes, about 5 min")
    assert _opening("run", config, cells, cells[:1], 16).endswith("about 1 min")  # never none


def test_lines_of_progress_come_now_and_then(monkeypatch: pytest.MonkeyPatch, people: TextConfig) -> None:
    now, said = [100.0], list[str]()
    monkeypatch.setattr("retromem.run_experiment.time.perf_counter", lambda: now[0])
    cells = plan(two_studies(people), encoder_hash="enc", text_dim=48)
    progress = _Progress(12, said.append)
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
    last = _Progress(1, said.append)
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


# ---- what a report is told -----------------------------------------------------------------------------------------


def row(**other: Any) -> Row:
    return Row(
        **{
            "study": "keys", "side": "parametric", "memory": "ffn-relu-8", "role": "arm", "family": "ffn-relu",
            "stores": "questions", "knowledge": "abc", "knowledge_name": "keys", "twin": False, "seed": 0,
            "phrasing": "identical", "num_facts": 100, **other,
        }
    )  # fmt: skip


def test_what_the_trainings_of_a_run_took() -> None:
    assert _budgets([row(), row(optimizer_steps=0)]) == {}
    rows = [
        row(optimizer_steps=3000, exposures=3000.0, succeeded=True, precision="int8"),
        row(optimizer_steps=1200, exposures=2400.0, succeeded=False, precision="float32"),
        row(optimizer_steps=1200, exposures=2400.0, succeeded=False, precision="float32", phrasing="heldout"),
        row(optimizer_steps=1200, exposures=None, succeeded=False, seed=1),
        row(optimizer_steps=None, exposures=9e9, precision="int4"),
    ]
    assert _budgets(rows) == {
        "training": "1,200 to 3,000 optimiser steps, 0 to 3,000 exposures a fact; "
        "2 trainings ended by their cap in seconds",
        "precision of the weights": "float32, int8",
    }  # fmt: skip
    told = ("study", "b"), ("memory", "m"), ("num_facts", 7), ("twin", True)
    rows += [
        row(**{name: other, "optimizer_steps": 1200, "exposures": 1.0, "succeeded": False}) for name, other in told
    ]
    assert "; 6 trainings ended" in _budgets(rows)["training"]


def test_weights_that_answer_less_than_nine_tenths_are_warned_of() -> None:
    rows = [
        row(accuracy=0.5, num_facts=200), row(accuracy=0.894, num_facts=200), row(accuracy=1.0, num_facts=100),
        row(study="good", accuracy=0.9), row(study="good", accuracy=0.1), row(study="unknown", accuracy=None),
        row(study="index", accuracy=0.1, side="retrieval"), row(study="null", accuracy=0.1, role="control"),
        row(study="worded", accuracy=0.1, phrasing="heldout"), row(study="bad", accuracy=0.0, num_facts=1000),
    ]  # fmt: skip
    told = "of the written questions; a wider one, or more optimiser steps, may."
    assert _warnings(rows) == [
        f"bad: at 1,000 facts no FFN tried answers more than 0% {told}",
        f"keys: at 200 facts no FFN tried answers more than 89% {told}",
    ]


def test_limits_are_of_what_was_run() -> None:
    encoder = "One encoder serves every memory: what it cannot tell apart, none can."
    alone = "FFNs are trained by themselves on frozen keys; no transformer stands around them."
    times = "Times are of the machine named above, one thread a process, with other cells running beside."
    twin = "On the real values the encoder knows some answers already; claims are made on the twin."
    width = "The pair is run at one width; its curve is not part of this report."
    index = row(side="retrieval", memory="faiss", family="faiss-q")
    pair = row(side="paired", memory="paired-8", family="paired")
    assert _limits([]) == []
    assert _limits([index, replace(index, shared_bytes=0)]) == [times]
    assert _limits([replace(index, shared_bytes=5)]) == [encoder, times]
    assert _limits([row(), replace(index, twin=True)]) == [alone, times, twin]
    assert _limits([pair, replace(pair, seed=1), index]) == [alone, times, width]
    assert _limits([pair, replace(pair, memory="paired-9")]) == [alone, times]
    assert _limits([replace(pair, role="control")]) == [alone, times]


def test_capacities_are_read_off_where_none_was_searched_for() -> None:
    rows = [row(study=study, num_facts=size, accuracy=1.0, phrasing=phrasing)
            for study in ("a", "b") for size in (10, 20) for phrasing in ("identical", "heldout")]  # fmt: skip
    rows += [replace(one, study="c", halves=True) for one in rows[:4]]
    rows += [row(study="d", num_facts=size, accuracy=0.96, phrasing=phrasing)
             for size in (10, 20) for phrasing in ("identical", "heldout")]  # fmt: skip
    searched = CapacityRow(
        study="b", memory="m", twin=False, phrasing="identical", tau=0.5, seed=0, num_facts=1, censored=False,
        storage_bytes=None, num_params=None, bits=None,
    )  # fmt: skip
    found = _capacities_read_off(rows, [searched])
    assert [(one.study, one.phrasing, one.tau, one.num_facts) for one in found] == [
        ("a", "identical", 0.99, 20),
        ("d", "identical", 0.99, 0),
        ("a", "heldout", 0.95, 20),
        ("d", "heldout", 0.95, 20),
    ]


def test_results_of_a_run_are_read_and_what_is_none_is_a_problem(tmp_path: Path) -> None:
    capacity = CapacityRow(
        study="b", memory="m", twin=False, phrasing="identical", tau=0.5, seed=0, num_facts=1, censored=False,
        storage_bytes=None, num_params=None, bits=None,
    )  # fmt: skip
    point = Point(quantity="accuracy", series="relu", x=2.0, y=0.5, seed=1)
    made = {"rows": [], "capacity": None, "status": "done", "reason": "", "made_by": {"day": "1", "torch": "2.6"}}
    results: dict[str, Any] = {
        "whole": {**made, "rows": [asdict(row()), asdict(row(seed=1))], "capacity": asdict(capacity)},
        "panel": {**made, "points": [asdict(point)], "made_by": {"day": "2"}},
        "refused": {**made, "status": "refused", "reason": "too few"},
        "older": {**made, "rows": [{**asdict(row()), "colour": 1}]},
        "unmade": {name: value for name, value in made.items() if name != "made_by"},
        "broken": {**made, "rows": [{**asdict(row()), "accuracy": 2.0}]},
        "list": [],
        "no status": {},
    }
    for cell, result in results.items():
        (tmp_path / "cells" / cell).mkdir(parents=True)
        (tmp_path / "cells" / cell / "result.json").write_text(json.dumps(result))
    (tmp_path / "cells" / "failed").mkdir()
    (tmp_path / "cells" / "failed" / "error.txt").write_text("Traceback\n  line\nValueError: no\n")
    names = [*results, "failed", "nowhere"]
    found = read_results(tmp_path, names)
    assert found.rows == [row(), row(seed=1)]
    assert found.capacities == [capacity]
    assert found.points == [("panel", point)]
    assert [(cell, kind) for cell, kind, _ in found.problems] == [
        ("refused", "refused"), ("older", "not read"), ("unmade", "not read"), ("broken", "not read"),
        ("list", "not run"), ("no status", "not run"), ("failed", "failed"), ("nowhere", "not run"),
    ]  # fmt: skip
    reasons = {cell: reason for cell, _, reason in found.problems}
    assert reasons["refused"] == "too few" and reasons["failed"] == "ValueError: no"
    assert reasons["nowhere"] == "no result yet; the same command goes on from here"
    assert reasons["unmade"] == "its result is of another version, or was changed ('made_by'); run it again"
    assert _made_by(found) == {"day": "1 and 2", "torch": "2.6"}
    finished = {name for name in names if is_finished(tmp_path / "cells" / name)}
    assert finished == {"whole", "panel", "refused"}
    # Of a result that is not read nothing is taken.
    half = RunResults()
    with pytest.raises(TypeError):
        half.add("half", {**results["whole"], "capacity": {"unknown": 1}})
    assert half == RunResults()
    forget_cell(tmp_path / "cells" / "whole")
    assert not (tmp_path / "cells" / "whole").exists() and read_result(tmp_path / "cells" / "whole") is None
    forget_cell(tmp_path / "cells" / "whole")  # what is gone is gone


def test_a_plan_is_one_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no run folder, for plan.json is missing; runs lie in runs/<name>"):
        read_plan(tmp_path)
    for content, said in (
        ("{", "cannot be read"),
        ("[]", "is no plan of a run"),
        ('{"name": 1}', "is no plan of a run"),
    ):
        (tmp_path / "plan.json").write_text(content)
        with pytest.raises(UserError, match=said):
            read_plan(tmp_path)
    (tmp_path / "plan.json").write_text('{"cells": ["a"]}')
    assert read_plan(tmp_path) == {"cells": ["a"]}


def test_points_as_lines() -> None:
    points = {
        "one": [
            Point(quantity="accuracy", series="relu", x=2.0, y=0.25, seed=1),
            Point(quantity="a, b", series="s", y=3.0),
        ],
        "none": [],
        "two": [Point(quantity="bits", series="r", x=0.0, y=1e7, seed=0)],
    }
    assert points_to_csv(points) == (
        'panel,quantity,series,x,y,seed\none,accuracy,relu,2,0.25,1\none,"a, b",s,,3,\ntwo,bits,r,0,1e+07,0\n'
    )
