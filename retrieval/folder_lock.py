"""One writer at a time.

The lock lies beside the folder, never in it: it is under no seal and weighs nothing in a ledger.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retrieval.errors import UserError

_POLL_SECONDS = 0.05


def _is_file_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def locked(folder: Path, seconds: float) -> Iterator[None]:
    """Hold `<folder>.lock`, beside the folder that links lead to: however it is spelt, its writers exclude each other.

    The kernel frees the lock of a killed writer; its file does no harm and may be removed.
    """
    folder = Path(os.path.realpath(folder))
    path = folder.with_name(f"{folder.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            # The former holder removes the file: a lock on a file that nobody else can find holds nobody off.
            if _is_file_at(descriptor, path):
                break
        os.close(descriptor)
        if time.monotonic() > deadline:
            raise UserError(f"{path}: another process is writing {folder.name}; try again when it has ended")
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
