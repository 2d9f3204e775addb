"""Changes of a sealed folder, one generation after the other, while others read it.

A change writes new files under names that carry its generation, then replaces the manifest, which is the commit, then
removes the files that the manifest no longer names:

    before      the folder is locked; nothing was written
    writing     new files lie in `.tmp-update`
    renamed     new files lie in the folder, the manifest does not name them yet
    committed   the manifest names them; files of former generations may still be there

Whenever a writer is killed, a reader finds what the manifest names, and the next writer removes the rest.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from retrieval.atomic import fsync, write_flushed
from retrieval.errors import UserError
from retrieval.phases import OnPhase, unwatched
from retrieval.sealed_folder import (
    MANIFEST,
    UPDATE_FOLDER,
    left_overs,
    manifest_bytes,
    read_manifest,
)

Read = TypeVar("Read")

# A reader starts again only after a writer has committed; who never gets through in so many turns is told so.
_MAX_READS = 100


def name_of(name: str, generation: int) -> str:
    """`index.faiss` of the first generation, `index-00000003.faiss` of the third change."""
    stem, _, suffix = name.partition(".")
    return f"{stem}-{generation:08d}.{suffix}" if generation else name


def current_name(names: Iterable[str], name: str) -> str:
    """That of a store's files which is `name`, whatever generation brought it; `name` where there is none."""
    stem, _, suffix = name.partition(".")
    pattern = re.compile(rf"{re.escape(stem)}(-\d{{8}})?\.{re.escape(suffix)}")
    return next((found for found in names if pattern.fullmatch(found)), name)


def sweep(folder: Path) -> None:
    """Remove what killed writers left inside the folder. The caller holds the lock."""
    for name in left_overs(os.listdir(folder), read_manifest(folder)):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)


@contextmanager
def _swept(folder: Path) -> Iterator[None]:
    """Nothing but the store is left behind, whether the change was committed or failed."""
    sweep(folder)
    try:
        yield
    finally:
        sweep(folder)


def commit(
    folder: Path,
    *,
    added: Mapping[str, bytes],
    removed: set[str],
    meta: Mapping[str, object],
    generation: int,
    on_phase: OnPhase = unwatched,
) -> None:
    """Make the next generation of a sealed folder: `added` files come, `removed` ones go, the others stay untouched.

    The caller holds the lock, and made the names of what is added carry the generation, which is one more than that
    of the manifest. UserError where the folder cannot be written; nothing has changed then.
    """
    manifest = read_manifest(folder)
    assert generation == manifest["generation"] + 1, "generations follow each other"
    kept = {name: entry for name, entry in manifest["files"].items() if name not in removed}
    assert not added.keys() & manifest["files"].keys(), "a file of a sealed folder never changes"
    new_manifest = manifest_bytes(
        {**kept, **added},
        kind=manifest["kind"],
        meta=meta,
        generation=generation,
        replaced=sorted(removed),
    )
    try:
        with _swept(folder):
            on_phase("before")
            temporary = folder / UPDATE_FOLDER
            temporary.mkdir()
            on_phase("writing")
            for name, content in added.items():
                write_flushed(temporary / name, content)
                on_phase("writing")
            write_flushed(temporary / MANIFEST, new_manifest)
            for name in added:
                (temporary / name).rename(folder / name)
                on_phase("renamed")
            fsync(folder)
            on_phase("renamed")
            (temporary / MANIFEST).replace(folder / MANIFEST)
            fsync(folder)
            on_phase("committed")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from error
    on_phase("committed")


@contextmanager
def _held_open(folder: Path) -> Iterator[None]:
    """While a folder is open, its inode number is given to no other, so that a number tells who is who."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # not there, or between the two renames that replace it
        yield
        return
    try:
        yield
    finally:
        os.close(descriptor)


def _state(folder: Path) -> tuple[int, bytes] | None:
    """Which manifest a folder has, and which folder it is: one that is written as a whole takes another's place."""
    try:
        return folder.stat().st_ino, (folder / MANIFEST).read_bytes()
    except OSError:
        return None


def while_written(folder: Path, read: Callable[[], Read]) -> Read:
    """What `read` returns of one generation, however often others write meanwhile.

    Everything that belongs together is read in one call: two calls may find two stores. A generation that was replaced
    while it was read is read again; the error of one that was not stands.
    """
    for _ in range(_MAX_READS):
        with _held_open(folder):
            before = _state(folder)
            try:
                found = read()
            except Exception:  # half of one store and half of another can break a reader in any way
                if _state(folder) == before:
                    raise
                continue
            after = _state(folder)
        # Files of a generation never change, so what was read is whole unless the folder itself was replaced.
        if before is not None and after is not None and before[0] == after[0]:
            return found
    raise UserError(f"{folder}: was written {_MAX_READS} times while it was read; try again when its writer has ended")
