"""What a result says of the code that made it."""

import subprocess
from pathlib import Path

import pytest

from retromem.run.method import commit, made_by

REPO = Path(__file__).parents[3]


def test_the_commit_is_that_of_the_checkout() -> None:
    if not (REPO / ".git").exists():
        pytest.skip("this is no git checkout")
    head = subprocess.run(
        ["git", "-C", str(REPO), "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert commit().removesuffix(", changed") == head == made_by()["commit"].removesuffix(", changed")
