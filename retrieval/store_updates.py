"""Changes of a saved store by the ids of its chunks, while others read it; each is whole or did not happen.

One writer at a time: who finds the store locked waits `lock_seconds`, then gets a UserError. `verify=False` leaves out
the sha256 of the files that are read first. `on_phase` is told how far the writing has come. Each returns the store as
it is now; a UserError for what cannot be done names the store.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import Shaped
from numpy import ndarray

from retrieval import store_changes
from retrieval.chunk_store import ChunkStore
from retrieval.chunks import Chunks
from retrieval.errors import UserError
from retrieval.folder_lock import locked
from retrieval.generations import commit, current_name, name_of
from retrieval.phases import OnPhase, unwatched
from retrieval.sealed_folder import read_manifest


class Changed(NamedTuple):
    """What a store is after a change, and what lies beside it then."""

    store: ChunkStore
    files: Mapping[str, bytes] = {}
    """extra files that take the place of those of the same names, under names of this generation: see `current_name`"""
    extra: Mapping[str, Any] | None = None
    """what comes back as `["meta"]["extra"]` of the manifest; None for what it was"""


def add(
    folder: Path, chunks: Chunks, *, lock_seconds: float = 10.0, verify: bool = True, on_phase: OnPhase = unwatched
) -> ChunkStore:
    """More chunks, under ids that are not taken. Writes what is new and at most as much again, never the rest."""
    return update(folder, _alone(store_changes.added, chunks), lock_seconds, verify, on_phase)


def delete(
    folder: Path,
    ids_P: Shaped[ndarray, "*any"],
    *,
    lock_seconds: float = 10.0,
    verify: bool = True,
    on_phase: OnPhase = unwatched,
) -> ChunkStore:
    """Hide chunks from every search. Writes four bytes for each that is dead; `compact` gives theirs back."""
    return update(folder, _alone(store_changes.deleted, ids_P), lock_seconds, verify, on_phase)


def replace(
    folder: Path, chunks: Chunks, *, lock_seconds: float = 10.0, verify: bool = True, on_phase: OnPhase = unwatched
) -> ChunkStore:
    """Other contents under ids that are there: no reader finds both of them, or none."""
    return update(folder, _alone(store_changes.replaced, chunks), lock_seconds, verify, on_phase)


def compact(
    folder: Path, *, lock_seconds: float = 10.0, verify: bool = True, on_phase: OnPhase = unwatched
) -> ChunkStore:
    """Build the store anew of its live chunks: every file is written again, and is what a fresh build would write."""
    return update(folder, _alone(store_changes.compacted), lock_seconds, verify, on_phase)


def _alone(change: Callable[..., ChunkStore], *given: Any) -> Callable[[ChunkStore, Mapping[str, Any]], Changed]:
    return lambda store, extra: Changed(change(store, *given))


def update(
    folder: Path,
    change: Callable[[ChunkStore, Mapping[str, Any]], Changed],
    lock_seconds: float = 10.0,
    verify: bool = True,
    on_phase: OnPhase = unwatched,
) -> ChunkStore:
    """Any change, by those of `store_changes`: it is given the store and what its manifest has as `extra`.

    Called under the lock, so that it may read what lies beside the store. The store itself, if it gives that back, is
    not written.
    """
    folder = Path(os.path.realpath(folder))  # the lock lies beside it, so "." and links need its name
    read_manifest(folder)  # a UserError before a lock is made beside something that is no store
    try:
        with locked(folder, lock_seconds):
            before = ChunkStore.open(folder, verify=verify)
            manifest = read_manifest(folder)
            try:
                after, files, extra = change(before, manifest["meta"]["extra"])
            except UserError as error:
                raise type(error)(f"{folder}: {error}") from error
            if after is not before:
                after.replaced = (*after.replaced, *(current_name(manifest["files"], name) for name in files))
                commit(
                    folder,
                    added=after.new_files() | {name_of(name, after.generation): files[name] for name in files},
                    removed=set(after.replaced),
                    meta={"store": after.own_meta(), "extra": manifest["meta"]["extra"] if extra is None else extra},
                    generation=after.generation,
                    on_phase=on_phase,
                )
            return after
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from error
