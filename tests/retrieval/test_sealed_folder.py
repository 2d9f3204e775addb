import fcntl
import hashlib
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from retrieval.errors import UserError
from retrieval.folder_lock import locked
from retrieval.generations import commit, sweep, while_written
from retrieval.sealed_folder import manifest_bytes, read_manifest, strangers, verify_sealed, write_sealed

FILES = {"a.bin": bytes(range(256)) * 9, "empty": b"", "b.txt": "ü".encode()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_sealed(tmp_path / "store", FILES, kind="test", meta={"x": (1, 2), "y": {"z": 0.1}})
    return tmp_path / "store"


def reseal(folder: Path, **changes: object) -> None:
    """A manifest that matches its own hash, as somebody else's program might write it."""
    manifest = {**json.loads((folder / "manifest.json").read_text()), **changes}
    del manifest["manifest_sha256"]
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    manifest["manifest_sha256"] = hashlib.sha256(canonical.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest, sort_keys=True, indent=1) + "\n")


def test_what_was_sealed_verifies_and_is_on_disk_byte_for_byte(folder: Path) -> None:
    manifest = verify_sealed(folder, "test")
    assert manifest["meta"] == {"x": [1, 2], "y": {"z": 0.1}}
    assert manifest["files"].keys() == FILES.keys()
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name in FILES} == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["store"]


def test_the_manifest_is_known_before_it_is_written(folder: Path) -> None:
    assert (folder / "manifest.json").read_bytes() == manifest_bytes(
        FILES, kind="test", meta={"y": {"z": 0.1}, "x": [1, 2]}
    )


@pytest.mark.parametrize("name", ["a.bin", "b.txt", "manifest.json"])
def test_every_flipped_byte_is_found(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1
        (folder / name).write_bytes(damaged)
        with pytest.raises(UserError, match=name):
            verify_sealed(folder)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_longer_shorter_or_missing_file_is_named(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    for changed in (content + b"\n", content[:-1]):
        if changed == content:
            continue
        (folder / name).write_bytes(changed)
        with pytest.raises(UserError, match=name):
            verify_sealed(folder, hashes=False)
    (folder / name).unlink()
    with pytest.raises(UserError, match=name):
        verify_sealed(folder)


def test_without_hashes_only_sizes_are_compared(folder: Path) -> None:
    (folder / "b.txt").write_bytes(b"xy")
    assert verify_sealed(folder, hashes=False)["kind"] == "test"
    with pytest.raises(UserError, match=r"b\.txt: its sha256"):
        verify_sealed(folder)


@pytest.mark.parametrize("litter", [".DS_Store", "Thumbs.db", "desktop.INI", "Icon\r"])
def test_litter_of_file_managers_is_in_nobodys_way(folder: Path, litter: str) -> None:
    (folder / litter).write_bytes(b"x")
    assert strangers(folder, verify_sealed(folder)) == []
    commit_next(folder)
    write_sealed(folder, FILES, kind="test", meta={})
    assert verify_sealed(folder)["files"].keys() == FILES.keys()
    (folder.parent / "new").mkdir()
    (folder.parent / "new" / litter).write_bytes(b"x")
    write_sealed(folder.parent / "new", FILES, kind="test", meta={})


@pytest.mark.parametrize("name", ["thesis.txt~", ".novel.txt.swp", "._b.txt", ".directory", "drafts~/a", ".DS_Store/a"])
def test_what_may_be_all_that_is_left_of_a_text_hinders_no_reader_and_is_never_deleted(folder: Path, name: str) -> None:
    for place in (folder, folder.parent / "new"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("the only copy")
        with pytest.raises(UserError, match="holds other files than a store's"):
            write_sealed(place, FILES, kind="test", meta={})
        assert (place / name).read_text() == "the only copy"
    assert strangers(folder, verify_sealed(folder)) == []


def test_a_stranger_is_named_and_hinders_no_reader(folder: Path) -> None:
    (folder / "cache-123.arrow").write_bytes(b"")
    (folder / ".git").mkdir()
    assert strangers(folder, verify_sealed(folder)) == [".git", "cache-123.arrow"]
    with pytest.raises(UserError, match="holds other files than a store's, such as .git; move them away"):
        write_sealed(folder, FILES, kind="test", meta={})


def test_what_is_no_store_says_so_and_how_to_build_one(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing", tmp_path / "no" / "parent"):
        with pytest.raises(UserError, match=r"is no retromem store: manifest.json is missing; build one with"):
            verify_sealed(folder)


def test_another_kind_of_store_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match="is a test, not a chunk-store"):
        verify_sealed(folder, "chunk-store")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"3", b'{"name": "web app"}', b"[" * 100_000])
def test_a_foreign_manifest_is_one_line(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.json: is"):
        verify_sealed(folder)


@pytest.mark.parametrize("name", ["../a.bin", "/etc/hostname", "sub/a.bin", "..", "", "a\\b", "manifest.json"])
def test_names_that_leave_the_folder_are_refused(folder: Path, name: str) -> None:
    reseal(folder, files={name: {"bytes": 0, "sha256": ""}})
    with pytest.raises(UserError, match="is not a file of the folder itself"):
        verify_sealed(folder)
    with pytest.raises(AssertionError):
        manifest_bytes({name: b""}, kind="test", meta={})


def test_a_replaced_file_outside_the_folder_is_refused_before_it_is_removed(folder: Path) -> None:
    (folder.parent / "thesis.txt").write_text("mine")
    reseal(folder, replaced=["../thesis.txt"])
    for read in (verify_sealed, sweep):
        with pytest.raises(UserError, match="names '../thesis.txt', which is not a file of the folder itself"):
            read(folder)
    assert (folder.parent / "thesis.txt").exists()


def commit_next(folder: Path, generation: int = 1) -> None:
    """Another content for `a`."""
    removed = {name for name in read_manifest(folder)["files"] if name.startswith("a")}
    name = f"a-{generation:08d}.bin"
    commit(folder, added={name: b"%d" % generation}, removed=removed, meta={}, generation=generation)


def test_a_change_writes_what_is_new_and_removes_what_it_replaced(folder: Path) -> None:
    untouched = (folder / "b.txt").stat().st_ino
    commit_next(folder)
    assert {path.name for path in folder.iterdir()} == {"a-00000001.bin", "b.txt", "empty", "manifest.json"}
    manifest = verify_sealed(folder)
    assert (manifest["generation"], manifest["replaced"]) == (1, ["a.bin"])
    assert (folder / "b.txt").stat().st_ino == untouched
    assert (folder / "a-00000001.bin").read_bytes() == b"1"


def test_left_overs_are_ignored_by_readers_and_swept_by_writers_and_nothing_else_is(folder: Path) -> None:
    commit_next(folder)
    (folder / ".tmp-update").mkdir()
    for name in ("a.bin", "x-00000002.npy", ".tmp-update/x"):
        (folder / name).write_bytes(b"left over")
    assert verify_sealed(folder)["generation"] == 1
    for stranger in ("x-00000003.npy", "x-00000001.npy", "c.bin", "x-2.npy", "manifest-00000002"):
        (folder / stranger).write_bytes(b"mine")
        assert strangers(folder, verify_sealed(folder)) == [stranger]
        sweep(folder)
        (folder / stranger).unlink()
    assert {path.name for path in folder.iterdir()} == {"a-00000001.bin", "b.txt", "empty", "manifest.json"}
    (folder / "x-00000002.npy").write_bytes(b"left over")
    write_sealed(folder, FILES, kind="test", meta={})  # a writer of the whole folder is not held up by them either
    assert verify_sealed(folder)["generation"] == 0


def test_a_change_that_fails_leaves_nothing(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(phase: str) -> None:
        if phase == "renamed":
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="store: cannot be written: No space left on device"):
        commit(folder, added={"x-00000001.bin": b"x"}, removed=set(), meta={}, generation=1, on_phase=full)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_reader_whose_generation_was_replaced_reads_the_next(folder: Path) -> None:
    generations = []

    def read() -> bytes:
        manifest = verify_sealed(folder)
        generations.append(manifest["generation"])
        if len(generations) <= 2:
            commit_next(folder, len(generations))
        (name,) = [name for name in manifest["files"] if name.startswith("a")]
        return (folder / name).read_bytes()

    assert while_written(folder, read) == b"2"
    assert generations == [0, 1, 2]
    (folder / "b.txt").unlink()
    with pytest.raises(UserError, match="b.txt: is missing"):
        while_written(folder, lambda: verify_sealed(folder))


def test_a_folder_replaced_as_a_whole_while_it_is_read_is_read_again(folder: Path) -> None:
    reads = []

    def read() -> bytes:
        manifest = read_manifest(folder)
        if not reads:
            write_sealed(folder, {"a.bin": b"new"}, kind="test", meta={})
        reads.append(manifest)
        return (folder / "a.bin").read_bytes()

    assert while_written(folder, read) == b"new"
    assert [len(manifest["files"]) for manifest in reads] == [3, 1]


def test_readers_find_whole_generations_while_a_writer_makes_them(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from retrieval.generations import commit\n"
        "before = 'a.bin'\n"
        "for turn in range(1, 61):\n"
        "    name = f'a-{turn:08d}.bin'\n"
        "    commit(Path(sys.argv[1]), added={name: b'%d' % turn}, removed={before}, meta={}, generation=turn)\n"
        "    before = name"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(folder)])
    seen = []
    while writer.poll() is None:
        seen.append(while_written(folder, lambda: verify_sealed(folder))["generation"])
    assert writer.wait() == 0
    assert verify_sealed(folder)["generation"] == 60
    assert seen == sorted(seen)
    assert len(set(seen)) > 5


def test_a_link_is_no_file_of_the_folder(folder: Path) -> None:
    (folder / "a.bin").rename(folder.parent / "elsewhere")
    (folder / "a.bin").symlink_to(folder.parent / "elsewhere")
    with pytest.raises(UserError, match=r"lists 'a\.bin'"):
        verify_sealed(folder)


def test_another_schema_version_is_named(folder: Path) -> None:
    reseal(folder, schema_version=99)
    with pytest.raises(UserError, match="has schema version 99, this release reads 3"):
        verify_sealed(folder)


def test_a_store_is_replaced_and_a_failed_one_is_not(folder: Path) -> None:
    write_sealed(folder, {"new": b"1"}, kind="test", meta={})
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "new"]
    with pytest.raises(TypeError):
        write_sealed(folder, {"newer": "text, not bytes"}, kind="test", meta={})  # type: ignore[dict-item]
    assert verify_sealed(folder)["files"].keys() == {"new"}


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="papers: holds other files than a store's; name a folder"):
        write_sealed(tmp_path / "papers", FILES, kind="test", meta={})
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files than a store's"):
        write_sealed(folder, FILES, kind="test", meta={})
    with pytest.raises(UserError, match="is a file"):
        write_sealed(folder / "thesis.txt", FILES, kind="test", meta={})
    with pytest.raises(UserError, match="cannot be written"):
        write_sealed(folder / "thesis.txt" / "store", FILES, kind="test", meta={})
    assert (folder / "thesis.txt").read_text() == (tmp_path / "papers" / "thesis.txt").read_text() == "mine"


def test_an_empty_folder_and_a_relative_name_are_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    write_sealed(Path("."), FILES, kind="test", meta={})
    assert verify_sealed(tmp_path / "out")["kind"] == "test"


def test_a_store_may_be_written_where_no_folder_is_yet(tmp_path: Path) -> None:
    write_sealed(tmp_path / "of" / "several" / "levels", {"a.bin": b"x"}, kind="test", meta={})
    assert (tmp_path / "of" / "several" / "levels" / "a.bin").read_bytes() == b"x"
    with locked(tmp_path / "another" / "of" / "several", 1.0):
        assert (tmp_path / "another" / "of" / "several.lock").is_file()


def test_a_second_writer_waits_and_then_names_the_lock(folder: Path) -> None:
    lock = folder.with_name("store.lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"store\.lock: another process is writing store"):
            write_sealed(folder, {}, kind="test", meta={}, lock_seconds=0.1)
    assert verify_sealed(folder)["files"].keys() == FILES.keys()
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        released = threading.Timer(0.3, lambda: fcntl.flock(file, fcntl.LOCK_UN))
        released.start()
        write_sealed(folder, {}, kind="test", meta={}, lock_seconds=60.0)
        released.join()
    write_sealed(folder, {}, kind="test", meta={})  # a lock file that nobody holds is in nobody's way
    assert not lock.exists()


def test_a_link_to_a_store_is_the_store(folder: Path, tmp_path: Path) -> None:
    """Whatever way a writer takes: the lock, what it replaces and what it restores lie beside the folder itself."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "current").symlink_to(folder)
    (tmp_path / "twice").symlink_to("current")
    (tmp_path / "side").symlink_to(tmp_path / "deep" / "er")
    (tmp_path / "deep" / "store").symlink_to(folder)
    ways = [tmp_path / "current", tmp_path / "twice", tmp_path / "side" / ".." / "store", folder / "." / ".." / "store"]
    for way in ways:
        with locked(folder, 1.0), pytest.raises(UserError, match="another process is writing store"):
            write_sealed(way, {}, kind="test", meta={}, lock_seconds=0.0)
        write_sealed(way, {"who": str(way).encode()}, kind="test", meta={})
        assert (folder / "who").read_bytes() == str(way).encode()
    assert (tmp_path / "current").is_symlink() and (tmp_path / "twice").is_symlink()
    folder.rename(folder.with_name(".tmp-old-999999999-store"))  # as a killed writer leaves it
    assert verify_sealed(tmp_path / "twice")["files"].keys() == {"who"}


def test_a_lock_on_a_file_that_its_former_holder_removed_does_not_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, flock, was_there = folder.with_name("store.lock"), fcntl.flock, []

    def former_holder_ends_first(descriptor: int, operation: int) -> None:
        if not was_there:
            lock.unlink()
        was_there.append(lock.exists())
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", former_holder_ends_first)
    write_sealed(folder, {}, kind="test", meta={})
    assert was_there[0] is False and True in was_there, "the lock that counts is on a file that others find"


def test_writers_at_once_leave_one_whole_store(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from retrieval.sealed_folder import write_sealed\n"
        "for turn in range(15):\n"
        "    write_sealed(Path(sys.argv[1]), {'who': sys.argv[2].encode() * 1000}, kind='test', meta={})"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "store")]
    writers = [subprocess.Popen([*command, who]) for who in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert verify_sealed(tmp_path / "store")["files"]["who"]["bytes"] == 1000
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_reader_finds_the_store_that_a_killed_writer_had_moved_away(folder: Path) -> None:
    folder.rename(folder.with_name(f".tmp-old-{2**22 + 1}-store"))
    assert read_manifest(folder)["kind"] == "test"


def test_verifying_needs_the_standard_library_alone() -> None:
    program = (
        "import sys, retrieval.sealed_folder\n"
        "assert not {'numpy', 'torch', 'faiss', 'pyarrow', 'datasets'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
