"""Make runs for real, with a stand-in for the interpreter that notes how it was called."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
MAKEFILE = (REPO / "Makefile").read_text()
ODD = """my "own" <facts> & it's $HOME; x#1.jsonl"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder whose .venv is ready, as far as make can tell."""
    folder = tmp_path / "checkout"
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPO / name, folder / name)
    python = folder / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\" >> calls.bin\nprintf '\\n' >> calls.bin\n")
    python.chmod(0o755)
    later = time.time() + 60
    for stamp in (".cpu", ".dev"):
        (folder / ".venv" / stamp).touch()
        os.utime(folder / ".venv" / stamp, (later, later))
    return folder


def make(checkout: Path, *arguments: str, **variables: str) -> list[list[str]]:
    """The arguments of every call of the interpreter."""
    exported = set(re.findall(r"[A-Z_]+", re.findall(r"^VARIABLES := (.*)$", MAKEFILE, re.MULTILINE)[0]))
    clean = {k: v for k, v in os.environ.items() if k not in exported and not k.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", *arguments],
        cwd=checkout,
        env={**clean, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    calls = checkout / "calls.bin"
    return [line.split("\0")[:-1] for line in calls.read_text().split("\n")[:-1]] if calls.exists() else []


def test_no_goal_prints_help_which_lists_every_target(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")  # help needs nothing
    outputs = [
        subprocess.run(["make", *goal], cwd=checkout, capture_output=True, text=True, check=True).stdout
        for goal in ([], ["help"])
    ]
    assert outputs[0] == outputs[1]
    targets = re.findall(r"^\.PHONY: (\S+)$", MAKEFILE, re.MULTILINE)
    assert len(targets) > 10
    assert [target for target in targets if not re.search(rf"^  make {target} +\S", outputs[0], re.MULTILINE)] == []
    assert not (checkout / ".venv").exists()


def test_variables_are_no_text_of_recipes() -> None:
    (names,) = re.findall(r"^VARIABLES := (.*)$", MAKEFILE, re.MULTILINE)
    for name in names.split():
        assert not re.search(rf"(?<!\$)\$[({{]{name}\b", MAKEFILE), f"$({name}) would be read by the shell as code"
        assert name in re.findall(r"\$\$\{?([A-Z_]+)", MAKEFILE), f"no recipe takes {name}"


def test_a_mistyped_variable_is_refused(checkout: Path) -> None:
    done = subprocess.run(["make", "report", "FACT=x"], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "no target takes FACT; the variables are CONFIG" in done.stderr


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_a_report_takes_odd_names_as_they_are(checkout: Path, way: str) -> None:
    values = {
        "FACTS": f"/tmp/{ODD}",
        "PHRASINGS": f"p {ODD}",
        "COLUMNS": "subject=the name,value=the 'value'",
        "NAME": f"n {ODD}",
        "CONFIG": f"c {ODD}",
        "SET": """title='A "new" <title>' a.b=[0, 1]""",
        "MAX_FACTS": "12",
        "FORCE": "1",
    }
    arguments = [f"{name}={value}" for name, value in values.items()]
    # A terminal's width and a machine's name, which were not meant for us.
    meant = ["--columns", values["COLUMNS"], "--name", values["NAME"]] if way == "argument" else []
    calls = make(checkout, "report", *arguments) if way == "argument" else make(checkout, "report", **values)
    assert calls == [
        [
            *("-m", "retromem", "compare", values["CONFIG"]),
            *("--facts", values["FACTS"]),
            *("--phrasings", values["PHRASINGS"]),
            *meant,
            *("--max-facts", "12"),
            *("--set", values["SET"]),
            "--force",
        ]
    ]


def test_what_is_not_given_is_not_passed_on(checkout: Path) -> None:
    assert make(checkout, "report") == [["-m", "retromem", "compare"]]


def test_an_experiment_is_a_report_by_another_name(checkout: Path) -> None:
    expected = ["-m", "retromem", "compare", "configs/keys.yaml", "--set", "a.b=c d.e=f"]
    assert make(checkout, "experiment", "CONFIG=configs/keys.yaml", "SET=a.b=c d.e=f") == [expected]


def test_an_index_takes_odd_names_as_they_are(checkout: Path) -> None:
    arguments = [f"FACTS={ODD}", f"OUT=o {ODD}", "INDEX=IVF4,Flat", "ROTATE_TO=64", "KEY_BY=question", "PHRASINGS=p q"]
    assert make(checkout, "index", *arguments) == [
        [
            *("-m", "retromem", "index", "build", f"o {ODD}"),
            *("--facts", ODD),
            *("--phrasings", "p q"),
            *("--index", "IVF4,Flat"),
            *("--rotate-to", "64"),
            *("--key-by", "question"),
        ]
    ]


def test_an_index_without_a_folder_is_left_to_the_command_to_refuse(checkout: Path) -> None:
    assert make(checkout, "index") == [["-m", "retromem", "index", "build", ""]]


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("doctor", ["-m", "retromem", "doctor"]),
        ("test", ["-m", "pytest", "-q", "-n", "auto", "--dist", "loadfile", "-m", "not slow and not gpu"]),
        ("test-slow", ["-m", "pytest", "-q", "-n", "auto", "-m", "slow and not gpu"]),
    ],
)
def test_other_targets_are_one_call(checkout: Path, target: str, arguments: list[str]) -> None:
    assert make(checkout, target) == [arguments]


def test_set_up_installs_no_development_tools_and_only_once(checkout: Path) -> None:
    (checkout / ".venv" / ".cpu").unlink()
    index = "https://torch.example/a b"
    (install,) = make(checkout, "setup", f"TORCH_INDEX={index}")
    assert install[-6:] == ["--extra-index-url", index, "-c", "constraints.txt", "-e", ".[cpu]"]
    assert len(make(checkout, "setup")) == 1, "a second call installs again"
    later = time.time() + 120
    os.utime(checkout / "constraints.txt", (later, later))
    assert len(make(checkout, "setup")) == 2, "new constraints are not installed"


def test_clean_removes_what_was_made_and_keeps_the_rest(checkout: Path) -> None:
    for name in ("runs", "reports", ".cache", "stores", "my_facts"):
        (checkout / name).mkdir()
    make(checkout, "clean")
    kept = {path.name for path in checkout.iterdir()}
    assert kept == {".venv", "Makefile", "pyproject.toml", "constraints.txt", "stores", "my_facts"}
