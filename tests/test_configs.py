"""Every shipped config is read against the dataclasses and planned; the quickstart keeps what it promises."""

import ast
import inspect
import json
import re
from collections.abc import Iterable
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import pytest

from retromem.configuration import RESOLVED, apply_override, build, load, read_config, resolved_text
from retromem.panels.panel_config import PanelConfig
from retromem.run.cells import Cell, plan
from retromem.run.experiment import ExperimentConfig
from retromem.run.panel_cells import plan_panels
from retromem.run.run_cell import texts_of

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
TAGS = ("memory", "kind", "panel", "source")
"""fields that say which class it is"""
SELF_EXPLAINING = {"title", "question", "source", "role", "seeds", "panel"}


def experiment(path: Path, facts: Path | None = None) -> ExperimentConfig:
    content = read_config(path)
    for study, part in content.get("studies", {}).items():
        if part["knowledge"]["source"] == "file":
            assert facts is not None
            apply_override(content, f"studies.{study}.knowledge.file", json.dumps(str(facts)))
    return build(ExperimentConfig, content, source=str(path))


@pytest.fixture(scope="module")
def quickstart() -> list[Cell]:
    (path,) = [path for path in CONFIGS if path.stem == "quickstart"]
    return plan(experiment(path), encoder_hash="any", text_dim=384)


def test_the_configs_that_the_commands_name_are_there() -> None:
    assert {"quickstart", "own_facts", "keys", "cities_8k"} <= {path.stem for path in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_read_and_planned(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = tmp_path / "facts.jsonl"
    lines = [{"subject": f"Town {n}", "relation": "country", "value": f"Land {n % 3}"} for n in range(60)]
    facts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = experiment(path, facts)
    kept = tmp_path / RESOLVED
    kept.write_text(resolved_text(config, path.stem))
    assert build(ExperimentConfig, read_config(kept), source="kept") == config
    cells = plan(config, encoder_hash="any", text_dim=384)
    assert {cell.study for cell in cells} == set(config.studies)
    assert any(cell.role == "arm" for cell in cells) or not cells
    monkeypatch.chdir(tmp_path)
    for panel in config.panels.values():
        for file in (file for files in panel.files_read().values() for file in files):
            file.parent.mkdir(exist_ok=True)
            file.write_text("what a cell is named by, and nothing else here")
    panels = plan_panels(config.panels, encoder_hash="any", encoder=config.encoder)
    assert {cell.name for cell in panels} == set(config.panels)
    assert cells or panels
    assert len({cell.folder_name for cell in (*cells, *panels)}) == len(cells) + len(panels)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_field_is_commented_or_explains_itself(path: Path) -> None:
    pattern = re.compile(r"^ *(\w+): *([^#\n]*?) *(#.*)?$", re.MULTILINE)
    texts = [other.read_text() for other in CONFIGS]
    commented = {key for text in texts for key, _, comment in pattern.findall(text) if comment}
    own = {key for key, value, _ in pattern.findall(path.read_text()) if value}
    # A panel is called by what it asks, a published size by its index.
    panels = read_config(path).get("panels", {})
    indexes = {name for panel in panels.values() for name in panel.get("bytes_of", ())}
    assert own - commented - SELF_EXPLAINING - set(panels) - indexes == set()
    assert path.read_text().startswith("# ")


def config_classes(hint: Any, seen: set[type]) -> set[type]:
    """The dataclass and all that it is made of."""
    inner: Iterable[Any] = get_args(hint)
    if is_dataclass(hint):
        assert isinstance(hint, type)
        inner = () if hint in seen else get_type_hints(hint, include_extras=True).values()
        seen.add(hint)
    elif get_origin(hint) is Annotated:
        inner = map(load, load(hint.__metadata__[1]).values())
    for part in inner:
        config_classes(part, seen)
    return seen


@pytest.mark.parametrize("cls", sorted(config_classes(ExperimentConfig, set()), key=lambda cls: cls.__name__))
def test_every_field_of_a_config_has_its_docstring(cls: type) -> None:
    (body,) = [node.body for node in ast.parse(inspect.getsource(cls)).body if isinstance(node, ast.ClassDef)]
    hints = get_type_hints(cls)
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            hint = hints[node.target.id]
            if get_origin(hint) is ClassVar:
                continue  # no setting, and said in the seam
            if issubclass(cls, PanelConfig) and node.target.id in PanelConfig.__annotations__:
                continue  # said there
            if get_origin(hint) is Literal and (node.target.id in TAGS or len(get_args(hint)) == 1):
                continue  # which kind it is
            explained = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            assert explained, f"{cls.__name__}.{node.target.id} says nothing of itself"


def test_quickstart_searches_both_sides_by_one_rule(quickstart: list[Cell]) -> None:
    """For each goal as many families, the same sizes, seeds and resolution; on the twin."""
    searched = [cell for cell in quickstart if cell.smallest is not None]
    assert len({cell.knowledge_hash for cell in searched}) == 1
    goals = {cell.smallest for cell in searched}
    assert {(goal.phrasing, goal.accuracy, goal.resolution) for goal in goals if goal} == {
        ("identical", 0.99, 0.05), ("heldout", 0.95, 0.05)
    }  # fmt: skip
    for goal in goals:
        of_goal = [cell for cell in searched if cell.smallest == goal]
        assert all(cell.twin and cell.role == "arm" for cell in of_goal)
        sides = [[cell for cell in of_goal if cell.memory.memory == side] for side in ("ffn", "faiss")]
        assert len(of_goal) == sum(map(len, sides))
        settings = [sorted((cell.num_facts, cell.seed) for cell in side) for side in sides]
        assert settings[0] == settings[1] and len({size for size, _ in settings[0]}) >= 3
        assert {seed for _, seed in settings[0]} == {0, 1, 2} and max(settings[0])[0] == 4000
        assert all(cell.memory.stores == "questions" for side in sides for cell in side)


def test_quickstart_shows_ffn_kinds_and_what_people_use_beside(quickstart: list[Cell]) -> None:
    names = {cell.name for cell in quickstart if cell.smallest is None}
    assert {name.split("-")[1] for name in names if name.startswith("ffn-")} == {"relu", "gelu", "swiglu"}
    for code in ("Flat", "RaBitQ"):
        assert any(name.startswith("faiss-q") and code in name for name in names)
    assert any(name.startswith("faiss-s") for name in names)
    assert {"floor", "control"} <= {cell.role for cell in quickstart}


@pytest.mark.slow
def test_quickstart_encodes_at_most_13_500_texts(quickstart: list[Cell]) -> None:
    texts = texts_of(quickstart)
    assert len(texts) == len(set(texts))
    assert 1000 < len(texts) <= 13_500
