"""A sweep: one study run once for each value of a setting, as studies of their own that a page puts side by side."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from retrieval.errors import UserError
from retromem.configuration import at, build, classes_named, set_known
from retromem.run.experiment import ExperimentConfig, StudyConfig


def with_sweeps_expanded(config: ExperimentConfig, *, may_name_classes: bool = False) -> ExperimentConfig:
    """Each study with a `sweep:` as one study a value: `rates` as `rates, learning_rate=0.01` and so on.

    `may_name_classes`: a value may name a class of the user's. UserError for a setting that the study does not have, or
    a value that it does not take.
    """
    studies: dict[str, StudyConfig] = {}
    for name, study in config.studies.items():
        if study.sweep is None or study.sweep.study:  # of a run that kept its settings
            studies[name] = study
            continue
        _refuse_settings(name, study.sweep.settings)
        if study.encoder is None and any(setting.startswith("encoder.") for setting in study.sweep.settings):
            study = replace(study, encoder=config.encoder)
        for swept_name, swept in _swept(name, study, may_name_classes=may_name_classes):
            if swept_name in config.studies or swept_name in studies:
                raise UserError(f"studies.{name}.sweep.values: {swept_name} comes twice; name each value once")
            studies[swept_name] = swept
    return replace(config, studies=studies)


def _refuse_settings(name: str, settings: Sequence[str]) -> None:
    if len(set(settings)) < len(settings):
        raise UserError(f"studies.{name}.sweep.settings: names a setting twice; name each once")
    for setting in settings:
        if setting.partition(".")[0] == "sweep":
            raise UserError(f"studies.{name}.sweep.settings: {setting} is of the sweep itself; name one of the study")


def _swept(name: str, study: StudyConfig, *, may_name_classes: bool) -> Iterator[tuple[str, StudyConfig]]:
    assert study.sweep is not None
    sweep = study.sweep
    settings = json.dumps(asdict(study))  # tuples as lists, none shared
    for value in sweep.values:
        content: dict[str, Any] = json.loads(settings)
        for setting in sweep.settings:
            set_known(content, setting, value, source=f"studies.{name}.sweep.settings")
        content["sweep"] |= {"values": [value], "study": name}
        source = f"studies.{name}.sweep, with {sweep.axis}={value}"
        known = True if may_name_classes else classes_named({**json.loads(settings), "sweep": None})
        found = build(StudyConfig, content, source=source, may_name_classes=known)
        taken = at(asdict(found), sweep.settings[0])  # as the setting has it: of `1e-3`, which YAML reads as text, .001
        found = replace(found, sweep=replace(sweep, values=(taken,), study=name))
        yield f"{name}, {sweep.axis}={value if isinstance(taken, dict) else taken}", found
