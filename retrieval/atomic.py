"""Files and folders that are either whole or not there.

Everything is written beside its final place, flushed to disk, and renamed. A reader never sees half a file. A killed
writer leaves at most a `.tmp-...` sibling, which the next writer of the same place removes - or, where the kill fell
while a folder was being replaced, puts back.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from retrieval.phases import OnPhase, unwatched

_NEW = ".tmp-"
_OLD = ".tmp-old-"
# Between the two renames that replace a folder lie microseconds: who waits this long in vain, waits for a dead writer.
_REPLACING_SECONDS = 0.1


def fsync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sibling(path: Path, prefix: str) -> Path:
    return path.with_name(f"{prefix}{os.getpid()}-{path.name}")


def _left_over(path: Path, prefix: str) -> list[tuple[Path, int]]:
    """Siblings that writers of `path` made, each with the id of its process.

    A whole-name match: the `.tmp-7-my-store` of another folder is none of the siblings of `store`.
    """
    pattern = re.compile(rf"{re.escape(prefix)}(\d+)-{re.escape(path.name)}")
    matches = [(sibling, pattern.fullmatch(sibling.name)) for sibling in path.parent.iterdir()]
    return [(sibling, int(match[1])) for sibling, match in matches if match]


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it runs, as another user
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Remove what killed writers of `path` left; a process that writes it now keeps its own."""
    for prefix in (_NEW, _OLD):
        for sibling, process_id in _left_over(path, prefix):
            # Our own id in an old name is a former process: in a container every run may have the same one.
            if process_id == os.getpid() or not _is_running(process_id):
                _remove(sibling)


def restore_folder(path: Path) -> None:
    """Put the old folder back where a writer was killed between moving it away and moving the new one in.

    Does nothing where `path` exists or no such folder is left. For readers; writers do it themselves.
    """
    path = Path(os.path.realpath(path))  # what was moved lies beside the folder, not beside a link to it
    if path.exists() or not path.parent.is_dir() or not _left_over(path, _OLD):
        return
    time.sleep(_REPLACING_SECONDS)
    left_over = _left_over(path, _OLD)
    if left_over and not path.exists():
        with suppress(OSError):  # another reader was faster, or nothing can be written here
            left_over[0][0].rename(path)
            fsync(path.parent)


def write_flushed(path: Path, content: bytes) -> None:
    """A new file, on the disk when this returns."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, whole or not at all; an OSError names `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary = _sibling(path, _NEW)
    try:
        write_flushed(temporary, content)
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # a full disk tells none, and the temporary one says nothing to a user
        raise
    finally:
        temporary.unlink(missing_ok=True)
    fsync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by UTF-8 `text`, whole or not at all."""
    write_bytes(path, text.encode())


@contextmanager
def new_folder(path: Path, on_phase: OnPhase = unwatched) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success it takes the place of `path`, on any error nothing changes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    restore_folder(path)
    _sweep(path)
    temporary, old = _sibling(path, _NEW), _sibling(path, _OLD)
    temporary.mkdir()
    on_phase("writing")
    try:
        yield temporary
        for file in temporary.rglob("*"):
            fsync(file)
        fsync(temporary)
        if path.exists():
            path.rename(old)
            on_phase("renamed")
        temporary.rename(path)
        fsync(path.parent)
        on_phase("committed")
    finally:
        if old.exists() and not path.exists():  # the second rename failed, or Ctrl-C fell between the two
            old.rename(path)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(temporary, ignore_errors=True)
