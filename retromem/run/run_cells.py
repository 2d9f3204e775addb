"""Every cell of a run to a result or an error, on whatever engine; one whose worker is killed alone fails."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from retrieval.atomic import write_text
from retromem.run.local_engine import ENVIRONMENT, Engine, WorkerLost, state_of
from retromem.run.run_cell import ERROR, RESULT, RUNNING, AnyCell, Workplace

Progress = Callable[[str, AnyCell], None]

_PAUSE_SECONDS = 3.0
"""before a cluster is asked again"""


def prepare_workers() -> None:
    """Settings that processes started from now on inherit: one thread each, no noise at their end."""
    os.environ.update(ENVIRONMENT)
    # On Ctrl-C loky's tracker would list what it cleans up.
    quiet = "ignore:resource_tracker:UserWarning"
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), quiet]))


def run_cells(cells: Sequence[AnyCell], workplace: Workplace, *, engine: Engine, progress: Progress) -> None:
    """Run every cell to a result or an error; the engine is joined.

    A dying worker takes others with it, and nobody can tell from outside which of the cells in flight killed it: each
    of them is run once more, alone. The one that dies again fails; the others go on. A cluster that has lost a machine
    is given time to notice it.
    """
    waiting = {cell.folder_name: cell for cell in sorted(cells, key=lambda cell: -cell.weight)}
    for cell in cells:  # what an earlier run left must not be taken for the doing of this one
        for trace in (ERROR, RUNNING, RESULT):
            (_folder(cell, workplace) / trace).unlink(missing_ok=True)
    num_idle = 0
    while waiting:
        num_waiting = len(waiting)
        _run_round(list(waiting.values()), workplace, engine, waiting, progress)
        suspects = [cell for cell in waiting.values() if (_folder(cell, workplace) / RUNNING).exists()]
        num_idle = 0 if suspects or len(waiting) < num_waiting else num_idle + 1
        if 0 < num_idle <= engine.patience:
            time.sleep(_PAUSE_SECONDS)
            continue
        if num_idle:  # nothing came of this round: without suspects the next would be no better
            suspects = list(waiting.values())
        for cell in suspects:
            _run_alone(cell, workplace, engine, waiting, progress)


def _run_alone(
    cell: AnyCell, workplace: Workplace, engine: Engine, waiting: dict[str, AnyCell], progress: Progress
) -> None:
    """To an end: whoever is killed while it runs, or is taken by no worker, has failed."""
    folder = _folder(cell, workplace)
    for number in range(1 + engine.patience):
        time.sleep(_PAUSE_SECONDS if number else 0.0)
        (folder / RUNNING).unlink(missing_ok=True)
        _run_round([cell], workplace, engine, waiting, progress)
        if cell.folder_name not in waiting:
            return
        if (folder / RUNNING).exists():
            break
    (folder / RUNNING).unlink(missing_ok=True)
    write_text(folder / ERROR, "The worker process was killed, twice (out of memory?).\n")
    progress("failed", waiting.pop(cell.folder_name))


def _folder(cell: AnyCell, workplace: Workplace) -> Path:
    return Path(workplace.cells_folder) / cell.folder_name


def _run_round(
    cells: list[AnyCell], workplace: Workplace, engine: Engine, waiting: dict[str, AnyCell], progress: Progress
) -> None:
    """All of them, or some where a worker was lost. Finished cells leave `waiting`."""
    try:
        for name, status in engine.results(cells, workplace):
            progress(status, waiting.pop(name))
    except WorkerLost:
        for cell in cells:  # results that were written, but not reported before
            ended = state_of(_folder(cell, workplace)) if cell.folder_name in waiting else None
            if ended is not None:
                progress(ended, waiting.pop(cell.folder_name))
