"""Which Lightning trainer runs a training: a lean one, or the caller's own.

All optimisation steps of a training are one epoch, many of them a call of `training_step`: the usual one batch an epoch
costs several milliseconds of bookkeeping where the step of a small FFN costs a hundred microseconds.
"""

import logging
from datetime import timedelta
from typing import Any

import lightning
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from models.trainer_choice import CHECKPOINTS, CHOSEN, CURVES, SECONDS_A_CHECKPOINT


class _OneProcess(LightningEnvironment):
    """What Lightning is told of its surroundings. It would find an allocation of several tasks in the variables of
    Slurm, torchrun, LSF or MPI, and fail or wait for the others; nothing here is ever trained by more than one."""

    @property
    def creates_processes_externally(self) -> bool:
        return False

    def local_rank(self) -> int:
        return 0

    def node_rank(self) -> int:
        return 0

    def teardown(self) -> None:
        """Lightning's own takes WORLD_SIZE out of the process's environment."""


class _OneProcessTrainer(lightning.Trainer):
    """PL_TRAINER_MAX_STEPS and its like set what a caller left open, of the class of that very name alone."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, plugins=_OneProcess())


def run_calls(module: lightning.LightningModule, num_calls: int, *, accelerator: str) -> str:
    """So many calls of the module's `training_step`, or fewer where it stops the trainer; the kind of device (cpu)."""
    trainer = _trainer(accelerator=accelerator, max_epochs=min(num_calls, 1), enable_checkpointing=False)
    trainer.fit(module, DataLoader(range(max(num_calls, 1)), batch_size=None))  # type: ignore[arg-type]
    return str(trainer.strategy.root_device.type)


def run_resumable(
    module: lightning.LightningModule, num_steps: int, *, accelerator: str, precision: str, name: str
) -> str:
    """One optimisation step a call of `training_step`, until the module stops the trainer; the kind of device.

    Where checkpoints are kept, one is written every few minutes under this name, and the training goes on from it.
    """
    folder, checkpoint = CHECKPOINTS.get(), None
    callbacks: list[lightning.pytorch.callbacks.Callback] = []
    if folder is not None:
        checkpoint = folder / f"{name}.ckpt"
        callbacks = [
            ModelCheckpoint(
                dirpath=folder,
                filename=name,
                train_time_interval=timedelta(seconds=SECONDS_A_CHECKPOINT.get()),
                enable_version_counter=False,
            )
        ]
    trainer = _trainer(
        accelerator=accelerator,
        max_epochs=min(num_steps, 1),
        enable_checkpointing=folder is not None,
        precision=precision,
        callbacks=callbacks,
    )
    known = checkpoint if checkpoint is not None and checkpoint.exists() else None
    loader: DataLoader[int] = DataLoader(range(max(num_steps, 1)), batch_size=None)  # type: ignore[arg-type]
    trainer.fit(module, loader, ckpt_path=known, weights_only=True)  # a checkpoint is weights and numbers: no code
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)  # of a training that came to its end
    return str(trainer.strategy.root_device.type)


def _trainer(**settings: Any) -> lightning.Trainer:
    # Four lines and an advertisement for every training: too much for thousands of them.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    curves = CURVES.get()
    return (CHOSEN.get() or _OneProcessTrainer)(
        devices=1,
        logger=False if curves is None else CSVLogger(curves.parent, name=curves.name),
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
