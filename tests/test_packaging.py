import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import models
import retrieval
import retromem

REPO = Path(__file__).parents[1]


def test_the_generic_names_are_our_own_packages() -> None:
    for package in (models, retrieval, retromem):
        assert Path(str(package.__file__)).resolve().parent.parent == REPO.resolve()


@pytest.mark.parametrize("name", ["models", "retrieval"])
def test_a_folder_of_the_same_name_does_not_take_our_place(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-c", "import retromem"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPO}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert f"own package '{name}'" in last
    assert str(tmp_path / name / "__init__.py") in last


@pytest.mark.slow
def test_the_wheel_holds_three_packages_and_nothing_else(tmp_path: Path) -> None:
    if find_spec("setuptools") is None:
        pytest.skip("building a wheel without a network needs setuptools here")
    source = tmp_path / "source"  # a build leaves folders beside what it builds
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPO / name, source / name)
    for name in ("models", "retrieval", "retromem", "tests", "configs"):
        shutil.copytree(REPO / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "--wheel-dir", tmp_path, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"models", "retrieval", "retromem"}
    for package in ("models", "retrieval", "retromem"):
        assert f"{package}/py.typed" in names
        ours = {str(path.relative_to(REPO)) for path in (REPO / package).rglob("*.py")}
        assert ours <= names
