"""Which room may know which: read from the imports, wherever in a file they stand."""

import ast
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from retrieval.bit_packing import pack
from retromem.memories.ffn_memory import FFNMemory
from retromem.seam import Recall

REPO = Path(__file__).parents[1]
PACKAGES = ("models", "retrieval", "retromem")
MODULES = sorted(path for package in PACKAGES for path in (REPO / package).rglob("*.py"))
NAMES = [str(path.relative_to(REPO)) for path in MODULES]


@cache
def imported(path: Path) -> list[str]:
    """Every module that the file names in an import, in functions and under TYPE_CHECKING too."""
    return list(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def in_room(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def importers(room: str) -> set[str]:
    """Files that import a module or one below it."""
    return {str(path.relative_to(REPO)) for path in MODULES if any(in_room(name, room) for name in imported(path))}


@cache
def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this is no git checkout")
    return [REPO / name for name in done.stdout.decode().split("\0") if name]


def test_there_is_something_to_read() -> None:
    assert {"models", "retrieval", "retromem"} == {name.partition("/")[0] for name in NAMES}
    assert importers("retrieval.errors")


def test_models_and_retrieval_know_neither_each_other_nor_retromem() -> None:
    for room, others in {"models": ("retrieval", "retromem"), "retrieval": ("models", "retromem")}.items():
        for other in others:
            assert not {name for name in importers(other) if name.startswith(f"{room}/")}


def test_faiss_has_one_door() -> None:
    assert importers("faiss") == {"retrieval/_faiss.py"}


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("retromem/report/")])
def test_the_report_knows_rows_and_points_and_little_else(name: str) -> None:
    own = [module for module in imported(REPO / name) if module.partition(".")[0] in PACKAGES]
    allowed = ("retromem.report", "retromem.rows", "retromem.panels.points", "retrieval.errors", "retrieval.atomic")
    assert not [module for module in own if not any(in_room(module, room) for room in allowed)]
    assert not [
        module for module in imported(REPO / name) if module.partition(".")[0] in ("torch", "faiss", "lightning")
    ]


@pytest.mark.parametrize(
    "name, needs",
    [
        ("retromem/measure/bits.py", set()),
        ("retromem/measure/bit_complexity.py", set()),
        ("retromem/rows.py", {"retromem.seam"}),
    ],
)
def test_files_that_others_may_take_away_need_little_of_ours(name: str, needs: set[str]) -> None:
    ours = [module for module in imported(REPO / name) if module.partition(".")[0] in PACKAGES]
    assert not [module for module in ours if not any(in_room(module, room) for room in needs)]


def test_loose_lies_only_what_a_reader_meets_first() -> None:
    loose = {path.stem for path in (REPO / "retromem").glob("*.py")}
    assert loose == {"__init__", "__main__", "seam", "rows", "compare", "configuration", "cli"}


def circles(known: dict[str, set[str]]) -> list[set[str]]:
    """Sets of files each of which is reached from each other one."""

    def reached(start: str) -> set[str]:
        found, waiting = set(), [start]
        while waiting:
            new = known[waiting.pop()] - found
            found |= new
            waiting += new
        return found

    ways = {name: reached(name) for name in known}
    rings = {frozenset(other for other in ways[name] if name in ways[other]) for name in known}
    return [set(ring) for ring in rings if ring]


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d", "a"}, "e": set()}) in (
        [{"b", "c"}, {"d"}],
        [{"d"}, {"b", "c"}],
    )


def test_no_circle_of_imports_holds_more_than_four_files() -> None:
    """Imports inside functions and under TYPE_CHECKING are imports."""
    files = {name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): name for name in NAMES}
    known = {name: {files[other] for other in imported(REPO / name) if other in files} - {name} for name in NAMES}
    assert [ring for ring in circles(known) if len(ring) > 4] == []


def test_no_two_modules_share_a_name() -> None:
    counts = Counter(path.name for path in MODULES if path.name != "__init__.py")
    assert [name for name, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_module_is_short_and_its_annotations_are_real(name: str) -> None:
    text = (REPO / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 500
    assert "__future__.annotations" not in list(imported(REPO / name))  # beartype reads annotations as they are


def test_no_tracked_file_is_large() -> None:
    assert [str(path) for path in tracked() if path.is_file() and path.stat().st_size > 1_000_000] == []


def test_no_cache_and_no_result_is_tracked() -> None:
    made = {".cache", ".venv", "__pycache__", ".hypothesis", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
    at_the_top = made | {"runs", "reports", "stores", "build", "dist"}
    parts = [(path, path.relative_to(REPO).parts) for path in tracked()]
    assert [str(path) for path, names in parts if names[0] in at_the_top or made & set(names)] == []
    assert [str(path) for path, names in parts if names[-1].endswith((".pyc", ".faiss"))] == []


def test_shapes_are_checked_in_tests_wherever_they_are_annotated(pytestconfig: pytest.Config) -> None:
    hooked = pytestconfig.getoption("jaxtyping_packages").split(",")[:-1]
    for name in importers("jaxtyping"):
        module = name.removesuffix(".py").replace("/", ".")
        assert any(in_room(module, package) for package in hooked), f"{name}: see addopts in pyproject.toml"


def test_a_wrong_shape_is_an_error_in_tests() -> None:
    """Or the loader of conftest checks nothing."""
    with pytest.raises(TypeCheckError):
        pack(np.zeros((2, 2), dtype=np.int64), 1)
    assert hasattr(FFNMemory.slot_counts, "__wrapped__"), "a quoted annotation is one too"
    with pytest.raises(TypeCheckError):  # fields: of one call, two counts of answers
        Recall(
            value_ids_QK=np.zeros((2, 3), dtype=np.int64),
            log_probs_QK=np.zeros((2, 2), dtype=np.float32),
            scored_QC=np.zeros((2, 0), dtype=np.float32),
            confidence_Q=np.zeros(2, dtype=np.float32),
        )
