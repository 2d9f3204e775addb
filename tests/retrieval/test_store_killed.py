"""A writer that is killed at any moment leaves the store as it was or as it would have been."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from retrieval import store_updates
from retrieval.chunk_store import ChunkStore
from retrieval.chunks import Chunks
from retrieval.sealed_folder import verify_sealed
from retrieval.vector_index import IndexSpec

PHASES = ("before", "writing", "renamed", "committed")
BESIDE = {"beside.bin": b"x"}
CHANGES = ("build", "add", "delete", "compact", "replace")

# For each seed on its standard input, a child that changes a store for ever. A line goes to the pipe, in one write, at
# each begin, phase and end: what was written there outlives the process. Forked, as importing FAISS takes seconds; it
# is safe because no FAISS call was made before.
WRITER = """
import os, sys, time
from pathlib import Path

import numpy as np

import retrieval._faiss
from retrieval import store_updates
from retrieval.chunk_store import ChunkStore
from retrieval.chunks import Chunks
from retrieval.vector_index import IndexSpec

folder, factory = Path(sys.argv[1]), sys.argv[2]


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())


for seed in sys.stdin:
    child = os.fork()
    if not child:
        rng = np.random.default_rng(int(seed))
        break
    say("born", child)
    say("died", os.waitpid(child, 0)[1])
else:
    sys.exit()


def watch(phase):
    say("phase", phase)
    time.sleep(rng.random() * 0.004)  # every phase lasts long enough to be hit


def chunks(ids):
    vectors = rng.standard_normal((len(ids), 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    zeros = np.zeros(len(ids), dtype=np.int64)
    return Chunks(ids_N=np.array(ids), vectors_ND=vectors, labels_N=zeros, groups_N=zeros, label_bits_G=(0,),
                  texts=[f"text {i}" for i in ids])


store = ChunkStore.open(folder)
taken = set(store.ids_N[store.is_live_N].tolist())
fresh = max(taken) + 1
while True:
    for change in ("add", "delete", "replace", "compact", "build"):
        some = rng.choice(sorted(taken), 5, replace=False).tolist()
        if change == "add":
            after, ids = taken | set(range(fresh, fresh + 9)), list(range(fresh, fresh + 9))
            fresh += 9
        elif change == "delete":
            after = taken - set(some)
        elif change == "build":
            after, ids = set(range(fresh, fresh + 30)), list(range(fresh, fresh + 30))
            fresh += 30
        else:
            after = taken
        say("begin", change, ",".join(map(str, sorted(after))))
        if change == "add":
            store_updates.add(folder, chunks(ids), on_phase=watch)
        elif change == "delete":
            store_updates.delete(folder, np.array(some), on_phase=watch)
        elif change == "replace":
            store_updates.replace(folder, chunks(some), on_phase=watch)
        elif change == "compact":
            store_updates.compact(folder, on_phase=watch)
        else:
            ChunkStore.build(chunks(ids), IndexSpec(factory=factory)).save(
                folder, extra_files={"beside.bin": b"x"}, meta={}, on_phase=watch)
        taken = after
        say("end")
"""


def live_ids(folder: Path) -> set[int]:
    """Of a store that opens, verifies, and finds each of its chunks."""
    store = ChunkStore.open(folder)
    verify_sealed(folder)
    live = np.flatnonzero(store.is_live_N)
    vectors = np.concatenate([segment.chunks.vectors_ND for segment in store.segments])[live]
    found, _ = store.search(np.ascontiguousarray(vectors), 1)
    np.testing.assert_array_equal(found[:, 0], live)
    assert [store.text(position) for position in live.tolist()] == [f"text {i}" for i in store.ids_N[live].tolist()]
    return set(store.ids_N[live].tolist())


class Writers:
    """Writers of one store, each of which is killed; counts the kills by phase and by change."""

    def __init__(self, folder: Path, factory: str) -> None:
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self._alive = set(range(30))
        vectors = np.random.default_rng(0).standard_normal((30, 8)).astype(np.float32)
        zeros = np.zeros(30, dtype=np.int64)
        chunks = Chunks(
            ids_N=np.arange(30),
            vectors_ND=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
            labels_N=zeros,
            groups_N=zeros,
            label_bits_G=(0,),
            texts=[f"text {i}" for i in range(30)],
        )
        ChunkStore.build(chunks, IndexSpec(factory=factory)).save(folder, extra_files=BESIDE, meta={})
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), factory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def kill_one(self, seed: int, target: str) -> None:
        """Kill a writer a random moment after it has come to a phase in one of its next changes, and look at the store.

        The phase that counts is the last that it told of: it may have gone on in that moment.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        rng = np.random.default_rng([seed, 1])
        turns, child = int(rng.integers(1, 6)), 0
        change, phase, before, after = "none", "before", self._alive, self._alive
        self._process.stdin.write(f"{seed}\n")
        self._process.stdin.flush()
        for line in iter(self._process.stdout.readline, ""):
            word, *rest = line.split()
            match word:
                case "born":
                    child = int(rest[0])
                case "begin":
                    change, phase, after = rest[0], "before", {int(number) for number in rest[1].split(",")}
                    turns -= 1
                case "phase":
                    phase = rest[0]
                    if turns <= 0 and phase == target and child:
                        time.sleep(rng.random() * 0.004)
                        os.kill(child, signal.SIGKILL)
                        child = 0
                case "end":
                    before, phase = after, "committed"
                case "died":
                    assert int(rest[0]) == signal.SIGKILL, "the writer itself failed"
                    break
        self._alive = live_ids(self.folder)
        assert self._alive in (before, after), f"killed in {phase} of {change}"
        assert phase != "committed" or self._alive == after, f"{change} had been committed"
        assert phase not in ("before", "writing") or self._alive == before, f"{change} had not been committed"
        self.counts.update([phase, change])

    def end(self) -> None:
        """Let a writer live: it finds nothing in its way and leaves nothing of the others."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        store = store_updates.delete(self.folder, np.array(sorted(self._alive)[:1]))
        assert {path.name for path in self.folder.iterdir()} == {"manifest.json", *BESIDE, *store.names()}
        store.save(self.folder, extra_files=BESIDE, meta={})  # what lies beside goes with the next that writes a whole
        assert [path.name for path in self.folder.parent.iterdir()] == ["store"]


def kill_often(folder: Path, factory: str, kills: int) -> Counter[str]:
    writers = Writers(folder, factory)
    for seed in range(kills):
        writers.kill_one(seed, PHASES[seed % len(PHASES)])
    writers.end()
    return writers.counts


def test_a_killed_writer_leaves_the_old_store_or_the_new_one(tmp_path: Path) -> None:
    writers, kills = Writers(tmp_path / "store", "Flat"), 0
    # On a machine that is busy elsewhere a kill may come a phase too late.
    while not all(writers.counts[phase] for phase in PHASES) and kills < 25:
        writers.kill_one(kills, next(phase for phase in PHASES if not writers.counts[phase]))
        kills += 1
    writers.end()
    assert sum(writers.counts[phase] for phase in PHASES) == kills
    assert all(writers.counts[phase] for phase in PHASES), writers.counts


@pytest.mark.slow
@pytest.mark.parametrize(("factory", "kills"), [("Flat", 200), ("HNSW8", 60)])
def test_many_killed_writers_leave_the_old_store_or_the_new_one(tmp_path: Path, factory: str, kills: int) -> None:
    counts = kill_often(tmp_path / "store", factory, kills)
    print(sorted(counts.items()))  # noqa: T201 - shown by pytest -s
    assert all(counts[phase] >= kills / 10 for phase in PHASES), counts
    assert all(counts[change] for change in CHANGES), counts
