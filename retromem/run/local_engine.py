"""Where cells compute: what an engine is, and the one of this machine.

That one starts processes by spawn, with one thread each.
"""

import signal
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing import resource_tracker
from pathlib import Path
from typing import ClassVar, Literal, Self, get_args

from retrieval.errors import UserError
from retromem.run.run_cell import ERROR, RUNNING, AnyCell, Workplace, read_result, run_cell

EngineName = Literal["loky", "ray", "dask", "slurm"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
ENVIRONMENT = {
    # Two OpenMP runtimes (torch's and FAISS's) spin against each other unless told not to, before the first import.
    "OMP_WAIT_POLICY": "PASSIVE",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""of every worker"""
_NEEDS = {"loky": "joblib", "ray": "ray", "dask": "distributed", "slurm": "submitit"}


class WorkerLost(RuntimeError):
    """A worker, or the machine it ran on, is gone: some of its cells have neither a result nor an error."""


def check_engine(name: str) -> EngineName:
    """The engine of this name; UserError where there is none, or where its package is not installed."""
    for engine in ENGINES:
        if name == engine:
            if find_spec(_NEEDS[engine]) is None:
                raise UserError(
                    f"ENGINE={name}: {_NEEDS[engine]} is not installed; `make setup ENGINE={name}` installs it"
                )
            return engine
    raise UserError(f"ENGINE={name}: is no engine; name one of {', '.join(ENGINES)}")


def state_of(folder: Path) -> str | None:
    """How the cell of this folder ended: done, refused or failed; None where it has not."""
    if (folder / RUNNING).exists():
        return None
    result = read_result(folder)
    if result is not None:
        return str(result["status"])
    return "failed" if (folder / ERROR).exists() else None


def work(cell: AnyCell, workplace: Workplace) -> tuple[str, str]:
    """In the worker: one thread, and no warnings of Lightning about loaders and workers that are meant."""
    warnings.filterwarnings("ignore", module="lightning")
    return cell.folder_name, run_cell(cell, workplace)


class Engine(ABC):
    """Runs cells. Used as a context, which joins a cluster and leaves it."""

    patience: ClassVar[int] = 0
    """how often it is asked again for cells that no worker took: a cluster takes a while to miss a machine"""

    def __enter__(self) -> Self:
        """UserError where it cannot be reached."""
        return self

    def __exit__(self, *_: object) -> None:  # noqa: B027  # most engines leave nothing behind
        """Nothing that was started goes on."""

    @abstractmethod
    def results(self, cells: Sequence[AnyCell], workplace: Workplace) -> Iterator[tuple[str, str]]:
        """(folder, status) of each cell as it ends. Raises WorkerLost where some will not end."""

    def check(self, folders: Sequence[Path]) -> None:  # noqa: B027  # processes of this machine see what we see
        """UserError where workers do not see these folders, or lack this package."""


@contextmanager
def _interrupt_held() -> Iterator[None]:
    """Ctrl-C waits for a moment. Workers started in it never hear one: their parent ends them, without tracebacks."""
    resource_tracker.ensure_running()  # started within, it would let the signal through again
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


class LokyEngine(Engine):
    """Processes of this machine."""

    def __init__(self, num_workers: int) -> None:
        self._num_workers = num_workers

    def results(self, cells: Sequence[AnyCell], workplace: Workplace) -> Iterator[tuple[str, str]]:
        """One pool over the cells; a killed worker takes it with it."""
        from joblib import Parallel, delayed
        from joblib.externals.loky.process_executor import BrokenProcessPool

        # A worker that imports torch for its second cell only looks like a leak to loky, which starts another.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
        # Interrupted, it is told in one line of ours.
        warnings.filterwarnings("ignore", message=".*tasks which were still being processed by the workers")
        # Asked for one job, joblib computes in this very process, and a cell that is killed takes the whole run with
        # it: a pool of two then, which is given one cell at a time.
        num_workers = min(self._num_workers, len(cells))
        pool = Parallel(
            n_jobs=max(2, num_workers),
            pre_dispatch=num_workers,
            backend="loky",
            batch_size=1,
            return_as="generator_unordered",
        )
        try:
            with pool as parallel:
                with _interrupt_held():
                    results = parallel(delayed(work)(cell, workplace) for cell in cells)
                yield from results
        except BrokenProcessPool as error:
            time.sleep(0.2)  # let the broken pool's workers end
            raise WorkerLost(str(error)) from None
