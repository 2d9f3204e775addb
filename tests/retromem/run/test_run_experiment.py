import csv
import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.training_budget import TrainingBudget
from retrieval.errors import UserError
from retromem.configuration import build, read_config
from retromem.knowledge.random_keys import KeysConfig
from retromem.measure.settings import MeasureConfig
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.memories.static_function import StaticFunctionConfig
from retromem.run.cells import plan
from retromem.run.experiment import ArmsConfig, ExperimentConfig, StudyConfig
from retromem.run.progress import opening
from retromem.run.report_run import read_plan, read_results, report_run
from retromem.run.run_experiment import run_experiment

FLOORS = ArmsConfig(memories=(FrequencyConfig(), StaticFunctionConfig()), num_facts=(32, 64), seeds=(0,), role="floor")
STORES = ArmsConfig(
    memories=(FaissMemoryConfig(), FaissMemoryConfig(factory="PQ4np")), num_facts=(32, 64), seeds=(0, 1)
)
CONFIG = ExperimentConfig(
    title="Tiny",
    question="Does it run?",
    studies={"keys": StudyConfig(knowledge=KeysConfig(num_facts=100, num_values=8), arms=(FLOORS, STORES))},
    measures=MeasureConfig(robustness=False),
)
NUM_CELLS = 2 * 2 + 2 * 2 * 2
TIMES = (
    "write_seconds",
    "memory_write_seconds",
    "query_ms_p50",
    "query_ms_p95",
    "query_ms_p50_end_to_end",
    "queries_per_second",
    "queries_per_second_end_to_end",
)


class Place:
    """Where an experiment runs, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "runs" / "tiny"
        self.report = folder / "reports" / "tiny"
        self.said: list[str] = []

    def go(self, config: ExperimentConfig = CONFIG, *, force: bool = False) -> Path | None:
        self.said.clear()
        self.finished = run_experiment(
            config,
            name="tiny",
            command="make report",
            say=self.said.append,
            runs=self.folder / "runs",
            reports=self.folder / "reports",
            cache=self.folder / "cache",
            force=force,
            num_workers=2,
        )
        return self.finished.report

    def results(self) -> list[Path]:
        return sorted((self.run / "cells").glob("*/result.json"))

    def stamps(self) -> dict[str, int]:
        return {path.parent.name: path.stat().st_mtime_ns for path in self.results()}

    def rows(self) -> list[dict[str, str]]:
        """results.csv, timings apart."""
        with (self.report / "results.csv").open() as lines:
            return [{name: text for name, text in row.items() if name not in TIMES} for row in csv.DictReader(lines)]

    def copy(self, folder: Path) -> "Place":
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Place(folder)


@pytest.fixture(scope="module")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("finished"))
    assert place.go() == place.report
    return place


@pytest.fixture
def finished(_finished: Place, tmp_path: Path) -> Place:
    """A run of one's own, to be spoiled."""
    return _finished.copy(tmp_path)


def test_a_run_leaves_its_plan_its_cells_and_its_report(_finished: Place) -> None:
    record = read_plan(_finished.run)
    results = read_results(_finished.run, record["cells"])
    rows, capacities, problems = results.rows, results.capacities, results.problems
    assert len(record["cells"]) == len(_finished.results()) == NUM_CELLS
    assert [status for _, status, _ in problems] == ["refused"] * 4
    assert all("PQ4np" in cell and "PQ4np" in reason for cell, _, reason in problems)
    assert capacities == []
    assert {row.memory for row in rows} == {
        "floor-mode",
        "floor-static",
        "floor-entropy",
        "floor-known-0.01",
        "faiss-q-Flat",
    }
    assert len({row.knowledge for row in rows}) == 1
    assert [row["accuracy"] for row in _finished.rows() if row["memory"] == "faiss-q-Flat"] == ["1"] * 4
    for name in ("index.html", "report.md", "results.csv", "capacity.csv"):
        assert (_finished.report / name).stat().st_size > 0
    page = (_finished.report / "index.html").read_text()
    assert "Does it run?" in page and "make report" in page
    assert not list(_finished.folder.rglob(".tmp*"))


def test_it_is_said_beforehand_what_runs_and_afterwards_where_to_read(finished: Place) -> None:
    finished.go(force=True)
    assert f"tiny: Does it run? {NUM_CELLS} of {NUM_CELLS} cells to run in 2 processes, about" in finished.said[0]
    page = re.escape(str(finished.report / "index.html"))
    assert re.fullmatch(
        rf"{NUM_CELLS} of {NUM_CELLS} cells run in \d+ s, 4 of all refused; read {page}", finished.said[-1]
    )


def test_a_second_call_redoes_nothing_and_reports_the_same(finished: Place) -> None:
    before, plan = finished.stamps(), (finished.run / "plan.json").read_bytes()
    pages = {path.name: path.read_bytes() for path in finished.report.iterdir() if path.is_file()}
    finished.go()
    assert finished.said[0] == f"tiny: all {NUM_CELLS} cells are done; writing the report"
    assert finished.stamps() == before
    assert (finished.run / "plan.json").read_bytes() == plan
    assert {path.name: path.read_bytes() for path in finished.report.iterdir() if path.is_file()} == pages


def test_a_resumed_run_is_an_uninterrupted_one(finished: Place) -> None:
    before, rows = finished.stamps(), finished.rows()
    lost = sorted(before)[::3]
    for cell in lost:
        (finished.run / "cells" / cell / "result.json").unlink()
    finished.go()
    assert f"{len(lost)} of {NUM_CELLS} cells to run" in finished.said[0]
    assert {cell for cell, stamp in finished.stamps().items() if stamp != before.get(cell)} == set(lost)
    assert finished.rows() == rows


def test_a_run_is_redone_from_the_settings_that_it_kept(finished: Place) -> None:
    before = finished.stamps()
    kept = build(ExperimentConfig, read_config(finished.run / "config.yaml"), source="kept")
    assert kept == CONFIG
    finished.go(kept)
    assert finished.stamps() == before


def test_a_result_tells_its_own_making(finished: Place) -> None:
    made_by = json.loads(finished.results()[0].read_text())["made_by"]
    assert made_by["date"] == time.strftime("%Y-%m-%d") and "numpy" in made_by["versions"]
    assert re.fullmatch(r"([0-9a-f]{10}(, changed)?)?", made_by["commit"])
    rewrite(finished.results()[0], lambda record: record["made_by"].update(date="2025-01-31", commit="0123456789"))
    page = (report_run(finished.run, finished.report) / "report.md").read_text()
    assert f"2025-01-31 and {made_by['date']}" in page and "0123456789" in page


@pytest.mark.parametrize("raised, num_new", [("measure", NUM_CELLS), ("memory", 2)])
def test_no_result_is_found_after_a_version_was_raised(
    monkeypatch: pytest.MonkeyPatch, raised: str, num_new: int
) -> None:
    def names() -> set[str]:
        return {cell.folder_name for cell in plan(CONFIG, encoder_hash="", text_dim=0)}

    before = names()
    if raised == "measure":
        monkeypatch.setattr("retromem.run.cells.VERSION", 10_000)
    else:
        monkeypatch.setattr(StaticFunctionConfig, "version", 10_000)
    new = names() - before
    assert len(new) == num_new and (raised == "measure" or all("floor-static" in name for name in new))


def test_a_renamed_set_is_called_by_its_new_name(finished: Place) -> None:
    before = finished.stamps()
    assert {row["knowledge_name"] for row in finished.rows()} == {"keys"}
    rewrite(finished.run / "plan.json", lambda record: record["knowledge_names"].update(keys="renamed"))
    report_run(finished.run, finished.report)
    assert {row["knowledge_name"] for row in finished.rows()} == {"renamed"} and finished.stamps() == before


def test_a_result_of_another_version_is_a_problem_and_no_traceback(finished: Place) -> None:
    old, broken = finished.results()[-2:]
    rewrite(old, lambda record: record.pop("made_by"))
    rewrite(broken, lambda record: record["rows"][0].update(bits_ce=1e9))
    report_run(finished.run, finished.report)
    problems = read_results(finished.run, read_plan(finished.run)["cells"]).problems
    assert {cell for cell, kind, _ in problems if kind == "not read"} == {old.parent.name, broken.parent.name}


@pytest.mark.slow
def test_a_run_with_a_failed_cell_says_so_last(tmp_path: Path) -> None:
    place = Place(tmp_path)
    training = TrainingBudget(steps=20, learning_rate=1e30, optimizer="sgd")
    diverging = ArmsConfig(memories=(FFNMemoryConfig(training=training),), num_facts=(16,), seeds=(0,))
    studies = {"keys": replace(CONFIG.studies["keys"], arms=(replace(FLOORS, num_facts=(32,)), diverging))}
    place.go(replace(CONFIG, studies=studies))
    assert place.finished.num_failed == 1
    assert place.said[-1].endswith("; 1 FAILED, see " + str(place.run / "cells/*/error.txt"))


@pytest.mark.slow
def test_a_run_of_failed_cells_alone_has_failed_and_one_of_refused_cells_has_not(tmp_path: Path) -> None:
    study, place = CONFIG.studies["keys"], Place(tmp_path)
    training = TrainingBudget(steps=20, learning_rate=1e30, optimizer="sgd")
    diverging = ArmsConfig(memories=(FFNMemoryConfig(training=training),), num_facts=(16,), seeds=(0,))
    few = ArmsConfig(memories=(FaissMemoryConfig(factory="PQ4np"),), num_facts=(32,), seeds=(0,))
    for arms, num_failed, said in ((diverging, 1, "; 1 FAILED, see "), (few, 0, ", 1 of all refused; no cell has")):
        assert place.go(replace(CONFIG, studies={"keys": replace(study, arms=(arms,))})) is None
        assert place.finished.num_failed == num_failed and said in place.said[-1]
    assert not place.report.exists()


def test_a_result_that_breaks_a_law_is_measured_again(finished: Place) -> None:
    rows, broken = finished.rows(), finished.results()[-1]
    rewrite(broken, lambda record: record["rows"][0].update(accuracy=1.5))
    finished.go()
    assert finished.said[-1].startswith("1 of 12 cells run") and finished.rows() == rows


def test_other_facts_under_the_same_name_are_named(finished: Place) -> None:
    other = replace(CONFIG.studies["keys"], knowledge=KeysConfig(num_facts=99, num_values=8), arms=(FLOORS,))
    finished.go(replace(CONFIG, studies={"keys": other}))
    assert any("was of keys: it is replaced (NAME=" in line for line in finished.said)
    finished.go(replace(CONFIG, studies={"keys": other}))
    assert not any("it is replaced" in line for line in finished.said)


def test_refused_cells_alone_are_no_failure(_finished: Place) -> None:
    assert _finished.finished.num_failed == 0


def test_force_redoes_every_cell_to_the_same_rows(finished: Place) -> None:
    before, rows = finished.stamps(), finished.rows()
    finished.go(force=True)
    after = finished.stamps()
    assert after.keys() == before.keys()
    assert all(after[cell] > before[cell] for cell in before)
    assert finished.rows() == rows


def test_a_larger_experiment_runs_only_what_is_new(finished: Place) -> None:
    before = finished.stamps()
    more = replace(STORES, seeds=(0, 1, 2))
    studies = {"keys": replace(CONFIG.studies["keys"], arms=(FLOORS, more))}
    finished.go(replace(CONFIG, studies=studies))
    assert before.items() <= finished.stamps().items()
    assert len(finished.stamps()) == NUM_CELLS + 4
    assert {row["seed"] for row in finished.rows()} == {"0", "1", "2"}


# ---- the user's mistakes -------------------------------------------------------------------------------------------


def with_stores(**changes: Any) -> ExperimentConfig:
    return replace(CONFIG, studies={"keys": replace(CONFIG.studies["keys"], arms=(FLOORS, replace(STORES, **changes)))})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_facts": (32, 101)}, "101 facts asked for, but the set holds 100"),
        ({"memories": (FaissMemoryConfig(factory="Flatt"),)}, "Flatt"),
        ({"memories": (FaissMemoryConfig(factory="PQ48np"),)}, "PQ48np"),  # 16 dimensions are no multiple of 48
    ],
)
def test_a_mistake_is_said_before_anything_is_written_or_redone(
    finished: Place, tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any], message: str
) -> None:
    elsewhere = Place(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(UserError, match=message):
        elsewhere.go(with_stores(**changes))
    assert list(elsewhere.folder.iterdir()) == []
    before = finished.stamps()
    with pytest.raises(UserError, match=message):
        finished.go(with_stores(**changes), force=True)
    assert finished.stamps() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"panel": "index_recall", "indexes": ["Flat", "Flatt"]}, r"panels\.mine: index 'Flatt' over 48 dimensions"),
        ({"panel": "near_duplicates", "rankers": ["bm25", "Flatt"]}, r"panels\.mine: index 'Flatt' over 48 "),
        ({"panel": "passages", "rankers": ["PQ36np"]}, r"panels\.mine: index 'PQ36np' over 48 "),
        ({"panel": "change_prices", "indexes": ["bm25"], "dim": 8}, r"panels\.mine: index 'bm25' over 8 dimensions"),
        ({"panel": "pair_curve", "factory": "SQ9"}, r"panels\.mine: index 'SQ9' over 48 "),
        ({"panel": "reading", "file": "none.json"}, r"none\.json: cannot be read: No such file"),
        ({"panel": "limit_small", "folder": "none"}, r"none/corpus\.jsonl: cannot be read: No such file"),
    ],
)
def test_what_a_panel_cannot_build_or_read_is_said_before_anything_is_encoded(
    content: dict[str, Any], message: str, tmp_path: Path
) -> None:
    config = build(
        ExperimentConfig,
        {
            "title": "t",
            "question": "q",
            "encoder": {"model": "hashed-trigrams", "truncate_dim": 48},
            "panels": {"mine": content},
        },
        source="mine.yaml",
    )
    with pytest.raises(UserError, match=message):
        Place(tmp_path).go(config)
    assert list(tmp_path.iterdir()) == []


def test_halves_of_a_hybrid_and_of_a_pair_are_checked_too(tmp_path: Path) -> None:
    for memory in ("hybrid", "paired"):
        arm = {"memories": [{"memory": memory, "factory": "Flatt"}], "num_facts": [20], "seeds": [0]}
        study = {"knowledge": {"source": "cities"}, "arms": [{**arm, "halves": memory == "paired"}]}
        content = {"title": "t", "question": "q", "studies": {"mine": study}, "encoder": {"model": "hashed-trigrams"}}
        with pytest.raises(UserError, match="index 'Flatt' over 384 dimensions"):
            Place(tmp_path).go(build(ExperimentConfig, content, source="mine.yaml"))
    assert list(tmp_path.iterdir()) == []


def nothing(run: Path) -> None:
    shutil.rmtree(run)


def a_file(run: Path) -> None:
    shutil.rmtree(run)
    run.write_text("no folder")


def no_json(run: Path) -> None:
    (run / "plan.json").write_text('{"cells": [')


def another_plan(run: Path) -> None:
    (run / "plan.json").write_text('{"steps": []}')


def a_list(run: Path) -> None:
    (run / "plan.json").write_text("[]")


def a_number(run: Path) -> None:
    (run / "plan.json").write_text("3")


def no_text(run: Path) -> None:
    (run / "plan.json").write_bytes(b"\xff\xfe\x00")


def a_folder_in_its_place(run: Path) -> None:
    (run / "plan.json").unlink()
    (run / "plan.json").mkdir()


@pytest.mark.parametrize(
    "spoil",
    [nothing, a_file, no_json, another_plan, a_list, a_number, no_text, a_folder_in_its_place],
    ids=lambda f: f.__name__,
)
def test_a_folder_that_is_no_run_is_refused_by_name(finished: Place, spoil: Callable[[Path], None]) -> None:
    spoil(finished.run)
    page = (finished.report / "index.html").read_bytes()
    with pytest.raises(UserError, match="tiny"):
        report_run(finished.run, finished.report)
    assert (finished.report / "index.html").read_bytes() == page


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_rows_of_different_facts_are_not_reported_together(finished: Place) -> None:
    (path,) = (finished.run / "cells").glob("*Flat-n64-s1-*/result.json")
    rewrite(path, lambda record: record["rows"][0].update(knowledge="0123456789abcdef"))
    with pytest.raises(UserError, match=r"study 'keys' mixes knowledge sets .*0123456789abcdef .*faiss-q-Flat"):
        report_run(finished.run, finished.report)


def test_failed_and_unfinished_cells_are_problems_of_the_report(finished: Place) -> None:
    failed, unfinished = sorted((finished.run / "cells").glob("*floor-static*"))
    for cell in (failed, unfinished):
        (cell / "result.json").unlink()
    (failed / "error.txt").write_text("Traceback (most recent call last):\n  ...\nValueError: out of luck\n")
    problems = read_results(finished.run, read_plan(finished.run)["cells"]).problems
    assert (failed.name, "failed", "ValueError: out of luck") in problems
    assert (unfinished.name, "not run", "no result yet; the same command goes on from here") in problems
    page = (report_run(finished.run, finished.report) / "report.md").read_text()
    assert "out of luck" in page
    assert "1 cell failed and 1 cell has no result yet: what is said here holds for the others" in page


def test_a_result_that_was_cut_short_is_measured_again(finished: Place) -> None:
    before = finished.stamps()
    cut = finished.results()[0]
    cut.write_text(cut.read_text()[:100])
    finished.go()
    assert "1 of 12 cells to run" in finished.said[0]
    assert json.loads(cut.read_text())["status"] == "done"
    assert finished.stamps().keys() == before.keys()


def test_a_file_where_the_report_belongs_is_said_before_anything_is_run(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.report.parent.mkdir()
    place.report.write_text("mine")
    with pytest.raises(UserError, match=r"reports/tiny: is a file; remove it"):
        place.go()
    assert place.report.read_text() == "mine" and not place.run.exists()


def test_a_run_without_a_single_row_cannot_be_reported(finished: Place) -> None:
    for path in finished.results():
        path.unlink()
    with pytest.raises(
        UserError,
        match=r"tiny: no cell has a result \(keys-floor-mode-n32.*: no result yet; the same command goes on from",
    ):
        report_run(finished.run, finished.report)


def test_the_time_that_is_promised_is_of_what_is_left_and_of_the_processes() -> None:
    arms = ArmsConfig(memories=(FrequencyConfig(),), num_facts=(8,), seeds=(0, 1, 2, 3))
    study = StudyConfig(knowledge=KeysConfig(num_facts=8), arms=(arms,))
    config = ExperimentConfig(title="t", question="Who?", studies={"s": study}, seconds_expected=1200.0)
    cells = plan(config, encoder_hash="", text_dim=0)
    assert opening("run", config, cells, cells, 2) == "run: Who? 4 of 4 cells to run in 2 processes, about 20 min"
    assert opening("run", config, cells, cells, 4).endswith("in 4 processes, about 10 min")
    assert opening("run", config, cells, cells[:1], 2).endswith("1 of 4 cells to run in 2 processes, about 5 min")
    assert opening("run", config, cells, [], 2) == "run: all 4 cells are done; writing the report"
