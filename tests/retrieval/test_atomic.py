import os
import subprocess
import sys
from pathlib import Path

import pytest

from retrieval.atomic import new_folder, restore_folder, write_bytes, write_text

DEAD = 2**22 + 1  # above the largest process id that Linux gives


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def write(folder: Path, text: str) -> None:
    with new_folder(folder) as new:
        (new / "file").write_text(text)


def run_killed(folder: Path, before_rename: int) -> None:
    """Replace `folder` in a process that dies, without any clean-up, just before its nth rename."""
    program = f"""
import os
from pathlib import Path
from retrieval.atomic import new_folder
rename, calls = Path.rename, 0
def dying(self, target):
    global calls
    calls += 1
    if calls == {before_rename}:
        os._exit(9)
    return rename(self, target)
Path.rename = dying
with new_folder(Path({str(folder)!r})) as new:
    (new / "file").write_text("killed")
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == 9


def test_files_are_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "file", b"first")
    write_text(tmp_path / "a" / "file", "zweites ü")
    assert (tmp_path / "a" / "file").read_bytes() == "zweites ü".encode()
    assert names(tmp_path / "a") == ["file"]


def test_folder_is_replaced_whole(tmp_path: Path) -> None:
    write(tmp_path / "store", "first")
    (tmp_path / "store" / "other").write_text("goes with the old folder")
    write(tmp_path / "store", "second")
    assert names(tmp_path) == ["store"]
    assert names(tmp_path / "store") == ["file"]
    assert (tmp_path / "store" / "file").read_text() == "second"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_while_writing_changes_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    write(tmp_path / "store", "first")
    with pytest.raises(error), new_folder(tmp_path / "store") as new:
        (new / "file").write_text("half")
        raise error
    assert names(tmp_path) == ["store"]
    assert (tmp_path / "store" / "file").read_text() == "first"


def test_an_error_between_the_renames_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "store", "first")
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name == f".tmp-{os.getpid()}-store":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "store", "second")
    assert names(tmp_path) == ["store"]
    assert (tmp_path / "store" / "file").read_text() == "first"


def test_a_kill_before_the_first_rename_leaves_the_old_folder(tmp_path: Path) -> None:
    write(tmp_path / "store", "first")
    run_killed(tmp_path / "store", before_rename=1)
    assert (tmp_path / "store" / "file").read_text() == "first"
    assert len(names(tmp_path)) == 2
    write(tmp_path / "store", "second")
    assert names(tmp_path) == ["store"]


def test_a_reader_restores_what_a_kill_between_the_renames_took_away(tmp_path: Path) -> None:
    write(tmp_path / "store", "first")
    run_killed(tmp_path / "store", before_rename=2)
    assert not (tmp_path / "store").exists()
    restore_folder(tmp_path / "store")
    assert (tmp_path / "store" / "file").read_text() == "first"


def test_a_writer_that_fails_after_such_a_kill_keeps_the_old_folder(tmp_path: Path) -> None:
    write(tmp_path / "store", "first")
    run_killed(tmp_path / "store", before_rename=2)
    with pytest.raises(RuntimeError), new_folder(tmp_path / "store"):
        raise RuntimeError
    assert names(tmp_path) == ["store"]
    assert (tmp_path / "store" / "file").read_text() == "first"


def test_restoring_nothing_does_nothing(tmp_path: Path) -> None:
    restore_folder(tmp_path / "no" / "such" / "store")
    write(tmp_path / "store", "first")
    restore_folder(tmp_path / "store")
    assert names(tmp_path) == ["store"]
    assert (tmp_path / "store" / "file").read_text() == "first"


def test_only_the_leftovers_of_dead_writers_of_this_place_are_removed(tmp_path: Path) -> None:
    kept = [f".tmp-{DEAD}-my-store", f".tmp-old-{DEAD}-my-store", f".tmp-{os.getppid()}-store"]
    for name in [*kept, f".tmp-{DEAD}-store", f".tmp-old-{DEAD}-store"]:
        (tmp_path / name).mkdir()
    (tmp_path / "store").mkdir()
    write(tmp_path / "store", "text")
    assert names(tmp_path) == sorted([*kept, "store"])


def test_a_killed_writer_of_a_file_is_swept_up_by_the_next(tmp_path: Path) -> None:
    (tmp_path / f".tmp-{DEAD}-file").write_text("half")
    write_text(tmp_path / "file", "whole")
    assert names(tmp_path) == ["file"]
