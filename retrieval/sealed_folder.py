"""A folder of files under one manifest: sizes and sha256 of every file and of the manifest itself.

FAISS and Arrow load a file with a flipped byte in silence, so nothing is loaded here that was not checked first. The
standard library alone does it: a store can be verified where neither torch nor FAISS is installed.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from retrieval.atomic import new_folder, restore_folder
from retrieval.errors import UserError
from retrieval.folder_lock import locked
from retrieval.phases import OnPhase, unwatched

MANIFEST = "manifest.json"
UPDATE_FOLDER = ".tmp-update"
"""inside the folder: where a change is written before it takes its place"""
SCHEMA_VERSION = 3

_SELF_HASH = "manifest_sha256"
_FIELDS = {"files", "generation", "kind", "meta", "replaced", "schema_version", _SELF_HASH}
_HOW_TO_BUILD = "build one with `python -m retromem index build`"


def _is_plain_name(name: object) -> bool:
    """Whether it names a file in the folder itself: no path that climbs out or down, and not the manifest."""
    return (
        isinstance(name, str)
        and name not in ("", ".", "..", MANIFEST)
        and "\\" not in name
        and "\0" not in name
        and PurePosixPath(name).name == name
    )


def _self_hash(manifest: Mapping[str, object]) -> str:
    others = {key: value for key, value in manifest.items() if key != _SELF_HASH}
    return hashlib.sha256(json.dumps(others, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _render(manifest: Mapping[str, object]) -> bytes:
    return (json.dumps(manifest, sort_keys=True, indent=1) + "\n").encode()


def file_entry(content: bytes) -> dict[str, object]:
    """What the manifest says of a file."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def manifest_bytes(
    files: Mapping[str, bytes | Mapping[str, object]],
    *,
    kind: str,
    meta: Mapping[str, object],
    generation: int = 0,
    replaced: Sequence[str] = (),
) -> bytes:
    """The very bytes of the manifest that `write_sealed` would write: a ledger needs their number before any saving.

    Of each file its content, or its entry where that alone is at hand; `replaced` are files of the generation before.
    `meta` is anything that JSON can hold; no time and no path of this machine belongs in it.
    """
    for name in [*files, *replaced]:
        assert _is_plain_name(name), f"{name!r} is not the name of a file in the folder itself"
    manifest: dict[str, object] = {
        "files": {name: dict(of) if isinstance(of, Mapping) else file_entry(of) for name, of in files.items()},
        "generation": generation,
        "kind": kind,
        # Through JSON and back: what is hashed is what a reader will find (tuples as lists, keys as strings).
        "meta": json.loads(json.dumps(meta, allow_nan=False)),
        "replaced": list(replaced),
        "schema_version": SCHEMA_VERSION,
    }
    return _render({**manifest, _SELF_HASH: _self_hash(manifest)})


def left_overs(names: Iterable[str], manifest: Mapping[str, Any]) -> set[str]:
    """Those of the names in a folder that killed writers left, and nothing that anybody else put there.

    That is the folder of an unfinished change, files of the next generation (renamed, but never committed), and those
    that the last change replaced (committed, but not yet removed).
    """
    next_generation = re.compile(rf".+-{manifest['generation'] + 1:08d}(\.\w+)+")
    return {
        name
        for name in names
        if name not in manifest["files"]
        and (name == UPDATE_FOLDER or name in manifest["replaced"] or next_generation.fullmatch(name))
    }


_FROM_FILE_MANAGER = re.compile(r"\.DS_Store|\.localized|Icon\r|Thumbs\.db|ehthumbs\.db|desktop\.ini", re.I)
"""what a file manager leaves in any folder that is looked at: nobody's work"""
_FROM_EDITOR = re.compile(r"\._.+|\.directory|.+~|\..+\.sw\w", re.I)
"""what editors and others leave beside a file: it may be all that is left of somebody's work"""


def strangers(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """What lies in a store and is neither its own, nor left by a killed writer, nor litter; readers ignore it all."""
    names = set(os.listdir(folder))  # once: a writer may add to it at any time
    others = names - {MANIFEST, *manifest["files"], *left_overs(names, manifest)}
    return sorted(name for name in others if not (_FROM_FILE_MANAGER.fullmatch(name) or _FROM_EDITOR.fullmatch(name)))


def _is_disposable(path: Path) -> bool:
    return bool(_FROM_FILE_MANAGER.fullmatch(path.name)) and path.is_file() and not path.is_symlink()


def _refuse_to_replace(folder: Path) -> None:
    """A whole folder is about to be deleted: only what is our own, or a file manager's, may be."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file; name a folder that is new or a store")
    names = {name for name in os.listdir(folder) if not _is_disposable(folder / name)}
    if not names:
        return
    if not (folder / MANIFEST).exists():
        raise UserError(f"{folder}: holds other files than a store's; name a folder that is new or a store")
    manifest = read_manifest(folder)
    if others := sorted(names - {MANIFEST, *manifest["files"], *left_overs(names, manifest)}):
        raise UserError(
            f"{folder}: holds other files than a store's, such as {others[0]}; move them away or name a new folder"
        )


def write_sealed(
    folder: Path,
    files: Mapping[str, bytes],
    *,
    kind: str,
    meta: Mapping[str, object],
    generation: int = 0,
    replaced: Sequence[str] = (),
    lock_seconds: float = 10.0,
    on_phase: OnPhase = unwatched,
) -> None:
    """Write `files` and their manifest as `folder`, whole or not at all; a store that was there is replaced.

    Names are plain file names. UserError: another process writes the same folder (after `lock_seconds`), what is there
    is no store, or the place cannot be written.
    """
    folder = Path(os.path.realpath(folder))  # "." and "x/.." have a name too, and a link stays a link
    manifest = manifest_bytes(files, kind=kind, meta=meta, generation=generation, replaced=replaced)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder, lock_seconds):
            _refuse_to_replace(folder)
            on_phase("before")
            with new_folder(folder, on_phase) as new:
                for name, content in files.items():
                    (new / name).write_bytes(content)
                    on_phase("writing")
                (new / MANIFEST).write_bytes(manifest)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, checked against its own hash; no other file is looked at.

    Fields: `files` (name -> bytes, sha256), `generation` (changes since it was written as a whole), `replaced` (files
    that the last of them did away with), `kind`, `meta`, `schema_version`, `manifest_sha256`.
    """
    restore_folder(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{folder} is no retromem store: {MANIFEST} is missing; {_HOW_TO_BUILD}")
    content = path.read_bytes()
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no JSON, so it is damaged or no store's; {_HOW_TO_BUILD}") from error
    if not isinstance(manifest, dict) or "schema_version" not in manifest or _SELF_HASH not in manifest:
        raise UserError(f"{path}: is the manifest of something else than a retromem store; {_HOW_TO_BUILD}")
    # Rendering again finds what the hash of the content cannot see: a changed space, a repeated key.
    if manifest[_SELF_HASH] != _self_hash(manifest) or content != _render(manifest):
        raise UserError(f"{path}: does not match its own hash, so it was changed or damaged; build the store again")
    if manifest["schema_version"] != SCHEMA_VERSION or set(manifest) != _FIELDS:
        raise UserError(
            f"{path}: has schema version {manifest['schema_version']}, this release reads {SCHEMA_VERSION}; "
            "build the store again"
        )
    for name in manifest["replaced"]:  # a writer removes them
        if not _is_plain_name(name):
            raise UserError(f"{path}: names {name!r}, which is not a file of the folder itself")
    return manifest


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def verify_sealed(folder: Path, kind: str | None = None, *, hashes: bool = True) -> dict[str, Any]:
    """Check a store against its manifest, and return that.

    Every listed file is there with its size and sha256, none lies outside the folder, and the manifest matches its own
    hash; UserError otherwise, one line that names the file. Other files are nobody's business here: see `strangers`.
    `hashes=False` leaves out the sha256 of the files, for folders too large to read twice.
    """
    manifest = read_manifest(folder)
    if kind is not None and manifest["kind"] != kind:
        raise UserError(f"{folder}: is a {manifest['kind']}, not a {kind}")
    for name, expected in manifest["files"].items():
        path = folder / name
        if not _is_plain_name(name) or path.is_symlink():
            raise UserError(f"{folder / MANIFEST}: lists {name!r}, which is not a file of the folder itself")
        if not path.is_file():
            raise UserError(f"{path}: is missing; build the store again")
        if path.stat().st_size != expected["bytes"]:
            raise UserError(
                f"{path}: has {path.stat().st_size} bytes where the manifest says {expected['bytes']}; "
                "build the store again"
            )
        if hashes and _sha256(path) != expected["sha256"]:
            raise UserError(f"{path}: its sha256 is not the manifest's, so it was changed; build the store again")
    return manifest
