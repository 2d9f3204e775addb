"""What a run says of itself: how much there is to do, how far it is, and how published numbers came out."""

import time
from collections.abc import Callable, Sequence

from retromem.rows import ReproducedRow
from retromem.run.experiment import ExperimentConfig
from retromem.run.local_engine import EngineName
from retromem.run.run_cell import AnyCell

Say = Callable[[str], None]


def opening(
    name: str,
    config: ExperimentConfig,
    cells: Sequence[AnyCell],
    todo: Sequence[AnyCell],
    workers: int,
    engine: EngineName = "loky",
) -> str:
    if not todo:
        return f"{name}: all {len(cells)} cells are done; writing the report"
    if engine != "loky":
        return f"{name}: {config.question} {len(todo)} of {len(cells)} cells to run on {engine}"
    share = sum(cell.weight for cell in todo) / sum(cell.weight for cell in cells)
    seconds = share * (config.seconds_expected or 20 + sum(cell.weight for cell in cells) / 2)
    return (
        f"{name}: {config.question} {len(todo)} of {len(cells)} cells to run in {workers} processes, "
        f"about {max(1, round(seconds / 60 * 2 / workers))} min"
    )


class Progress:
    """A line now and then: how far, how long, how long still."""

    def __init__(self, total: int, say: Say) -> None:
        self._total, self._say, self._done, self._weight = total, say, 0, 0.0
        self._start = self._last = time.perf_counter()

    def __call__(self, status: str, cell: AnyCell) -> None:
        self._done += 1
        now = time.perf_counter()
        if status == "done" and now - self._last < 8 and self._done < self._total:
            return
        self._last = now
        self._say(f"  {self._done:>4} of {self._total} cells, {now - self._start:.0f} s; {cell.folder_name}: {status}")


def published_line(row: ReproducedRow) -> str:
    """Of a published number, one line."""
    ours = "no number" if row.ours is None else f"{row.ours:.4g}"
    verdict = "passes" if row.passes else "FAILS"
    return f"{verdict}: {row.source}, {row.setting}: {ours} against {row.published:g} {row.unit} ({row.seconds:.0f} s)"
