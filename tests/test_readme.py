"""The documents: every file they point to is there, and nothing was left to be filled in."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


DOCUMENTS = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))),
]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere_and_no_placeholder_is_left(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert all((ROOT / name).parent.joinpath(link).exists() for link in links if not link.startswith("http"))
    assert not re.findall(r"\b[A-Z]+_(?:TABLE|TEXT)\b", text)


def test_the_documents_name_every_config():
    mentioned = "".join((ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS)
    for config in (ROOT / "configs").glob("*.yaml"):
        assert config.name in mentioned or config.stem == "own_facts"


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("name", ["docs/options.md"])
def test_examples_run(name, tmp_path):
    """Each block of Python in a process of its own, outside of the checkout."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
