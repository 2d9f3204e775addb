import hashlib
import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retrieval.embedding_cache import EmbeddingCache
from retromem.knowledge.random_keys import KeysConfig
from retromem.knowledge.sources import KnowledgeConfig, TextConfig
from retromem.measure.latency import EncoderCost
from retromem.measure.settings import CapacitySearch, MeasureConfig
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.memories.paired_memory import PairedMemoryConfig
from retromem.memories.static_function import StaticFunctionConfig
from retromem.run.cells import Cell, plan
from retromem.run.experiment import ArmsConfig, ExperimentConfig, StudyConfig
from retromem.run.local_engine import LokyEngine
from retromem.run.run_cell import Workplace, read_result, run_cell, texts_of
from retromem.run.run_cells import _run_round, prepare_workers, run_cells

KEYS = KeysConfig(num_facts=128, num_values=8)
TIMES = {
    "write_seconds",
    "memory_write_seconds",
    "query_ms_p50",
    "query_ms_p95",
    "query_ms_p50_end_to_end",
    "queries_per_second",
    "queries_per_second_end_to_end",
}


def unruly() -> dict[str, type[FrequencyConfig]]:
    """Memories that break in their own ways. Made in a function, so that they travel to workers by value."""

    @dataclass(frozen=True, kw_only=True)
    class Raising(FrequencyConfig):
        called: str = "raising"

        @property
        def name(self) -> str:
            return self.called

        def build(self, *, seed: int) -> Any:
            raise ArithmeticError("nothing adds up")

    @dataclass(frozen=True, kw_only=True)
    class Killed(Raising):
        called: str = "killed"

        def build(self, *, seed: int) -> Any:
            os.kill(os.getpid(), signal.SIGKILL)

    @dataclass(frozen=True, kw_only=True)
    class Unloadable(Raising):
        called: str = "unloadable"

        def __reduce__(self) -> Any:  # whoever unpickles it is gone before any cell has begun
            return os._exit, (3,)

    return {"raising": Raising, "killed": Killed, "unloadable": Unloadable}


UNRULY = unruly()


def cells_of(*memories: Any, knowledge: KnowledgeConfig = KEYS, **arms: Any) -> list[Cell]:
    block = ArmsConfig(memories=memories, **{"num_facts": (64,), "seeds": (0,), **arms})
    studies = {"study": StudyConfig(knowledge=knowledge, arms=(block,))}
    config = ExperimentConfig(title="t", question="q", studies=studies, measures=MeasureConfig(robustness=False))
    return plan(config, encoder_hash="made-up", text_dim=384)


def workplace(folder: Path) -> Workplace:
    return Workplace(
        cells_folder=str(folder / "cells"),
        cache_folder=str(folder / "cache"),
        encoders={"made-up": EncoderCost()},
    )


def run(cells: Sequence[Cell], folder: Path, *, num_workers: int = 2) -> dict[str, list[str]]:
    """Memory -> what was told of its cells."""
    told: dict[str, list[str]] = {}
    prepare_workers()
    run_cells(
        cells,
        workplace(folder),
        engine=LokyEngine(num_workers),
        progress=lambda status, cell: told.setdefault(cell.name, []).append(status),
    )
    return told


def folder_of(cell: Cell, folder: Path) -> Path:
    return folder / "cells" / cell.folder_name


def files_of(cell: Cell, folder: Path) -> list[str]:
    return sorted(path.name for path in folder_of(cell, folder).iterdir())


def result_of(cell: Cell, folder: Path) -> Any:
    result = read_result(folder_of(cell, folder))
    assert result is not None
    return result


def rows_apart_from_times(cell: Cell, folder: Path) -> list[dict[str, Any]]:
    rows = [
        {name: value for name, value in row.items() if name not in TIMES} for row in result_of(cell, folder)["rows"]
    ]
    return json.loads(json.dumps(rows).replace("NaN", "null"))


# ---- in processes of their own -------------------------------------------------------------------------------------

DONE = (FrequencyConfig(), StaticFunctionConfig(), FaissMemoryConfig(), FaissMemoryConfig(factory="LSH"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Cell], Path, dict[str, list[str]]]:
    folder = tmp_path_factory.mktemp("finished")
    cells = cells_of(*DONE, FaissMemoryConfig(factory="PQ4np"), UNRULY["raising"]())
    return cells, folder, run(cells, folder)


def test_every_cell_ends_in_a_result_or_an_error_and_none_stops_the_others(
    finished: tuple[list[Cell], Path, dict[str, list[str]]],
) -> None:
    cells, folder, told = finished
    assert told == {
        "floor-mode": ["done"],
        "floor-static": ["done"],
        "faiss-q-Flat": ["done"],
        "faiss-q-LSH": ["done"],
        "faiss-q-PQ4np": ["refused"],
        "raising": ["failed"],
    }
    for cell in cells:
        assert files_of(cell, folder) == (["error.txt"] if cell.name == "raising" else ["result.json"])


def test_a_diverged_training_is_an_error_of_one_line_and_no_result(tmp_path: Path) -> None:
    training = TrainingBudget(steps=200, learning_rate=1e30, optimizer="sgd")
    (cell,) = cells_of(FFNMemoryConfig(ffn=DenseConfig(width=8), training=training))
    assert run_cell(cell, workplace(tmp_path)) == "failed"
    assert files_of(cell, tmp_path) == ["curves", "error.txt"]
    error = (folder_of(cell, tmp_path) / "error.txt").read_text()
    assert error.endswith("lower training.learning_rate\n") and error.count("\n") == 1


def capacity_error(memory: FFNMemoryConfig, folder: Path) -> str:
    (cell,) = cells_of(memory, num_facts=(), capacity=CapacitySearch(low=32, high=64))
    assert run_cell(cell, workplace(folder)) == "failed"
    error = (folder_of(cell, folder) / "error.txt").read_text()
    assert error.count("\n") == 1
    return error


def test_weights_that_overflow_their_precision_are_no_capacity_of_0(tmp_path: Path) -> None:
    training = TrainingBudget(steps=1, learning_rate=1e6)
    memory = FFNMemoryConfig(ffn=DenseConfig(width=8), precision="float16", training=training)
    assert "not finite once they are stored in float16" in capacity_error(memory, tmp_path)


def test_a_training_that_the_clock_ended_is_no_capacity_of_0(tmp_path: Path) -> None:
    memory = FFNMemoryConfig(ffn=DenseConfig(width=8), training=TrainingBudget(max_seconds=1e-3))
    assert "32 facts were not learnt within training.max_seconds" in capacity_error(memory, tmp_path)


def test_a_result_holds_its_identity_rows_and_seconds(
    finished: tuple[list[Cell], Path, dict[str, list[str]]],
) -> None:
    cells, folder, _ = finished
    by_name = {cell.name: cell for cell in cells}
    result = result_of(by_name["faiss-q-Flat"], folder)
    assert result["identity"] == json.loads(json.dumps(by_name["faiss-q-Flat"].identity()))
    assert (result["status"], result["reason"], result["capacity"]) == ("done", "", None)
    assert result["seconds"] > 0
    (row,) = result["rows"]
    assert (row["memory"], row["num_facts"], row["accuracy"], row["seed"]) == ("faiss-q-Flat", 64, 1.0, 0)
    assert {row["knowledge"] for cell in cells[:4] for row in result_of(cell, folder)["rows"]} == {
        by_name["raising"].knowledge_hash
    }
    floors = [row["memory"] for row in result_of(by_name["floor-mode"], folder)["rows"]]
    assert floors == ["floor-mode", "floor-entropy", "floor-known-0.01"]


def test_a_refused_cell_says_why_and_a_failed_one_keeps_its_traceback(
    finished: tuple[list[Cell], Path, dict[str, list[str]]],
) -> None:
    cells, folder, _ = finished
    by_name = {cell.name: cell for cell in cells}
    refused = result_of(by_name["faiss-q-PQ4np"], folder)
    assert refused["status"] == "refused" and refused["rows"] == []
    assert "PQ4np" in refused["reason"] and "64" in refused["reason"]
    error = (folder_of(by_name["raising"], folder) / "error.txt").read_text()
    assert error.startswith("Traceback") and error.strip().endswith("ArithmeticError: nothing adds up")


def test_the_same_seed_gives_the_same_rows_and_another_seed_other_labels(
    finished: tuple[list[Cell], Path, dict[str, list[str]]], tmp_path: Path
) -> None:
    cells, folder, _ = finished
    again = cells_of(*DONE)
    run([*again, *(others := cells_of(FrequencyConfig(), seeds=(1,)))], tmp_path)
    for cell, before in zip(again, cells, strict=False):
        assert cell.folder_name == before.folder_name
        assert rows_apart_from_times(cell, tmp_path) == rows_apart_from_times(before, folder)
    of_seed_0, of_seed_1 = rows_apart_from_times(again[0], tmp_path)[0], rows_apart_from_times(others[0], tmp_path)[0]
    assert of_seed_0["accuracy"] != of_seed_1["accuracy"]
    assert of_seed_0["knowledge"] == of_seed_1["knowledge"]


@pytest.mark.parametrize("num_workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_killed_worker_fails_its_cell_and_the_others_go_on(tmp_path: Path, num_workers: int) -> None:
    cells = cells_of(UNRULY["killed"](), UNRULY["unloadable"](), FrequencyConfig(), FrequencyConfig(guess=True))
    for cell in cells:  # what an interrupted run left says nothing of this one
        folder_of(cell, tmp_path).mkdir(parents=True)
        left = ("error.txt",) if cell.name in ("unloadable", "guesser") else ("error.txt", "running.json")
        for name in left:
            (folder_of(cell, tmp_path) / name).write_text("of an earlier run")
    told = run(cells, tmp_path, num_workers=num_workers)
    assert told == {"killed": ["failed"], "unloadable": ["failed"], "floor-mode": ["done"], "guesser": ["done"]}
    for cell in cells:
        if cell.name in ("killed", "unloadable"):
            assert files_of(cell, tmp_path) == ["error.txt"]
            assert "killed" in (folder_of(cell, tmp_path) / "error.txt").read_text()
        else:
            assert files_of(cell, tmp_path) == ["result.json"]


def test_what_was_written_before_a_pool_broke_is_told(tmp_path: Path) -> None:
    killed, raising, mode = cells_of(UNRULY["killed"](), UNRULY["raising"](), FrequencyConfig())
    place = workplace(tmp_path)
    assert (run_cell(raising, place), run_cell(mode, place)) == ("failed", "done")
    waiting = {cell.folder_name: cell for cell in (killed, raising, mode)}
    told: list[tuple[str, str]] = []
    engine = LokyEngine(1)
    _run_round(
        [killed, raising, mode], place, engine, dict(waiting), lambda status, cell: told.append((status, cell.name))
    )
    assert told == [("failed", "raising"), ("done", "floor-mode")]


# ---- texts ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def people(tmp_path: Path) -> TextConfig:
    facts = [
        {"subject": f"Person {row}", "relation": relation, "value": f"{relation} {row % 5}", "aliases": [f"Nick {row}"]}
        for row in range(90)
        for relation in ("trade", "home")
    ]
    path = tmp_path / "people.jsonl"
    path.write_text("".join(json.dumps(fact) + "\n" for fact in facts))
    return TextConfig(source="file", file=str(path), pool=2, max_calibration=40)


def encode(texts: Sequence[str], folder: Path) -> None:
    """A random unit vector for each text that has none."""
    cache = EmbeddingCache(folder / "cache")
    missing = cache.missing("made-up", texts)
    seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") for text in missing]
    raw = np.stack([np.random.default_rng(seed).standard_normal(24) for seed in seeds])
    cache.add("made-up", missing, (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32), seconds=1.0)


PAIRED = PairedMemoryConfig(ffn=DenseConfig(width=4), code_dim=8, training=TrainingBudget(steps=20))


def text_cells(people: TextConfig) -> list[Cell]:
    question, statement = FaissMemoryConfig(), FaissMemoryConfig(key_by="statement")
    one, two = {"knowledge": people, "num_facts": (100,)}, {"knowledge": people, "num_facts": (40, 100)}
    return [
        *cells_of(question, **two),  # the smaller set calibrates on others
        *cells_of(statement, twins=(False, True), **one),
        *cells_of(StaticFunctionConfig(), **one),
        *cells_of(question, keys="raw", **one),
        *cells_of(statement, PAIRED, halves=True, **one),
        *cells_of(question, capacity=CapacitySearch(accuracy=0.9, low=40, high=120), **one),
        *cells_of(FrequencyConfig(), capacity=CapacitySearch(accuracy=0.1, phrasing="heldout", low=40), **one),
    ]


@pytest.mark.slow
def test_all_texts_that_cells_need_are_collected_beforehand(people: TextConfig, tmp_path: Path) -> None:
    cells = text_cells(people)
    texts = texts_of(cells)
    assert len(set(texts)) == len(texts)
    encode(texts, tmp_path)
    assert {run_cell(cell, workplace(tmp_path)) for cell in cells} == {"done"}
    phrasings = {row["phrasing"] for cell in cells for row in result_of(cell, tmp_path)["rows"]}
    assert phrasings == {"identical", "seen", "heldout", "alias"}
    twin, real = (
        [row for cell in cells if cell.twin is twin for row in result_of(cell, tmp_path)["rows"]]
        for twin in (True, False)
    )
    assert all(row["twin"] for row in twin) and not any(row["twin"] for row in real)


def test_the_texts_of_one_cell_are_enough_for_it(people: TextConfig, tmp_path: Path) -> None:
    halves, twin = cells_of(PAIRED, halves=True, knowledge=people), cells_of(*DONE, twins=(True,), knowledge=people)
    for number, cell in enumerate([*halves, *twin]):
        folder = tmp_path / str(number)
        encode(texts_of([cell]), folder)
        assert run_cell(cell, workplace(folder)) == "done"


def test_texts_that_are_encoded_after_a_run_are_found_by_the_next_one(people: TextConfig, tmp_path: Path) -> None:
    (first,), (second,) = (cells_of(FaissMemoryConfig(), knowledge=people, num_facts=(size,)) for size in (20, 60))
    for cell in (first, second):
        encode(texts_of([cell]), tmp_path)
        assert run_cell(cell, workplace(tmp_path)) == "done"


def test_a_cell_of_facts_that_changed_meanwhile_fails(people: TextConfig, tmp_path: Path) -> None:
    (cell,) = cells_of(FrequencyConfig(), knowledge=people)
    encode(texts_of([cell]), tmp_path)
    stale = replace(cell, knowledge_hash="another")
    assert run_cell(stale, workplace(tmp_path)) == "failed"
    assert "changed while the run was going on" in (folder_of(stale, tmp_path) / "error.txt").read_text()
    folder_of(cell, tmp_path).mkdir()
    (folder_of(cell, tmp_path) / "error.txt").write_text("of an earlier run")
    assert run_cell(cell, workplace(tmp_path)) == "done"
    assert files_of(cell, tmp_path) == ["result.json"]
