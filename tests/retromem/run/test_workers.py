"""What workers inherit, the order in which they are given cells, and a Ctrl-C that waits."""

import os
import signal
import threading
from pathlib import Path

import pytest

from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retromem.knowledge.random_keys import KeysConfig
from retromem.measure.settings import MeasureConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.memories.static_function import StaticFunctionConfig
from retromem.run.cells import Cell, plan
from retromem.run.experiment import ArmsConfig, ExperimentConfig, StudyConfig
from retromem.run.local_engine import LokyEngine, _interrupt_held, work
from retromem.run.run_cell import Workplace
from retromem.run.run_cells import prepare_workers, run_cells

ONE_THREAD = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is set here ends with the test."""
    for name in (*ONE_THREAD, "PYTHONWARNINGS"):
        monkeypatch.setenv(name, "of a user")


def cells_of(*memories: object, **arms: object) -> list[Cell]:
    block = ArmsConfig(**{"memories": memories, "num_facts": (16,), "seeds": (0,), **arms})  # type: ignore[arg-type]
    studies = {"s": StudyConfig(knowledge=KeysConfig(num_facts=16, num_values=4, dim=6), arms=(block,))}
    config = ExperimentConfig(title="t", question="q", studies=studies, measures=MeasureConfig(robustness=False))
    return plan(config, encoder_hash="", text_dim=0)


def test_processes_started_from_now_on_have_one_thread_each(own_environment: None) -> None:
    prepare_workers()
    assert {name: os.environ[name] for name in ONE_THREAD} == ONE_THREAD
    assert os.environ["PYTHONWARNINGS"] == "of a user,ignore:resource_tracker:UserWarning"
    del os.environ["PYTHONWARNINGS"]
    prepare_workers()
    assert os.environ["PYTHONWARNINGS"] == "ignore:resource_tracker:UserWarning"


def test_a_worker_tells_whose_cell_ended_and_how(tmp_path: Path) -> None:
    place = Workplace(cells_folder=str(tmp_path), cache_folder="")
    (cell,) = cells_of(FrequencyConfig())
    assert work(cell, place) == (cell.folder_name, "done")
    assert (tmp_path / cell.folder_name / "result.json").exists()


def test_an_interrupt_waits_until_the_workers_are_started() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, set())
        with _interrupt_held():
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
            assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set())
            assert not heard
        assert heard == [signal.SIGINT]
        assert signal.pthread_sigmask(signal.SIG_BLOCK, set()) == mask
        with pytest.raises(ZeroDivisionError), _interrupt_held():
            _ = 1 // 0
        assert signal.pthread_sigmask(signal.SIG_BLOCK, set()) == mask
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_long_cells_are_given_first(tmp_path: Path, own_environment: None) -> None:
    """One at a time to a pool of one: told in the order in which they ended."""
    trained = [
        FFNMemoryConfig(ffn=DenseConfig(width=width), training=TrainingBudget(steps=steps, max_seconds=1e-6))
        for width, steps in ((2, 9000), (3, 30_000))
    ]
    cells = cells_of(FrequencyConfig(), trained[0], StaticFunctionConfig(), trained[1])
    place = Workplace(cells_folder=str(tmp_path), cache_folder="")
    told: list[tuple[str, int]] = []
    prepare_workers()
    run_cells(
        cells,
        place,
        engine=LokyEngine(1),
        progress=lambda status, cell: told.append((status, cells.index(cell))),  # type: ignore[arg-type]
    )
    assert told == [("done", 3), ("done", 1), ("done", 0), ("done", 2)]
    assert all(os.environ[name] == value for name, value in ONE_THREAD.items())
