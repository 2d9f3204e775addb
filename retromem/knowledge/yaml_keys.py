"""YAML whose keys are names: each the text that stands in the file, and each once."""

from collections.abc import Callable
from typing import Any

import yaml

from retromem.knowledge.names import tidied

_MERGE, _TEXT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"


class ConfigLoader(yaml.SafeLoader):
    """Values as YAML reads them, keys as the file spells them: 1, 01 and no are the names `1`, `01` and `no`.

    Of two values under one key YAML would take the last in silence. Keys are one when they become the same text (1 and
    "1", or é in one sign and in two), and when YAML reads them as equal (1 and 0x1, yes and on).
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        _refuse_twice(node, self._read_as)
        self.flatten_mapping(node)
        for place, (key, value) in enumerate(node.value):
            if isinstance(key, yaml.ScalarNode):
                name = yaml.ScalarNode(_TEXT, tidied(key.value), key.start_mark, key.end_mark)
                node.value[place] = name, value
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found

    def _read_as(self, key: yaml.ScalarNode) -> object:
        try:
            return None if key.tag == _TEXT else (self.construct_object(key, deep=True),)
        except (yaml.YAMLError, ValueError):  # a date that cannot be; as a name it can
            return None


class TextLoader(yaml.BaseLoader):
    """Every scalar as text: a relation called `no` or `1984` stays what it is. Each key once, quoted or not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        _refuse_twice(node, lambda key: None)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def _refuse_twice(node: yaml.MappingNode, read_as: Callable[[yaml.ScalarNode], object]) -> None:
    """MarkedYAMLError for a key that comes twice, by its text or by what it is read as (None is nothing)."""
    seen: set[object] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
            continue
        marks = {tidied(key.value), read_as(key)} - {None}
        if marks & seen:
            raise yaml.MarkedYAMLError(problem=f"{key.value!r} comes twice", problem_mark=key.start_mark)
        seen |= marks
