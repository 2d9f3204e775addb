"""One writer at a time.

The lock lies beside the folder, never in it: it is under no seal and weighs nothing in a ledger.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from retrieval.errors import UserError

_POLL_SECONDS = 0.05


@contextmanager
def locked(folder: Path, seconds: float) -> Iterator[None]:
    """Hold `<folder>.lock`, beside the folder that links lead to: however it is spelt, its writers exclude each other.

    UserError where another one still holds it after so many seconds. The kernel frees the lock of a killed writer; its
    file does no harm and may be removed.
    """
    folder = Path(os.path.realpath(folder))
    path = folder.with_name(f"{folder.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=seconds, poll_interval=_POLL_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"{path}: another process is writing {folder.name}; try again when it has ended") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: whoever waits for a file that has no name opens the next one
        lock.release()
