"""The examples of docs/extending.md, run as a user would: files of one folder, named by a config."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = {name: text for _, name, text in re.findall(r"```(python|yaml)\n# (\S+)\n(.*?)```", TEXT, re.DOTALL)}
MOST_LINES = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mine")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def started(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([".", str(ROOT)])
    return subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def run(folder: Path, *command: str) -> str:
    done = started(folder, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows_of(report: Path) -> list[dict[str, str]]:
    with (report / "results.csv").open() as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("my_") and name != "my_trainer.py"])
def test_each_takes_thirty_lines(name: str) -> None:
    code = [
        line for line in FILES[name].splitlines() if line.strip() and not re.match(r"(from|import) |\s*\"\"\"", line)
    ]
    assert len(code) <= MOST_LINES, "imports, blank lines and docstrings apart"


@pytest.fixture(scope="module")
def finished(folder: Path) -> Path:
    run(folder, "-m", "retromem", "compare", "mine.yaml", "--workers", "1")
    return folder


@pytest.mark.slow
def test_a_memory_a_kind_a_set_and_a_panel_of_a_user_run_beside_ours(finished: Path) -> None:
    folder = finished
    rows = rows_of(folder / "reports" / "mine")
    asked = {
        (row["study"], row["memory"]): row for row in rows if row["phrasing"] == "identical" and row["seed"] == "0"
    }
    assert asked.keys() == {
        ("keys", "ridge-0.01"),
        ("keys", "ffn-sine-24"),
        ("keys", "ffn-2xsine-plain-pre-12"),
        ("products", "ridge-0.1"),
        ("products", "faiss-q-Flat"),
    }
    ridge = asked["keys", "ridge-0.01"]
    # 96 keys of 32 dimensions, 16 values: far above guessing. One float32 number a dimension and value.
    assert float(ridge["accuracy"]) > 0.5 and int(ridge["num_params"]) == 32 * 16
    assert float(asked["keys", "ffn-sine-24"]["accuracy"]) > 0.9
    assert asked["products", "ridge-0.1"]["knowledge_name"] == "products"
    page = (folder / "reports" / "mine" / "report.md").read_text()
    assert "Of 1,000 random keys" in page and "Collisions" in page


@pytest.mark.slow
def test_what_a_run_has_saved_imports_no_class_of_a_user(finished: Path) -> None:
    run(finished, "-m", "retromem", "report", "runs/mine")
    page = (finished / "reports" / "mine" / "report.md").read_text()
    assert "panel collisions is left out: it is of my\\_panel:Config" in page and "Of 1,000 random keys" not in page
    kept = started(finished, "-m", "retromem", "compare", "runs/mine/config.yaml")
    assert kept.returncode == 2 and "what was saved may name no class" in kept.stderr
    assert kept.stderr.count("\n") == 1


BROKEN = """
import sys
from dataclasses import dataclass
from my_memory import Config as Whole
from my_panel import Config as Panel
from my_set import Config as Products

@dataclass(frozen=True, kw_only=True)
class Quits(Whole):
    def build(self, *, seed):
        sys.exit(7)

@dataclass(frozen=True, kw_only=True)
class NoPage(Panel):
    def page(self, points):
        return points[0].colour

@dataclass(frozen=True, kw_only=True)
class NoSet(Products):
    def build(self):
        return 1 / 0
"""


@pytest.mark.slow
def test_what_breaks_in_a_class_of_a_users_costs_its_own_part_alone(finished: Path) -> None:
    folder = finished.parent / "broken"
    shutil.copytree(finished, folder)
    (folder / "broken.py").write_text(BROKEN)
    content = yaml.safe_load((folder / "mine.yaml").read_text())
    content["panels"]["no_page"] = {"panel": "broken:NoPage"}
    content["studies"]["keys"]["arms"][0]["memories"].append({"memory": "broken:Quits", "called": "quits"})
    (folder / "mine.yaml").write_text(yaml.safe_dump(content))
    done = started(folder, "-m", "retromem", "compare", "mine.yaml", "--workers", "1")
    assert done.returncode == 1 and not done.stderr
    assert (
        "FAILED no_page: its page cannot be made (AttributeError" in done.stdout and "FAILED keys-quits" in done.stdout
    )
    page = (folder / "reports" / "mine" / "report.md").read_text()
    assert "Collisions" in page and "its page cannot be made" in page
    content["studies"]["products"]["knowledge"]["source"] = "broken:NoSet"
    (folder / "mine.yaml").write_text(yaml.safe_dump(content))
    refused = started(folder, "-m", "retromem", "compare", "mine.yaml", "--workers", "1")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert "broken:NoSet: its build fails (ZeroDivisionError: division by zero)" in refused.stderr


def test_a_saved_memory_of_a_user_answers_as_before(folder: Path) -> None:
    text = "\n".join(
        [
            "from pathlib import Path",
            "import numpy as np",
            "from my_memory import Config, Ridge",
            "from retromem.knowledge.random_keys import KeysConfig, keys_set",
            "knowledge = keys_set(KeysConfig(num_facts=50))",
            "memory = Config(ridge=0.5).build(seed=0)",
            "memory.write(knowledge.facts())",
            "memory.save(Path('saved'))",
            "asked = knowledge.ask('identical').queries",
            "again = Ridge.load(Path('saved'))",
            "assert again.config == memory.config",
            "first, then = (one.recall(asked) for one in (memory, again))",
            "assert (first.value_ids_QK == then.value_ids_QK).all()",
            "assert (first.log_probs_QK == then.log_probs_QK).all()",
        ]
    )
    run(folder, "-c", text)


@pytest.mark.slow
def test_a_kind_of_a_users_that_changed_is_measured_again_where_its_version_says_so(finished: Path) -> None:
    changed = finished.parent / "changed"
    shutil.copytree(finished, changed)
    said = run(changed, "-m", "retromem", "compare", "mine.yaml", "--workers", "1")
    assert "0 of " in said
    text = (changed / "my_ffn.py").read_text()
    (changed / "my_ffn.py").write_text(text.replace('    family = "sine"', '    family = "sine"\n    version = 2'))
    said = run(changed, "-m", "retromem", "compare", "mine.yaml", "--workers", "1")
    assert re.search(r"^2 of \d+ cells run", said, re.MULTILINE), said


@pytest.mark.slow
def test_the_sweeps_are_drawn(folder: Path) -> None:
    run(folder, "-m", "retromem", "compare", "sweep.yaml", "--workers", "1")
    rows = rows_of(folder / "reports" / "sweep")
    assert {row["sweep.ridge"] for row in rows if row["sweep.ridge"]} == {"0.001", "0.1", "10.0"}
    noise = {row["sweep.label_noise"]: row["knowledge_name"] for row in rows if row["sweep.label_noise"]}
    assert noise == {"0.0": "products", "0.5": "products, label noise 0.5"}
    assert {"sweep-ridge.png", "sweep-noise.png"} <= {
        path.name for path in (folder / "reports/sweep/figures").iterdir()
    }


@pytest.mark.slow
def test_a_trainer_of_the_users_keeps_its_curves(folder: Path) -> None:
    run(folder, "my_trainer.py")
    assert list((folder / "curves").rglob("metrics.csv"))
