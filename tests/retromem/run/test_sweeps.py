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
        ("sweep.values", 3, "studies.steps.sweep.settings: sweep.values is of the sweep itself"),
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_values_that_are_no_numbers_stand_side_by_side(tmp_path: Path) -> None:
    sweep = SweepConfig(settings=("arms.0.memories.0.ffn.kind",), values=("relu", "gelu"))
    report = run(experiment(sweep), tmp_path)
    series = {line["series"] for line in csv.DictReader((report / "points.csv").read_text().splitlines())}
    assert series == {"ffn-relu, relu", "ffn-relu, gelu"}, "of the family that stands first; the value says which"


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


def points_of(report: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((report / "points.csv").read_text().splitlines()))


def from_yaml(text: str) -> ExperimentConfig:
    return build(ExperimentConfig, yaml.safe_load(text), source="mine.yaml")


def of_keys(sweep: str, memories: str, **arms: str) -> ExperimentConfig:
    more = "".join(f", {name}: {value}" for name, value in arms.items())
    return from_yaml(
        f"""
        title: t
        question: q
        measures: {{ robustness: false }}
        studies:
          a/b:
            knowledge: {{ source: keys, num_facts: 40, dim: 8, num_values: 4 }}
            sweep: {sweep}
            arms: [{{ memories: [{memories}], seeds: [0]{more} }}]
        """
    )


RELU = "{ memory: ffn, ffn: { kind: relu, width: 4 }, training: { steps: 20 } }"


def test_memories_of_one_family_stay_apart_where_the_setting_is_part_of_their_names(tmp_path: Path) -> None:
    both = "[arms.0.memories.0.ffn.width, arms.0.memories.1.ffn.width]"
    untrained = RELU.replace("steps: 20", "steps: 0")
    report = run(
        of_keys(f"{{ settings: {both}, values: [4, 16] }}", f"{untrained}, {RELU}", num_facts="[20]"), tmp_path
    )
    points = points_of(report)
    keys = [(point["quantity"], point["series"], point["x"], point["seed"]) for point in points]
    assert len(set(keys)) == len(keys)
    assert {series for _, series, _, _ in keys} == {
        "ffn-relu (arms 0, memory 0)", "ffn-relu (arms 0, memory 1)"
    }  # fmt: skip
    rows = {(row["memory"], row["sweep.width"]): row["accuracy"] for row in rows_of(report)}
    for point in points:
        if point["quantity"] == "accuracy_identical":
            name = f"ffn-relu-{point['x']}" + ("-untrained" if "memory 0" in point["series"] else "")
            assert rows[name, point["x"]] == point["y"]


def test_rates_that_yaml_reads_as_text_are_numbers_and_so_are_true_and_false_values(tmp_path: Path) -> None:
    rate = "{ settings: [arms.0.memories.0.training.learning_rate], values: [1e-3, 1e-1] }"
    report = run(of_keys(rate, RELU, num_facts="[20]"), tmp_path)
    assert {point["x"] for point in points_of(report)} == {"0.001", "0.1"}
    bias = "{ settings: [arms.0.memories.0.ffn.bias], values: [false, true] }"
    expanded = with_sweeps_expanded(of_keys(bias, RELU, num_facts="[20]"))
    assert list(expanded.studies) == ["a/b, bias=False", "a/b, bias=True"]
    with pytest.raises(UserError, match="with learning_rate=-3: arms.0.memories.0.training.learning_rate: should be a"):
        with_sweeps_expanded(of_keys(rate.replace("[1e-3, 1e-1]", "[-3]"), RELU, num_facts="[20]"))


def test_a_searched_capacity_is_drawn_and_not_the_sizes_that_the_search_asked_for(tmp_path: Path) -> None:
    steps = "{ settings: [arms.0.memories.0.training.steps], values: [1, 200] }"
    report = run(of_keys(steps, RELU, capacity="{ accuracy: 0.6, high: 40 }"), tmp_path)
    points = points_of(report)
    assert {(point["quantity"], point["series"], point["x"]) for point in points} == {
        ("capacity_facts", "ffn-relu-4", "1"), ("capacity_facts", "ffn-relu-4", "200")
    }  # fmt: skip
    with (report / "capacity.csv").open() as lines:
        held = {row["study"].rpartition("=")[2]: row["num_facts"] for row in csv.DictReader(lines)}
    assert {point["x"]: point["y"] for point in points} == held
    assert "Most facts stored: ffn-relu-4" in (report / "report.md").read_text()


def test_a_phrasing_that_only_some_values_have_is_told_of_those(tmp_path: Path) -> None:
    facts = [f"town {row},lies in,{'north' if row % 3 else 'south'}" for row in range(30)]
    (tmp_path / "towns.csv").write_text("\n".join(["subject,relation,value", *facts]))
    towns = TextConfig(source="file", file=str(tmp_path / "towns.csv"))
    sweep = SweepConfig(settings=("knowledge.num_written",), values=(1, 4))
    config = replace(
        experiment(sweep, FaissMemoryConfig(), knowledge=towns), encoder=EncoderConfig(model="hashed-trigrams")
    )
    report = run(config, tmp_path)
    by = {(point["quantity"], point["x"]) for point in points_of(report) if point["quantity"].startswith("accuracy")}
    assert ("accuracy_identical", "4") in by and ("accuracy_seen", "1") in by and ("accuracy_seen", "4") not in by
    assert "Most right answers as written" in (report / "report.md").read_text()


def test_values_of_a_sweep_import_no_class_unless_the_config_may_name_some(tmp_path: Path) -> None:
    sweep = "{ settings: [arms.0.memories.0.memory], values: ['nowhere.to_be_found:Config'] }"
    with pytest.raises(UserError, match="may name no class"):
        with_sweeps_expanded(of_keys(sweep, RELU, num_facts="[20]"))
    with pytest.raises(UserError, match="cannot import nowhere.to_be_found:Config"):
        with_sweeps_expanded(of_keys(sweep, RELU, num_facts="[20]"), may_name_classes=True)


def test_a_setting_that_is_named_twice_is_refused_and_two_are_told_on_the_axis() -> None:
    steps, rate = (f"arms.0.memories.0.training.{name}" for name in ("steps", "learning_rate"))
    with pytest.raises(UserError, match="studies.steps.sweep.settings: names a setting twice"):
        with_sweeps_expanded(experiment(SweepConfig(settings=(steps, steps), values=(1,))))
    assert SweepConfig(settings=(steps, rate), values=(1,)).axis == "steps and learning_rate"


def test_an_encoder_of_a_study_without_text_is_refused(tmp_path: Path) -> None:
    config = experiment(None)
    config = replace(config, studies={"keys": replace(config.studies["steps"], encoder=HASHED)})
    with pytest.raises(UserError, match="studies.keys.encoder: keys has no text to encode"):
        run(config, tmp_path)
