"""Ctrl-C, as a terminal sends it: to the command and to all of its workers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).parents[3]


@pytest.fixture
def endless(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """An experiment of cells that take many seconds each, in a session of its own, as a terminal would start it."""
    arms = {
        "memories": [{"memory": "frequency", "guess": True}],
        "num_facts": [400_000],
        "seeds": list(range(20)),
    }
    knowledge = {"source": "keys", "dim": 16, "num_values": 16, "num_facts": 400_000}
    config = {
        "title": "Endless",
        "question": "Does it end?",
        "studies": {"keys": {"knowledge": knowledge, "arms": [arms]}},
    }
    (tmp_path / "endless.yaml").write_text(yaml.safe_dump(config))
    with subprocess.Popen(
        [sys.executable, "-m", "retromem", "compare", "endless.yaml", "--workers", "2"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Whoever runs the tests in the background has had Ctrl-C ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        yield process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def worker_is_starting(group: int) -> bool:
    """A process of the group has become a worker, and goes through its imports."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            in_group = int(stat.read_text().rpartition(")")[2].split()[2]) == group
            if in_group and b"popen_loky" in stat.with_name("cmdline").read_bytes():
                return True
    return False


@pytest.mark.parametrize("moment", ["workers start", "cells run"])
@pytest.mark.slow
def test_ctrl_c_is_one_line_and_status_130_and_leaves_nothing_whole(
    endless: "subprocess.Popen[str]", tmp_path: Path, moment: str
) -> None:
    if moment == "workers start" and not Path("/proc/self/stat").exists():
        pytest.skip("cannot see when workers start without /proc")
    cells = tmp_path / "runs" / "endless" / "cells"
    deadline = time.monotonic() + 60
    while not (worker_is_starting(endless.pid) if moment == "workers start" else list(cells.glob("*/running.json"))):
        assert endless.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.05)
    os.killpg(endless.pid, signal.SIGINT)  # a terminal tells all of them
    _, err = endless.communicate(timeout=30)
    assert endless.returncode == 130
    assert err.splitlines() == ["retromem: interrupted; finished cells are kept, the same command goes on from there"]
    assert not list(cells.glob("*/result.json")) + list(cells.glob("*/error.txt"))
    assert not (tmp_path / "reports").exists()
    while time.monotonic() < deadline:
        try:
            os.killpg(endless.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("workers went on after Ctrl-C")
