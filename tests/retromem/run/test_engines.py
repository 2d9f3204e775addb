"""Engines give the rows of this machine's processes, and lose no cell with a worker or a machine."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retrieval.errors import UserError
from retromem.knowledge.random_keys import KeysConfig
from retromem.measure.settings import MeasureConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.run.cells import Cell, plan
from retromem.run.cluster_engines import DaskEngine, RayEngine, SlurmEngine, engine_of
from retromem.run.experiment import ArmsConfig, ExperimentConfig, StudyConfig
from retromem.run.local_engine import ENGINES, Engine, LokyEngine, check_engine
from retromem.run.run_cell import RUNNING, Workplace, read_result
from retromem.run.run_cells import prepare_workers, run_cells
from retromem.run.run_experiment import run_experiment

SEEDS = (0, 1, 2, 3, 4)
COMPARED = ("memory", "seed", "phrasing", "accuracy", "bits_ce", "storage_bytes", "optimizer_steps")


def experiment(steps: int = 100) -> ExperimentConfig:
    training = TrainingBudget(steps=steps, goal_nats=0.0)
    memories = (FFNMemoryConfig(ffn=DenseConfig(width=8), training=training), FrequencyConfig())
    arms = ArmsConfig(memories=memories, num_facts=(64,), seeds=SEEDS)
    studies = {"s": StudyConfig(knowledge=KeysConfig(num_facts=64, num_values=4, dim=8), arms=(arms,))}
    return ExperimentConfig(title="t", question="q", studies=studies, measures=MeasureConfig(robustness=False))


def cells_of(steps: int = 100) -> list[Cell]:
    return plan(experiment(steps), encoder_hash="", text_dim=0)


def workplace(folder: Path) -> Workplace:
    return Workplace(cells_folder=str(folder / "cells"), cache_folder=str(folder / "cache"))


def run(engine: Engine, cells: list[Cell], folder: Path) -> list[tuple[str, str]]:
    """(status, folder) of each cell, as it was told."""
    told: list[tuple[str, str]] = []
    prepare_workers()
    with engine:
        engine.check([folder / "cells", folder / "cache"])
        run_cells(
            cells,
            workplace(folder),
            engine=engine,
            progress=lambda status, cell: told.append((status, cell.folder_name)),
        )
    return told


def rows(cells: list[Cell], folder: Path) -> list[list[Any]]:
    found = [read_result(folder / "cells" / cell.folder_name) for cell in cells]
    return [[row[name] for name in COMPARED] for result in found if result for row in result["rows"]]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    folder, cells = tmp_path_factory.mktemp("loky"), cells_of()
    run(LokyEngine(2), cells, folder)
    return rows(cells, folder)


def is_whole(told: list[tuple[str, str]], cells: list[Cell]) -> None:
    """Each cell done, and told of once."""
    assert sorted(told) == sorted(("done", cell.folder_name) for cell in cells)


# ---- what is refused -----------------------------------------------------------------------------------------------


def test_an_engine_is_named_and_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_engine("loky") == "loky"
    with pytest.raises(UserError, match="ENGINE=spark: is no engine; name one of loky, ray, dask, slurm"):
        check_engine("spark")
    monkeypatch.setattr("retromem.run.local_engine.find_spec", lambda name: None)
    for name in ENGINES[1:]:
        with pytest.raises(UserError, match=f"is not installed; `make setup ENGINE={name}` installs it"):
            check_engine(name)


def test_what_is_wrong_is_said_before_anything_is_written(tmp_path: Path) -> None:
    places: Any = {"runs": tmp_path / "runs", "reports": tmp_path / "reports", "cache": tmp_path / "cache"}
    with pytest.raises(UserError, match="ENGINE=spark"):
        run_experiment(experiment(), name="x", command="", say=lambda line: None, engine="spark", **places)
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_sbatch_is_no_login_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(UserError, match="there is no sbatch on this machine"),
        engine_of("slurm", num_workers=1, run=tmp_path),
    ):
        pass


# ---- Slurm's jobs, as processes of this machine --------------------------------------------------------------------


@pytest.mark.slow
def test_jobs_give_the_rows_of_processes(tmp_path: Path, expected: list[list[Any]]) -> None:
    pytest.importorskip("submitit")
    cells = cells_of()
    is_whole(run(SlurmEngine(tmp_path / "slurm", cluster="local"), cells, tmp_path), cells)
    assert rows(cells, tmp_path) == expected


# ---- Dask ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_dask_cluster_gives_the_rows_of_processes(
    tmp_path: Path, expected: list[list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    cells = cells_of()
    is_whole(run(DaskEngine(2), cells, tmp_path), cells)
    assert rows(cells, tmp_path) == expected


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_one_line() -> None:
    dask = pytest.importorskip("dask")
    pytest.importorskip("distributed")
    with (
        dask.config.set({"scheduler-address": "tcp://127.0.0.1:9"}),
        pytest.raises(UserError, match=r"ENGINE=dask: DASK_SCHEDULER_ADDRESS=tcp://127\.0\.0\.1:9 cannot be reached"),
        DaskEngine(1),
    ):
        pass


# ---- Ray: two nodes, of which one goes -----------------------------------------------------------------------------


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes of two workers."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    prepare_workers()
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    found.second = found.add_node(num_cpus=2)
    monkeypatch.setenv("RAY_ADDRESS", found.address)
    yield found
    found.shutdown()


def once_some_run(cells: list[Cell], folder: Path, then: Any, *, num_done: int = 2) -> threading.Thread:
    """Calls `then` with the process ids of the cells that run, once so many are done."""

    def wait() -> None:
        folders = [folder / "cells" / cell.folder_name for cell in cells]
        while sum((place / "result.json").exists() for place in folders) < num_done:
            time.sleep(0.05)
        while True:
            running = [place / RUNNING for place in folders if (place / RUNNING).exists()]
            try:
                found = [json.loads(file.read_text())["pid"] for file in running]
            except (FileNotFoundError, ValueError):
                continue
            if found:
                then(found)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_ray_cluster_gives_the_rows_of_processes(cluster: Any, tmp_path: Path, expected: list[list[Any]]) -> None:
    cells = cells_of()
    is_whole(run(RayEngine(2), cells, tmp_path), cells)
    assert rows(cells, tmp_path) == expected


@pytest.mark.slow
def test_a_killed_worker_of_a_ray_cluster_costs_no_cell(cluster: Any, tmp_path: Path) -> None:
    cells, killed = cells_of(steps=8000), []

    def kill(running: list[int]) -> None:
        os.kill(running[0], signal.SIGKILL)
        killed.append(running[0])

    thread = once_some_run(cells, tmp_path, kill)
    told = run(RayEngine(2), cells, tmp_path)
    thread.join(timeout=1)
    assert len(killed) == 1, "a worker was killed while it ran a cell"
    is_whole(told, cells)
    assert all(read_result(tmp_path / "cells" / cell.folder_name) for cell in cells)


@pytest.mark.slow
def test_a_killed_node_of_a_ray_cluster_costs_no_cell(cluster: Any, tmp_path: Path) -> None:
    cells, gone = cells_of(steps=8000), []

    def remove(running: list[int]) -> None:
        cluster.remove_node(cluster.second, allow_graceful=False)
        gone.append(len(running))

    thread = once_some_run(cells, tmp_path, remove)
    told = run(RayEngine(2), cells, tmp_path)
    thread.join(timeout=30)
    assert len(gone) == 1, "a node went while cells were running"
    is_whole(told, cells)
    assert all(read_result(tmp_path / "cells" / cell.folder_name) for cell in cells)


def test_a_ray_cluster_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(UserError, match=r"ENGINE=ray: RAY_ADDRESS=127\.0\.0\.1:9 cannot be reached"), RayEngine(1):
        pass


def test_workers_that_do_not_see_the_folder_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that begins where the folder of the run is not."""
    pytest.importorskip("submitit")
    engine = SlurmEngine(tmp_path / "slurm", cluster="local")
    touched = Path.touch
    monkeypatch.setattr(Path, "touch", lambda path: None if ".seen-" in path.name else touched(path))
    with (
        engine,
        pytest.raises(UserError, match=r"a worker on \S+ does not see .*cells; run from a folder"),
    ):
        engine.check([tmp_path / "cells"])
