"""Folders under a manifest, byte for byte and name for name, and what stays behind when a writer dies."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval import atomic, generations
from retrieval.arrow_texts import ArrowTexts, arrow_stream
from retrieval.atomic import new_folder, restore_folder, write_bytes
from retrieval.errors import UserError
from retrieval.folder_lock import locked
from retrieval.generations import commit, current_name, name_of, sweep, while_written
from retrieval.sealed_folder import (
    file_entry,
    left_overs,
    manifest_bytes,
    read_manifest,
    strangers,
    verify_sealed,
    write_sealed,
)

DEAD = 2**22 + 1  # above the largest process id that Linux gives


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        work()
    return str(caught.value)


# ---- names ---------------------------------------------------------------------------------------------------------


def test_a_file_carries_its_generation_and_is_found_by_its_name() -> None:
    assert [name_of("index.faiss", generation) for generation in (0, 1, 123)] == [
        "index.faiss",
        "index-00000001.faiss",
        "index-00000123.faiss",
    ]
    assert name_of("a.tar.gz", 2) == "a-00000002.tar.gz"
    stored = ["ids.npy", "notes-00000004.bin", "my-notes.bin", "notes-4.bin", "notes.bin.old"]
    assert current_name(stored, "notes.bin") == "notes-00000004.bin"
    assert current_name(stored, "ids.npy") == "ids.npy"
    assert current_name(stored, "other.bin") == "other.bin"
    assert current_name(["notesxbin", "aotes.bin"], "notes.bin") == "notes.bin"


def test_left_overs_are_of_the_next_generation_or_were_replaced() -> None:
    manifest = {"generation": 4, "files": {"a.bin": {}, "b-00000005.bin": {}}, "replaced": ["old.bin", "a.bin"]}
    lying = {
        "a.bin", "b-00000005.bin", "c-00000005.bin", "c-00000005.tar.gz", "c-00000004.bin", "c-00000006.bin",
        "-00000005.x",
        "c-00000005", "old.bin", "else.bin", ".tmp-update", "manifest.json",
    }  # fmt: skip
    assert left_overs(lying, manifest) == {"c-00000005.bin", "c-00000005.tar.gz", "old.bin", ".tmp-update"}


def test_strangers_are_neither_ours_nor_litter(tmp_path: Path) -> None:
    for name in (
        "b.x",
        "a.bin",
        ".localized",
        "EHTHUMBS.DB",
        "x~",
        "._x",
        ".directory",
        ".a.swp",
        "Thumbs.dbx",
        "~x",
        ".a.sw",
    ):
        (tmp_path / name).write_text("")
    manifest = {"generation": 0, "files": {"a.bin": {}}, "replaced": []}
    assert strangers(tmp_path, manifest) == [".a.sw", "Thumbs.dbx", "b.x", "~x"]


# ---- a manifest ----------------------------------------------------------------------------------------------------


def manifest_by_hand(**fields: object) -> bytes:
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    fields["manifest_sha256"] = hashlib.sha256(canonical.encode()).hexdigest()
    return (json.dumps(fields, sort_keys=True, indent=1) + "\n").encode()


def test_a_manifest_is_written_out(tmp_path: Path) -> None:
    files = {"a.bin": b"abc", "empty": b""}
    entries = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()
    }
    assert {name: file_entry(content) for name, content in files.items()} == entries
    expected = manifest_by_hand(
        files=entries, generation=3, kind="test", meta={"x": [1, 2], "3": None}, replaced=["old"], schema_version=3
    )
    given = {"kind": "test", "meta": {"x": (1, 2), 3: None}, "generation": 3, "replaced": ("old",)}
    assert manifest_bytes(files, **given) == manifest_bytes(entries, **given) == expected  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Out of range float"):
        manifest_bytes(files, kind="test", meta={"x": float("nan")})
    phases: list[str] = []
    write_sealed(tmp_path / "deep" / "store", files, **given, on_phase=phases.append)  # type: ignore[arg-type]
    folder = tmp_path / "deep" / "store"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {**files, "manifest.json": expected}
    assert phases == ["before", "writing", "writing", "writing", "committed"]
    assert read_manifest(folder) == json.loads(expected) == verify_sealed(folder, "test")
    phases.clear()
    write_sealed(folder, {"a.bin": b"x"}, kind="test", meta={}, on_phase=phases.append)
    assert phases == ["before", "writing", "writing", "renamed", "committed"]
    manifest = read_manifest(folder)
    assert (manifest["generation"], manifest["replaced"], manifest["meta"]) == (0, [], {})
    assert names(tmp_path / "deep") == ["store"]


def test_what_is_wrong_with_a_folder_is_said_to_the_last_word(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    build = "build one with `python -m retromem index build`"
    assert refused(lambda: read_manifest(folder)) == f"{folder} is no retromem store: manifest.json is missing; {build}"
    write_sealed(folder, {"a.bin": b"abc", "b.bin": b"d"}, kind="test", meta={})
    path = folder / "manifest.json"
    whole = json.loads(path.read_bytes())
    whole.pop("manifest_sha256")
    assert refused(lambda: verify_sealed(folder, "other")) == f"{folder}: is a test, not a other"
    (folder / "a.bin").write_bytes(b"abcd")
    for hashes in (True, False):
        assert refused(lambda hashes=hashes: verify_sealed(folder, hashes=hashes)) == (
            f"{folder / 'a.bin'}: has 4 bytes where the manifest says 3; build the store again"
        )
    (folder / "a.bin").write_bytes(b"abd")
    assert verify_sealed(folder, hashes=False)["kind"] == "test"
    assert refused(lambda: verify_sealed(folder)) == (
        f"{folder / 'a.bin'}: its sha256 is not the manifest's, so it was changed; build the store again"
    )
    (folder / "a.bin").unlink()
    assert refused(lambda: verify_sealed(folder)) == f"{folder / 'a.bin'}: is missing; build the store again"
    for content, message in (
        (b"{", f"is no JSON, so it is damaged or no store's; {build}"),
        (b"[3]", f"is the manifest of something else than a retromem store; {build}"),
        (b'{"schema_version": 3}', f"is the manifest of something else than a retromem store; {build}"),
        (b'{"manifest_sha256": 3}', f"is the manifest of something else than a retromem store; {build}"),
        (
            manifest_by_hand(**whole).replace(b'"test"', b'"tess"'),
            "does not match its own hash, so it was changed or damaged; build the store again",
        ),
        (
            manifest_by_hand(**whole) + b"\n",
            "does not match its own hash, so it was changed or damaged; build the store again",
        ),
        (
            manifest_by_hand(**{**whole, "schema_version": 2}),
            "has schema version 2, this release reads 3; build the store again",
        ),
        (
            manifest_by_hand(**whole, other=1),
            "has schema version 3, this release reads 3; build the store again",
        ),
        (
            manifest_by_hand(**{**whole, "replaced": ["a", "../b"]}),
            "names '../b', which is not a file of the folder itself",
        ),
    ):
        path.write_bytes(content)
        assert refused(lambda: read_manifest(folder)) == f"{path}: {message}"
    path.write_bytes(manifest_by_hand(**{**whole, "files": {"a/b": {"bytes": 0, "sha256": ""}}}))
    assert refused(lambda: verify_sealed(folder)) == f"{path}: lists 'a/b', which is not a file of the folder itself"


def test_a_long_file_is_hashed_whole(tmp_path: Path) -> None:
    content = bytes(range(251)) * 8400  # a little more than two blocks
    write_sealed(tmp_path / "store", {"a.bin": content}, kind="test", meta={})
    assert verify_sealed(tmp_path / "store")["files"]["a.bin"]["sha256"] == hashlib.sha256(content).hexdigest()
    for place in (0, 2**20, len(content) - 1):
        damaged = bytearray(content)
        damaged[place] ^= 4
        (tmp_path / "store" / "a.bin").write_bytes(damaged)
        assert "its sha256 is not the manifest's" in refused(lambda: verify_sealed(tmp_path / "store"))


def test_a_commit_names_what_came_and_what_went_and_tells_how_far_it_is(tmp_path: Path) -> None:
    folder, phases = tmp_path / "store", list[tuple[str, list[str]]]()
    write_sealed(folder, {"a.bin": b"abc", "b.bin": b"d", "c.bin": b"e"}, kind="test", meta={"x": 1})
    (folder / "z-00000001.bin").write_bytes(b"of a writer that was killed")
    (folder / "mine").write_bytes(b"a stranger's")
    commit(
        folder,
        added={"a-00000001.bin": b"A", "d-00000001.bin": b"D"},
        removed={"c.bin", "a.bin"},
        meta={"y": 2},
        generation=1,
        on_phase=lambda phase: phases.append((phase, names(folder))),
    )
    entries = {
        name: file_entry(content)
        for name, content in (("b.bin", b"d"), ("a-00000001.bin", b"A"), ("d-00000001.bin", b"D"))
    }
    assert (folder / "manifest.json").read_bytes() == manifest_by_hand(
        files=entries, generation=1, kind="test", meta={"y": 2}, replaced=["a.bin", "c.bin"], schema_version=3
    )
    old = ["a.bin", "b.bin", "c.bin", "manifest.json", "mine"]
    one, both = sorted([*old, "a-00000001.bin"]), sorted([*old, "a-00000001.bin", "d-00000001.bin"])
    update = ".tmp-update"
    assert phases == [
        ("before", old),
        ("writing", [update, *old]),
        ("writing", [update, *old]),
        ("writing", [update, *old]),
        ("renamed", [update, *one]),
        ("renamed", [update, *both]),
        ("renamed", [update, *both]),
        ("committed", [update, *both]),
        ("committed", ["a-00000001.bin", "b.bin", "d-00000001.bin", "manifest.json", "mine"]),
    ]
    (folder / update).mkdir()
    (folder / update / "x").write_text("half")
    (folder / "c.bin").write_bytes(b"back")
    sweep(folder)
    assert names(folder) == ["a-00000001.bin", "b.bin", "d-00000001.bin", "manifest.json", "mine"]


# ---- readers while others write ------------------------------------------------------------------------------------


def test_a_reader_gives_up_after_a_hundred_generations(tmp_path: Path) -> None:
    folder, reads = tmp_path / "store", []
    write_sealed(folder, {"a.bin": b""}, kind="test", meta={})

    def overtaken() -> None:
        reads.append(1)
        write_sealed(folder, {"a.bin": b"%d" % len(reads)}, kind="test", meta={})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generations, "_MAX_READS", 7)
        assert refused(lambda: while_written(folder, overtaken)) == (
            f"{folder}: was written 7 times while it was read; try again when its writer has ended"
        )
    assert len(reads) == 7 and generations._MAX_READS == 100


def test_an_error_of_a_generation_that_stood_is_told_and_one_of_another_is_read_again(tmp_path: Path) -> None:
    folder, reads = tmp_path / "store", []
    write_sealed(folder, {"a.bin": b"0"}, kind="test", meta={})

    def breaks_once() -> bytes:
        reads.append(1)
        if len(reads) == 1:
            write_sealed(folder, {"a.bin": b"1"}, kind="test", meta={})
            raise KeyError("half of one and half of another")
        return (folder / "a.bin").read_bytes()

    assert (while_written(folder, breaks_once), len(reads)) == (b"1", 2)

    def breaks() -> None:
        reads.append(1)
        raise KeyError("a")

    with pytest.raises(KeyError):
        while_written(folder, breaks)
    assert len(reads) == 3
    open_files = len(os.listdir("/proc/self/fd"))
    assert [while_written(folder, lambda number=number: number) for number in range(5)] == list(range(5))
    assert len(os.listdir("/proc/self/fd")) == open_files
    with pytest.raises(FileNotFoundError):
        while_written(tmp_path / "none", lambda: (tmp_path / "none" / "a").read_bytes())


# ---- what the dead leave behind ------------------------------------------------------------------------------------


def test_a_folder_is_put_back_where_none_came_in_its_place(tmp_path: Path) -> None:
    old = tmp_path / f".tmp-old-{DEAD}-store"
    old.mkdir()
    (old / "a").write_text("old")
    restore_folder(tmp_path / "store")
    assert names(tmp_path) == ["store"] and (tmp_path / "store" / "a").read_text() == "old"
    old.mkdir()
    restore_folder(tmp_path / "store")
    assert names(tmp_path) == [old.name, "store"], "where one stands, nothing is touched"
    restore_folder(tmp_path / "other")
    assert names(tmp_path) == [old.name, "store"]


def test_a_reader_waits_for_a_writer_that_is_just_between_its_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / f".tmp-old-{DEAD}-store"
    old.mkdir()
    slept: list[float] = []

    def the_writer_goes_on(seconds: float) -> None:
        slept.append(seconds)
        (tmp_path / "store").mkdir()

    monkeypatch.setattr(time, "sleep", the_writer_goes_on)
    (old / "a").write_text("old")
    restore_folder(tmp_path / "store")
    assert len(slept) == 1 and names(tmp_path / "store") == []
    assert names(tmp_path) == [old.name, "store"]


def test_writers_that_run_keep_their_own_and_the_dead_are_swept(tmp_path: Path) -> None:
    kept = [
        f".tmp-{os.getppid()}-a",
        f".tmp-old-{os.getppid()}-a",
        f".tmp-{DEAD}-b-a",
        f".tmp-{DEAD}-aa",
        ".tmp-x-a",
    ]
    gone = [
        f".tmp-{DEAD}-a",
        f".tmp-old-{DEAD}-a",
        f".tmp-{os.getpid()}-a",
        f".tmp-old-{os.getpid()}-a",
        f".tmp-{10**30}-a",
    ]
    for name in [*kept, *gone]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("")
    (tmp_path / f".tmp-{DEAD + 1}-a").write_text("a file")
    write_bytes(tmp_path / "a", b"whole")
    assert names(tmp_path) == sorted([*kept, "a"])
    assert atomic._is_running(os.getpid()) and atomic._is_running(1) and not atomic._is_running(DEAD)


def test_a_new_folder_tells_how_far_it_is_and_an_error_names_the_place(tmp_path: Path) -> None:
    phases: list[tuple[str, list[str]]] = []
    own, old = f".tmp-{os.getpid()}-store", f".tmp-old-{os.getpid()}-store"
    for content in ("first", "second"):
        with new_folder(tmp_path / "store", lambda phase: phases.append((phase, names(tmp_path)))) as new:
            assert new == tmp_path / own
            (new / "a").write_text(content)
    assert phases == [
        ("writing", [own]),
        ("committed", ["store"]),
        ("writing", [own, "store"]),
        ("renamed", [own, old]),
        ("committed", [old, "store"]),
    ]
    assert names(tmp_path) == ["store"] and (tmp_path / "store" / "a").read_text() == "second"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError) as caught:
        write_bytes(tmp_path / "folder", b"x")
    assert caught.value.filename == str(tmp_path / "folder") and names(tmp_path) == ["folder", "store"]


def test_a_lock_lies_beside_the_folder_and_goes_with_its_holder(tmp_path: Path) -> None:
    lock = tmp_path / "deep" / "store.lock"
    with locked(tmp_path / "deep" / "store", 1.0):
        assert lock.exists() and lock.stat().st_mode & 0o777 & ~0o644 == 0, "nobody runs it, and one writes it"
        started = time.monotonic()
        message = refused(lambda: locked(tmp_path / "deep" / "store", 0.3).__enter__())
        assert message == f"{lock}: another process is writing store; try again when it has ended"
        assert time.monotonic() - started >= 0.3, "it waited as long as it was told"
        with locked(tmp_path / "deep" / "other", 0.0):
            pass
    assert names(tmp_path / "deep") == []
    with pytest.raises(RuntimeError), locked(tmp_path / "deep" / "store", 0.0):
        raise RuntimeError
    assert names(tmp_path / "deep") == []
    with locked(tmp_path / "deep" / "store", 0.0):
        lock.unlink()  # somebody tidies up: it does no harm
    open_files = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with locked(tmp_path / "deep" / "store", 0.0):
            assert "another process" in refused(lambda: locked(tmp_path / "deep" / "store", 0.2).__enter__())
    assert len(os.listdir("/proc/self/fd")) == open_files, "every try closes what it opened"


# ---- on the disk before it has a name ------------------------------------------------------------------------------


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Name, and size where it is a file, of whatever was handed to the disk, in order."""
    found: list[tuple[str, int]] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        found.append((path.name, path.stat().st_size if path.is_file() else -1))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    return found


def test_a_file_is_on_the_disk_whole_before_it_takes_its_place(synced: list[tuple[str, int]], tmp_path: Path) -> None:
    open_files = len(os.listdir("/proc/self/fd"))
    write_bytes(tmp_path / "folder" / "a", b"abc")
    assert synced == [(f".tmp-{os.getpid()}-a", 3), ("folder", -1)]
    synced.clear()
    with new_folder(tmp_path / "store") as new:
        (new / "a").write_bytes(b"abcd")
        (new / "sub").mkdir()
        (new / "sub" / "b").write_bytes(b"x")
    own = f".tmp-{os.getpid()}-store"
    assert sorted(synced[:3]) == [("a", 4), ("b", 1), ("sub", -1)] and synced[3:] == [(own, -1), (tmp_path.name, -1)]
    synced.clear()
    (tmp_path / f".tmp-old-{DEAD}-gone").mkdir()
    restore_folder(tmp_path / "gone")
    assert synced == [(tmp_path.name, -1)]
    assert len(os.listdir("/proc/self/fd")) == open_files


def test_a_change_is_on_the_disk_before_the_manifest_names_it(synced: list[tuple[str, int]], tmp_path: Path) -> None:
    folder = tmp_path / "store"
    write_sealed(folder, {"a.bin": b"abc"}, kind="test", meta={})
    synced.clear()
    manifests: list[bytes] = []

    def note(phase: str) -> None:
        manifests.append((folder / "manifest.json").read_bytes())

    commit(folder, added={"b-00000001.bin": b"x" * 7}, removed=set(), meta={}, generation=1, on_phase=note)
    size = (folder / "manifest.json").stat().st_size
    assert synced == [("b-00000001.bin", 7), ("manifest.json", size), ("store", -1), ("store", -1)]
    assert [content == manifests[-1] for content in manifests] == [False] * 5 + [True] * 2


# ---- texts ---------------------------------------------------------------------------------------------------------


def test_texts_are_read_one_by_one_or_in_runs(tmp_path: Path) -> None:
    import numpy as np
    import pyarrow as pa

    texts = [f"Straße {number}" for number in range(10_003)]
    content = arrow_stream({"id": np.arange(10_003), "text": texts, "place": [""] * 10_003})
    (tmp_path / "a.arrow").write_bytes(content)
    batches = pa.ipc.open_stream(content)
    assert [batch.num_rows for batch in batches] == [10_000, 3]
    found = ArrowTexts(tmp_path / "a.arrow")
    assert (len(found), found[0], found[10_002], found[-1]) == (10_003, "Straße 0", "Straße 10002", "Straße 10002")
    assert found[9_999:10_002] == ["Straße 9999", "Straße 10000", "Straße 10001"] and list(found[:2]) == texts[:2]
    places, ids = found.beside("place"), found.beside("id")
    assert places is not None and places[5] == "" and found[5] == "Straße 5"
    assert ids is not None and ids[7] == "7" and found.beside("other") is None
    assert found.table().column_names == ["id", "text", "place"]
    assert len(content) < 120_000, "compressed"
