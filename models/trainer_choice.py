"""Who runs the trainings of this code: chosen here, free of Lightning, for whatever may be trained further down."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import lightning

MakeTrainer = Callable[..., "lightning.Trainer"]
"""from the settings of a lean trainer to a trainer"""

CHOSEN: ContextVar["MakeTrainer | None"] = ContextVar("who makes trainers", default=None)
CURVES: ContextVar[Path | None] = ContextVar("where curves of trainings are kept", default=None)
CHECKPOINTS: ContextVar[Path | None] = ContextVar("where long trainings are kept while they run", default=None)
SECONDS_A_CHECKPOINT: ContextVar[float] = ContextVar("seconds between two of them", default=300.0)


@contextmanager
def trained_by(make: MakeTrainer) -> Iterator[None]:
    """Every training within is run by the trainer that `make(**settings)` gives.

    `settings` are those of a lean trainer; change what you like but `max_epochs`:

        def mine(**settings):
            return lightning.Trainer(**settings | {"logger": TensorBoardLogger("logs"), "callbacks": [mine_too]})

        with trained_by(mine):
            rows = compare(...)
    """
    token = CHOSEN.set(make)
    try:
        yield
    finally:
        CHOSEN.reset(token)


@contextmanager
def curves_kept_in(folder: Path) -> Iterator[None]:
    """The loss of every training within goes to `<folder>/version_<number>/metrics.csv`, by a lean trainer."""
    token = CURVES.set(folder)
    try:
        yield
    finally:
        CURVES.reset(token)


@contextmanager
def checkpoints_kept_in(folder: Path, *, every_seconds: float = 300.0) -> Iterator[None]:
    """Every long training within leaves a checkpoint there while it runs, and goes on from one that it finds."""
    tokens = CHECKPOINTS.set(folder), SECONDS_A_CHECKPOINT.set(every_seconds)
    try:
        yield
    finally:
        CHECKPOINTS.reset(tokens[0])
        SECONDS_A_CHECKPOINT.reset(tokens[1])
