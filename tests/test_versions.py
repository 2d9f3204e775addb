"""Code that makes numbers is pinned to the versions that stand in the identity of every cell.

A changed file fails here until the versions of what it measures are raised, so that no result of the old code is taken
for one of the new:

    python tests/test_versions.py           pin the code as it is; refused where a version should have been raised
    python tests/test_versions.py --same    the same, for changes that leave every number as it was
"""

import ast
import hashlib
import json
import re
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)] if __name__ == "__main__" else []

from retrieval import encoder_config  # noqa: E402
from retromem.configuration import load  # noqa: E402
from retromem.measure import judgement  # noqa: E402
from retromem.memories.memory_configs import MEMORIES  # noqa: E402
from retromem.panels.any_panel import PANELS  # noqa: E402

LISTED = re.compile(r"(models|retromem)\.[a-z_.]+:[A-Z]\w*[a-z]\w*")
"""a class in a table of kinds; the table itself is in capitals"""
PINS = ROOT / "tests" / "pinned_code.json"
ROOMS = ("models", "retrieval", "retromem")
SHARED = (
    "retromem/measure/judgement.py",
    "retromem/measure/capacity.py",
    "retromem/measure/smallest.py",
    "retromem/knowledge/sources.py",
    "retromem/knowledge/text_keys.py",
)
"""where the code begins that all measurements share"""
SHARED_ALONE = {
    *("retromem/run/run_cell.py", "retromem/run/panel_cells.py", "retromem/run/cells.py", "retromem/compare.py"),
    *(
        "retromem/measure/capacity_search.py",
        "retromem/measure/smallest_search.py",
        "retromem/measure/search_bounds.py",
    ),
}
"""the same, though what they import belongs to single memories and panels"""
ENCODER = {"retrieval/encoder.py", "retrieval/encoder_config.py", "retrieval/hashed_trigrams.py"}
"""what makes vectors of texts, whose version is in the hash of every encoder"""
NO_NUMBERS = {
    *("retrieval/atomic.py", "retrieval/errors.py", "retrieval/folder_lock.py", "retrieval/phases.py"),
    *("retromem/configuration.py", "retromem/panels/points.py"),
    *("retromem/panels/point_spread.py", "retromem/panels/spread_text.py"),  # they write pages
    "retromem/panels/published/published_panel.py",  # it compares
}
"""files that change no measurement, and neither does what only they import; nor does retromem/report"""


@cache
def code_of(file: str) -> ast.Module:
    """Its syntax tree without docstrings and, of a panel, without what only its page calls."""
    tree = ast.parse((ROOT / file).read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [line for line in body if not _is_text(line)] or [ast.Pass()]  # type: ignore[attr-defined]
    if file.startswith("retromem/panels/"):
        _leave_out_page(tree)
    return tree


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def _leave_out_page(tree: ast.Module) -> None:
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    written = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            written |= {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
            if any(part.name == "page" for part in node.body if isinstance(part, ast.FunctionDef)):
                node.body = [p for p in node.body if not (isinstance(p, ast.FunctionDef) and p.name == "page")]
    if "page" not in written:
        return
    others = [node for node in tree.body if not isinstance(node, ast.FunctionDef)]
    kept: set[str] = set()
    waiting: list[ast.AST] = [*others]
    while waiting:
        named = {part.id for part in ast.walk(waiting.pop()) if isinstance(part, ast.Name)}
        new = (named & functions.keys()) - kept
        kept |= new
        waiting += [functions[name] for name in new]
    tree.body = [node for node in tree.body if not isinstance(node, ast.FunctionDef) or node.name in kept]


@cache
def imports_of(file: str, within: ast.AST | None = None) -> set[str]:
    """Files of this project that it imports, inside functions too."""
    found = set()
    for node in ast.walk(within or code_of(file)):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and LISTED.fullmatch(node.value):
            names = [node.value.partition(":")[0]]  # of a table of kinds, loaded when it is named
        for name in names:
            path = name.replace(".", "/") + ".py"
            if name.partition(".")[0] in ROOMS and (ROOT / path).is_file():
                found.add(path)
    return {path for path in found if path not in NO_NUMBERS and not path.startswith("retromem/report/")}


def reached_from(roots: set[str]) -> set[str]:
    found: set[str] = set()
    waiting = set(roots)
    while waiting:
        file = waiting.pop()
        found.add(file)
        waiting |= imports_of(file) - found
    return found


def file_of(cls: type) -> str:
    spec = find_spec(cls.__module__)
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).relative_to(ROOT))


@cache
def components() -> dict[str, tuple[int, frozenset[str]]]:
    """What has a version: its number, and the files that make its numbers."""
    encoder = reached_from(ENCODER)
    shared = (reached_from(set(SHARED)) | SHARED_ALONE) - encoder
    found = {
        "encoder": (encoder_config.VERSION, frozenset(encoder)),
        "measure": (judgement.VERSION, frozenset(shared)),
    }
    for memory in map(load, MEMORIES.values()):
        own = reached_from({file_of(memory)}) - shared - encoder
        found[f"memory {memory.memory}"] = (memory.version, frozenset(own))
    for panel in map(load, PANELS.values()):
        (measure,) = (
            part
            for node in code_of(file_of(panel)).body
            if isinstance(node, ast.ClassDef) and node.name == panel.__name__
            for part in node.body
            if isinstance(part, ast.FunctionDef) and part.name in ("measure", "number")
        )
        own = reached_from({file_of(panel), *imports_of(file_of(panel), measure)}) - shared - encoder
        found[f"panel {file_of(panel)}"] = (panel.version, frozenset(own))
    return found


@cache
def digest(file: str) -> str:
    return hashlib.sha256(ast.dump(code_of(file)).encode()).hexdigest()[:12]


def pinned_now() -> dict[str, dict[str, object]]:
    files = {file for _, owned in components().values() for file in owned}
    return {
        "versions": {name: version for name, (version, _) in components().items()},
        "files": {file: digest(file) for file in sorted(files)},
    }


def not_raised(pins: dict[str, dict[str, object]]) -> list[str]:
    """Components whose code is not the pinned one while their version, and that of all measurements, still is."""
    now = pinned_now()
    changed = {file for file, code in now["files"].items() if pins["files"].get(file) != code}
    all_raised = now["versions"]["measure"] != pins["versions"]["measure"]
    return [
        f"{name} (version {version}): {', '.join(sorted(owned & changed))}"
        for name, (version, owned) in components().items()
        if owned & changed
        and pins["versions"].get(name, version) == version
        and (name == "encoder" or not all_raised)  # cached vectors outlive what is measured with them
    ]


def test_code_that_measures_is_pinned_to_its_version() -> None:
    assert json.loads(PINS.read_text()) == pinned_now(), (
        "code that makes numbers changed: raise the version of each of these whose numbers it changes, or judgement's "
        "VERSION where it is all of them; then run `python tests/test_versions.py` (--same where no number changes)\n"
        + "\n".join(not_raised(json.loads(PINS.read_text())))
    )


def test_a_forgotten_raise_is_seen() -> None:
    pins = json.loads(PINS.read_text())
    for file, whose in (
        ("retromem/memories/ffn_memory.py", "memory ffn (version"),
        ("retrieval/planner.py", "panel retromem/panels/retrieval/plan_accuracy.py"),
        ("retromem/measure/bits.py", "measure (version"),
        ("retromem/run/run_cell.py", "measure (version"),
        ("retrieval/hashed_trigrams.py", "encoder (version"),
    ):
        changed = {**pins, "files": {**pins["files"], file: "another"}}
        assert any(line.startswith(whose) and file in line for line in not_raised(changed)), file
        raised = not_raised({**changed, "versions": {**pins["versions"], "measure": -1}})
        assert bool(raised) == whose.startswith("encoder")


def test_what_makes_numbers_is_found_and_texts_are_not() -> None:
    owned = {name: files for name, (_, files) in components().items()}
    assert {"retromem/measure/bits.py", "retromem/knowledge/knowledge_set.py"} <= owned["measure"]
    assert "models/product_keys.py" in owned["memory ffn"]
    assert "retrieval/vector_index.py" in owned["memory faiss"] & owned["memory hybrid"] & owned["memory paired"]
    assert not any(file.startswith("retromem/report/") for files in owned.values() for file in files)
    kept = ast.dump(code_of("retromem/panels/limits/overload.py"))
    assert "measure" in kept and "'page'" not in kept


if __name__ == "__main__":
    forgotten = not_raised(json.loads(PINS.read_text())) if PINS.exists() else []
    if forgotten and "--same" not in sys.argv[1:]:
        sys.exit(
            "not pinned; raise the versions of these, or say --same where no number changes:\n" + "\n".join(forgotten)
        )
    PINS.write_text(json.dumps(pinned_now(), indent=1, sort_keys=True) + "\n")
