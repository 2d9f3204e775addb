"""Sweeps: a study run once for each value of a setting; and studies with an encoder of their own."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig
from retrieval.errors import UserError
from retromem.configuration import build, read_config
from retromem.knowledge.random_keys import KeysConfig
from retromem.knowledge.sources import KnowledgeConfig, TextConfig
from retromem.measure.settings import MeasureConfig
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.run.experiment import ArmsConfig, ExperimentConfig, StudyConfig, SweepConfig
from retromem.run.run_experiment import run_experiment
from retromem.run.sweeps import with_sweeps_expanded

HASHED = EncoderConfig(model="hashed-trigrams", truncate_dim=384)
KEYS = KeysConfig(num_facts=40, dim=8, num_values=4)
FFN = FFNMemoryConfig(ffn=DenseConfig(width=4), training=TrainingBudget(steps=40))
STEPS = SweepConfig(settings=("arms.0.memories.0.training.steps",), values=(0, 40, 4))


def experiment(sweep: SweepConfig | None, *memories: Any, knowledge: KnowledgeConfig = KEYS) -> ExperimentConfig:
    arms = (ArmsConfig(memories=memories or (FFN,), num_facts=(20,), seeds=(0, 1)),)
    studies = {"steps": StudyConfig(knowledge=knowledge, arms=arms, sweep=sweep)}
    quick = MeasureConfig(robustness=False)
    return ExperimentConfig(title="t", question="q", studies=studies, measures=quick, encoder=HASHED)


def run(config: ExperimentConfig, folder: Path) -> Path:
    finished = run_experiment(
        config, name="s", command="c", say=lambda line: None, runs=folder / "runs", reports=folder / "reports",
        cache=folder / "cache", num_workers=1,
    )  # fmt: skip
    assert finished.report is not None and not finished.num_failed
    return finished.report


def rows_of(report: Path) -> list[dict[str, str]]:
    with (report / "results.csv").open() as lines:
        return list(csv.DictReader(lines))


def test_each_value_is_a_study_that_differs_in_the_setting_alone() -> None:
    config = experiment(STEPS, FFN, FrequencyConfig())
    expanded = with_sweeps_expanded(config)
    assert list(expanded.studies) == ["steps, steps=0", "steps, steps=40", "steps, steps=4"]
    for (name, study), steps in zip(expanded.studies.items(), (0, 40, 4), strict=True):
        first, second = study.arms[0].memories
        assert first == replace(FFN, training=replace(FFN.training, steps=steps)) and second == FrequencyConfig()
        assert study.sweep == replace(STEPS, values=(steps,), study="steps"), name
        assert study.knowledge == KEYS
    assert with_sweeps_expanded(expanded) == expanded, "what a run kept is not expanded again"


def test_an_encoder_that_a_study_leaves_to_the_experiment_can_be_swept() -> None:
    sweep = SweepConfig(settings=("encoder.truncate_dim",), values=(8, 16))
    studies = with_sweeps_expanded(experiment(sweep)).studies.values()
    assert [study.encoder for study in studies] == [replace(HASHED, truncate_dim=dim) for dim in (8, 16)]


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("arms.0.memories.0.training.learning_rat", 0.1, "studies.steps.sweep.settings: arms.0.memories.0.training.lea"
         "rning_rat: arms.0.memories.0.training has no setting 'learning_rat'; the nearest is 'learning_rate'"),
        ("arms.1.role", "arm", "studies.steps.sweep.settings: arms.1.role: arms is a list of 1 and has no element '1'"),
        ("knowledge.dim.x", 3, "knowledge.dim has no setting 'x'"),
        ("knowledge.dim", "wide", "studies.steps.sweep, with dim=wide: knowledge.dim: should be a whole number"),
        ("knowledge.num_values", 1, "sweep, with num_values=1: knowledge: num_values should be 2 or more"),
    ],
)  # fmt: skip
def test_a_setting_or_value_that_cannot_be_is_said_before_anything_runs(
    setting: str, value: object, told: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        run(experiment(SweepConfig(settings=(setting,), values=(value,))), tmp_path)
    assert told in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_values_come_once_and_a_sweep_names_some() -> None:
    with pytest.raises(UserError, match="steps, steps=4 comes twice"):
        with_sweeps_expanded(experiment(replace(STEPS, values=(4, 4))))
    for empty in ({"settings": (), "values": (1,)}, {"settings": ("a",), "values": ()}):
        with pytest.raises(ValueError, match="must name one or more"):
            SweepConfig(**empty)  # type: ignore[arg-type]


def test_a_sweep_is_drawn_over_its_setting_and_its_rows_say_the_value(tmp_path: Path) -> None:
    report = run(experiment(STEPS), tmp_path)
    rows = rows_of(report)
    assert [(row["study"], row["sweep.steps"], row["memory.training.steps"]) for row in rows[::2]] == [
        (f"steps, steps={steps}", str(steps), str(steps)) for steps in (0, 40, 4)
    ]
    with (report / "points.csv").open() as lines:
        points = list(csv.DictReader(lines))
    right = {(point["x"], point["seed"]): point["y"] for point in points if point["quantity"] == "accuracy_identical"}
    assert right == {(row["sweep.steps"], row["seed"]): row["accuracy"] for row in rows}
    page = (report / "report.md").read_text()
    best = max(
        (0, 40, 4), key=lambda steps: sum(float(row["accuracy"]) for row in rows if row["sweep.steps"] == str(steps))
    )
    assert "Sweep of steps: steps" in page and f"at steps {best}" in page
    assert "Study: steps, steps=0" not in page, "a part of a sweep has no section of its own"
    kept = build(ExperimentConfig, read_config(tmp_path / "runs" / "s" / "config.yaml"), source="kept")
    assert kept == with_sweeps_expanded(experiment(STEPS))


def test_values_that_are_no_numbers_stand_side_by_side(tmp_path: Path) -> None:
    sweep = SweepConfig(settings=("arms.0.memories.0.ffn.kind",), values=("relu", "gelu"))
    report = run(experiment(sweep), tmp_path)
    series = {line["series"] for line in csv.DictReader((report / "points.csv").read_text().splitlines())}
    assert series == {"ffn-relu, relu", "ffn-gelu, gelu"} or series == {"ffn-relu-4, relu", "ffn-gelu-4, gelu"}


def test_a_study_has_an_encoder_of_its_own(tmp_path: Path) -> None:
    facts = [f"town {row},lies in,{'north' if row % 3 else 'south'}" for row in range(30)]
    (tmp_path / "towns.csv").write_text("\n".join(["subject,relation,value", *facts]))
    towns = TextConfig(source="file", file=str(tmp_path / "towns.csv"))
    of_192 = replace(HASHED, truncate_dim=192)
    config = experiment(None, FaissMemoryConfig(), knowledge=towns)
    config = replace(config, studies={**config.studies, "of 192": replace(config.studies["steps"], encoder=of_192)})
    report = run(config, tmp_path)
    rows = rows_of(report)
    seen = {row["study"]: row["encoder_hash"] for row in rows}
    assert seen == {"steps": Encoder(HASHED).content_hash, "of 192": Encoder(of_192).content_hash}
    size = {row["study"]: int(row["storage_bytes"]) for row in rows}
    # Twenty float32 vectors of 384 and of 192 numbers.
    assert size["steps"] - size["of 192"] == 20 * 192 * 4
    page = (report / "report.md").read_text()
    assert all(Encoder(one).content_hash in page for one in (HASHED, of_192))
    kept = yaml.safe_load((tmp_path / "runs" / "s" / "config.yaml").read_text())
    assert kept["studies"]["of 192"]["encoder"] == {**kept["encoder"], "truncate_dim": 192}
