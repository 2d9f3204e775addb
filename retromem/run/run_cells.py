"""Cells in processes of their own: started by spawn, one thread each, a killed one alone fails.

joblib with loky: its Ray and Dask backends are how cells can leave the machine.
"""

import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path

from retrieval.atomic import write_text
from retromem.run.run_cell import ERROR, RUNNING, AnyCell, Workplace, read_result, run_cell

Progress = Callable[[str, AnyCell], None]

_ENVIRONMENT = {
    # Two OpenMP runtimes (torch's and FAISS's) spin against each other unless told not to, before the first import.
    "OMP_WAIT_POLICY": "PASSIVE",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def _work(cell: AnyCell, workplace: Workplace) -> tuple[str, str]:
    """In the worker: one thread, and no warnings of Lightning about loaders and workers that are meant."""
    warnings.filterwarnings("ignore", module="lightning")
    return cell.folder_name, run_cell(cell, workplace)


def prepare_workers() -> None:
    """Settings that processes started from now on inherit: one thread each, no noise at their end."""
    os.environ.update(_ENVIRONMENT)
    # On Ctrl-C loky's tracker would list what it cleans up.
    quiet = "ignore:resource_tracker:UserWarning"
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), quiet]))


def run_cells(cells: Sequence[AnyCell], workplace: Workplace, *, num_workers: int, progress: Progress) -> None:
    """Run every cell to a result or an error.

    A dying worker takes its pool with it, and nobody can tell from outside which of the cells in flight killed it: each
    of them is run once more, alone in a pool of its own. The one that dies again fails; the others go on.
    """
    prepare_workers()
    waiting = {cell.folder_name: cell for cell in sorted(cells, key=lambda cell: -cell.weight)}
    for cell in cells:  # what an earlier run left must not be taken for the doing of this one
        for trace in (ERROR, RUNNING):
            (_folder(cell, workplace) / trace).unlink(missing_ok=True)
    while waiting:
        num_waiting = len(waiting)
        _run_pool(list(waiting.values()), workplace, num_workers, waiting, progress)
        suspects = [cell for cell in waiting.values() if (_folder(cell, workplace) / RUNNING).exists()]
        if len(waiting) == num_waiting:  # nothing came of this round: without suspects the next would be no better
            suspects = suspects or list(waiting.values())
        for cell in suspects:
            _run_pool([cell], workplace, 1, waiting, progress)
            if cell.folder_name in waiting:
                folder = _folder(cell, workplace)
                (folder / RUNNING).unlink(missing_ok=True)
                write_text(folder / ERROR, "The worker process was killed, twice (out of memory?).\n")
                progress("failed", waiting.pop(cell.folder_name))


@contextmanager
def _interrupt_held() -> Iterator[None]:
    """Ctrl-C waits for a moment. Workers started in it never hear one: their parent ends them, without tracebacks."""
    resource_tracker.ensure_running()  # started within, it would let the signal through again
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _folder(cell: AnyCell, workplace: Workplace) -> Path:
    return Path(workplace.cells_folder) / cell.folder_name


def _run_pool(
    cells: list[AnyCell], workplace: Workplace, num_workers: int, waiting: dict[str, AnyCell], progress: Progress
) -> None:
    """One pool over the cells; returns early when a worker was killed. Finished cells leave `waiting`."""
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import BrokenProcessPool

    # Asked for one job, joblib computes in this very process, and a cell that is killed takes the whole run with it:
    # a pool of two then, which is given one cell at a time.
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
                results = parallel(delayed(_work)(cell, workplace) for cell in cells)
            for name, status in results:
                progress(status, waiting.pop(name))
    except BrokenProcessPool:
        for cell in cells:  # results that were written, but not reported before the pool broke
            folder = _folder(cell, workplace)
            if cell.folder_name in waiting and not (folder / RUNNING).exists():
                result = read_result(folder)
                if result is not None:
                    progress(str(result["status"]), waiting.pop(cell.folder_name))
                elif (folder / ERROR).exists():
                    progress("failed", waiting.pop(cell.folder_name))
        time.sleep(0.2)  # let the broken pool's workers end
