"""Changes of a saved store by the ids of its chunks, while others read it; each is whole or did not happen.

One writer at a time: who finds the store locked waits `lock_seconds`, then gets a UserError. `verify=False` leaves out
the sha256 of the files that are read first. `on_phase` is told how far the writing has come. Each returns the store as
it is now; a UserError for what cannot be done names the store.
"""

import os
from collections.abc import Callable
from pathlib import Path

from jaxtyping import Int64
from numpy import ndarray

from retrieval import store_changes
from retrieval.chunk_store import ChunkStore
from retrieval.chunks import Chunks
from retrieval.errors import UserError
from retrieval.folder_lock import locked
from retrieval.generations import commit
from retrieval.phases import OnPhase, unwatched
from retrieval.sealed_folder import read_manifest


def add(
    folder: Path, chunks: Chunks, *, lock_seconds: float = 10.0, verify: bool = True, on_phase: OnPhase = unwatched
) -> ChunkStore:
    """More chunks, under ids that are not taken. Writes what is new and at most as much again, never the rest."""
    return _update(folder, lambda store: store_changes.added(store, chunks), lock_seconds, verify, on_phase)


def delete(
    folder: Path,
    ids_P: Int64[ndarray, " P"],
    *,
    lock_seconds: float = 10.0,
    verify: bool = True,
    on_phase: OnPhase = unwatched,
) -> ChunkStore:
    """Hide chunks from every search. Writes four bytes for each that is dead; `compact` gives theirs back."""
    return _update(folder, lambda store: store_changes.deleted(store, ids_P), lock_seconds, verify, on_phase)


def replace(
    folder: Path, chunks: Chunks, *, lock_seconds: float = 10.0, verify: bool = True, on_phase: OnPhase = unwatched
) -> ChunkStore:
    """Other contents under ids that are there: no reader finds both of them, or none."""
    return _update(folder, lambda store: store_changes.replaced(store, chunks), lock_seconds, verify, on_phase)


def compact(
    folder: Path, *, lock_seconds: float = 10.0, verify: bool = True, on_phase: OnPhase = unwatched
) -> ChunkStore:
    """Build the store anew of its live chunks: every file is written again, and is what a fresh build would write."""
    return _update(folder, store_changes.compacted, lock_seconds, verify, on_phase)


def _update(
    folder: Path,
    change: Callable[[ChunkStore], ChunkStore],
    lock_seconds: float,
    verify: bool,
    on_phase: OnPhase,
) -> ChunkStore:
    folder = Path(os.path.abspath(folder))  # the lock lies beside it, so "." needs its name
    read_manifest(folder)  # a UserError before a lock is made beside something that is no store
    try:
        with locked(folder, lock_seconds):
            before = ChunkStore.open(folder, verify=verify)
            try:
                after = change(before)
            except UserError as error:
                raise type(error)(f"{folder}: {error}") from error
            if after is not before:
                commit(
                    folder,
                    added=after.new_files(),
                    removed=set(after.replaced),
                    meta={"store": after.own_meta(), "extra": read_manifest(folder)["meta"]["extra"]},
                    generation=after.generation,
                    on_phase=on_phase,
                )
            return after
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from error
