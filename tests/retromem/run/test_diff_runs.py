"""Two runs side by side: what is told of settings, of numbers beyond and within noise, and of what only one has."""

import math
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
from retromem.panels.points import PUBLISHED, Point
from retromem.run.diff_runs import Difference, _numbers, diff_runs
from retromem.run.experiment import ArmsConfig, ExperimentConfig, StudyConfig
from retromem.run.report_run import RunResults
from retromem.run.run_experiment import run_experiment


def test_a_difference_is_beyond_noise_where_chance_would_seldom_make_it() -> None:
    def told(before: list[float], after: list[float]) -> bool | None:
        return Difference(before=dict(enumerate(before)), after=dict(enumerate(after))).beyond_noise

    assert told([1.0], [2.0]) is None, "one seed cannot say"
    assert told([1.0, 1.0, 1.0], [2.0, 2.0, 2.0]) is True
    # Differences 1, 2, 3: mean 2, standard error .577, and t of two degrees of freedom is 9.92.
    assert told([0.0, 0.0, 0.0], [1.0, 2.0, 3.0]) is False
    assert told([0.0, 0.0, 0.0], [1.9, 2.0, 2.1]) is True
    # Paired: seeds may differ by more than the change.
    assert told([10.0, 20.0, 30.0], [11.0, 21.0, 31.0]) is True
    assert Difference(before={0: 1.0, 1: 2.0}, after={1: 5.0, 2: 9.0}).beyond_noise is None


def run(folder: Path, name: str, *, steps: int, memories: tuple[Any, ...] = (), study: str = "keys") -> Path:
    training = TrainingBudget(steps=steps, goal_nats=0.0)
    arms = ArmsConfig(
        memories=(FFNMemoryConfig(ffn=DenseConfig(width=4), training=training), *memories),
        num_facts=(120,),
        seeds=(0, 1, 2),
    )
    studies = {study: StudyConfig(knowledge=KeysConfig(num_facts=120, num_values=4, dim=8), arms=(arms,))}
    config = ExperimentConfig(title=name, question="q", studies=studies, measures=MeasureConfig(robustness=False))
    places: Any = {"runs": folder / "runs", "reports": folder / "reports", "cache": folder / "cache"}
    run_experiment(config, name=name, command="c", say=lambda line: None, **places)
    return folder / "runs" / name


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    few = run(folder, "few", steps=3, memories=(FrequencyConfig(),))
    return few, run(folder, "many", steps=400)


@pytest.mark.slow
def test_settings_and_numbers_that_differ_stand_side_by_side(runs: tuple[Path, Path]) -> None:
    told = diff_runs(*runs)
    lines = told.splitlines()
    (steps,) = [line for line in lines if "training.steps" in line]
    assert steps.split(" | ")[-2:] == ["3", "400 |"]
    assert "few" in told and "many" in told and "title" not in told
    (accuracy,) = [line for line in lines if "| accuracy |" in line]
    assert "keys: ffn-gelu-4" in accuracy and "120 facts, identical" in accuracy and accuracy.endswith(" |")
    before, after, change = (float(cell) for cell in accuracy.strip("| ").split(" | ")[-3:])
    assert 0.2 < before < 0.5 < after and change == pytest.approx(after - before, abs=0.002) and change > 0
    assert "changed beyond noise" in told and "storage_bytes" not in told
    assert (
        lines[-1] == "Only in few (`called:` gives one memory one name): "
        "keys: floor-mode, keys: floor-entropy, keys: floor-known-0.01."
    )


def test_a_run_beside_itself_has_nothing_changed(runs: tuple[Path, Path]) -> None:
    told = diff_runs(runs[0], runs[0])
    assert told.startswith("The settings are the same.")
    numbers = int(told.partition(" numbers in both: ")[0].rpartition("\n")[2])
    assert f"{numbers} numbers in both: {numbers} the same, 0 changed beyond noise, 0 within it." in told
    assert math.isfinite(numbers) and numbers > 5


def test_runs_without_a_common_number_are_one_line(runs: tuple[Path, Path], tmp_path: Path) -> None:
    other = run(tmp_path, "other", steps=3, study="others")
    with pytest.raises(UserError, match="no row and no point of the one is in the other; name runs of one study"):
        diff_runs(runs[0], other)
    with pytest.raises(UserError, match="is no run folder"):
        diff_runs(runs[0], tmp_path)


def test_points_of_a_series_are_told_apart_by_their_labels() -> None:
    points = [Point(quantity="bits", series="ReLU", labels=labels, x=1.0, y=1.0, seed=0) for labels in ({}, PUBLISHED)]
    numbers = list(_numbers(RunResults(points=[("overload-s0-1a2b", point) for point in points])))
    assert [what.whose for what, _, _ in numbers] == ["ReLU", "ReLU, published"]
