"""A disk without room: one line, status 2, and nothing that is half written."""

import subprocess
import sys
from pathlib import Path

import pytest

_WRITES_WITHOUT_ROOM = """
import resource, sys
from pathlib import Path
from retromem.cli import main

def status(arguments, largest_file):
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    try:
        main(arguments)
    except SystemExit as end:
        return end.code
    return 0

build = ["index", "build", "store", "--facts", "facts.csv", "--encoder", "hashed-trigrams"]
assert status(build, 10**9) == 0
before = {path.name: path.read_bytes() for path in Path("store").iterdir()}
assert status(build, 20_000) == 2  # the vectors of the store
assert {path.name: path.read_bytes() for path in Path("store").iterdir()} == before
sys.stderr.write("---\\n")
for kept in Path(".cache/embeddings").rglob("*.npz"):
    kept.unlink()
assert status([*build[:2], "other", *build[3:]], 20_000) == 2  # the vectors of the cache
sys.stderr.write("---\\n")
assert status(["compare", "tiny.yaml"], 500) == 2  # the plan of a run
"""

_TINY = """
title: t
question: q
studies:
  keys:
    knowledge: { source: keys, dim: 8, num_values: 4, num_facts: 64 }
    arms: [{ memories: [{ memory: faiss }], num_facts: [64], seeds: [0] }]
"""


@pytest.mark.slow
def test_a_disk_without_room_is_one_line_and_leaves_what_was_there(tmp_path: Path) -> None:
    rows = "".join(f"subject {row},colour,{'red' if row % 2 else 'green'}\n" for row in range(60))
    (tmp_path / "facts.csv").write_text("subject,relation,value\n" + rows)
    (tmp_path / "tiny.yaml").write_text(_TINY)
    done = subprocess.run(
        [sys.executable, "-c", _WRITES_WITHOUT_ROOM], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    store, cache, run = done.stderr.split("---\n")
    for said, place in ((store, "store"), (cache, ".cache/embeddings"), (run, "runs/tiny")):
        assert len(said.splitlines()) == 1
        assert said.startswith("retromem: ")
        assert place in said
        assert "cannot be written: File too large" in said
    assert not (tmp_path / "other").exists()
    assert [path.name for path in tmp_path.rglob("*") if ".tmp-" in path.name] == []
