"""Trainings are run by a lean trainer, or by the caller's, with the same weights; curves are kept where told."""

import csv
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from models.ffn import FFN
from models.ffn_kinds import DenseConfig
from models.key_value_training import KeyValueData, KeyValueModule, fit
from models.trainer_choice import curves_kept_in, trained_by
from models.training_budget import TrainingBudget

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


def trained(steps: int = 250) -> FFN:
    generator = torch.Generator().manual_seed(0)
    keys_ND = torch.nn.functional.normalize(torch.randn(40, 8, generator=generator), dim=1)
    data = KeyValueData.of_one_relation(keys_ND, torch.arange(40) % 5, 5)
    ffn = DenseConfig(width=8).build(8, 8, generator=generator)
    codes_VE = torch.randn(5, 8, generator=generator)
    fit(
        KeyValueModule(ffn, data, codes_VE, TrainingBudget(steps=steps, goal_nats=0.0), generator=generator),
        accelerator="cpu",
    )
    return ffn.cpu()


def same(first: FFN, second: FFN) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True))


def metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as lines:
        return list(csv.DictReader(lines))


def test_curves_are_kept_of_each_training_and_change_nothing(tmp_path: Path) -> None:
    plain = trained()
    with curves_kept_in(tmp_path / "curves"):
        assert same(trained(), plain) and same(trained(), plain)
    assert sorted(path.name for path in (tmp_path / "curves").iterdir()) == ["version_0", "version_1"]
    found = metrics(tmp_path / "curves" / "version_1")
    assert [float(line["steps"]) for line in found] == [100, 200, 250]
    losses = [float(line["loss_nats"]) for line in found]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.5 * losses[0]
    assert same(trained(), plain) and len(list((tmp_path / "curves").iterdir())) == 2, "only within"


def test_a_trainer_of_ones_own_brings_loggers_callbacks_and_checkpoints(tmp_path: Path) -> None:
    plain, seen = trained(), []

    class Looks(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            seen.append(module.steps_done)

    def mine(**settings: Any) -> lightning.Trainer:
        checkpoint = ModelCheckpoint(dirpath=tmp_path / "kept", save_last=True)
        own = {"logger": CSVLogger(tmp_path, name="mine"), "callbacks": [Looks(), checkpoint]}
        return lightning.Trainer(**settings | own | {"enable_checkpointing": True})

    with trained_by(mine):
        assert same(trained(), plain)
    assert seen == [100, 200, 250]
    assert len(metrics(tmp_path / "mine" / "version_0")) == 3
    kept = torch.load(tmp_path / "kept" / "last.ckpt", weights_only=True)["state_dict"]
    for name, weight in plain.named_parameters():
        assert torch.equal(kept[f"backbone.{name}"], weight)


def test_another_precision_is_computed_by_autograd(tmp_path: Path) -> None:
    plain = trained()

    def half(**settings: Any) -> lightning.Trainer:
        return lightning.Trainer(**settings | {"precision": "bf16-mixed"})

    with trained_by(half):
        mixed = trained()
    assert not same(mixed, plain)
    assert all(
        torch.allclose(one, other, atol=0.3) for one, other in zip(mixed.parameters(), plain.parameters(), strict=True)
    )
