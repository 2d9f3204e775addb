"""The tables of classes that a config can name: each class answers to the names that it is listed under."""

from dataclasses import fields, replace
from typing import get_args, get_type_hints

import pytest

from models.any_ffn import FFN_KINDS, FFNConfig
from retromem.configuration import load
from retromem.knowledge.sources import SOURCES, KnowledgeSource
from retromem.memories.memory_configs import MEMORIES
from retromem.panels.any_panel import PANELS
from retromem.panels.panel_config import PanelConfig
from retromem.seam import MemoryConfig

TABLES = {
    "kind": (FFN_KINDS, FFNConfig),
    "memory": (MEMORIES, MemoryConfig),
    "source": (SOURCES, KnowledgeSource),
    "panel": (PANELS, PanelConfig),
}


@pytest.mark.parametrize("tag", TABLES)
def test_each_class_is_listed_under_the_very_names_that_its_field_allows(tag: str) -> None:
    table, base = TABLES[tag]
    for name in dict.fromkeys(table.values()):
        cls = load(name)
        listed = [kind for kind, named in table.items() if named == name]
        assert set(get_args(get_type_hints(cls)[tag])) == set(listed), name
        assert cls.__dataclass_params__.frozen, name
        wanted = [kind for kind in vars(base) if not kind.startswith("_")]
        assert all(hasattr(cls, part) or part in {field.name for field in fields(cls)} for part in wanted), name


@pytest.mark.parametrize("memory", MEMORIES)
def test_every_memory_can_be_called_by_another_name_which_is_no_part_of_it(memory: str) -> None:
    plain = load(MEMORIES[memory])()
    called = replace(plain, called="mine")
    assert called.name == called.searched_name == "mine" and plain.name != "mine"
    assert called.saved() == plain.saved() and "called" not in plain.saved()
    assert called.family == plain.family, "families are told apart as before"
