"""From a YAML file to frozen dataclasses: every mistake becomes one line that names the file and the key.

The dataclasses stand beside their owners and say it all: names, types, units, defaults. A config file overlays them,
dotted overrides (`studies.cities.seeds=[0]`) overlay the file.
"""

import json
import math
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from retrieval.errors import UserError
from retromem.knowledge.names import tidied
from retromem.knowledge.yaml_keys import ConfigLoader

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ByName:
    """In `Annotated[Base, ByName(...)]`: one of many dataclasses, told by one of its fields and loaded when named."""

    field: str
    """the first of each class: `panel`"""
    classes: Mapping[str, str]
    """`module:Class` by what that field says"""

    def load(self, name: str) -> type:
        """The class of this name."""
        module, _, cls = self.classes[name].partition(":")
        found: type = getattr(import_module(module), cls)
        return found


def read_config(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; UserError where it is missing, unreadable or no mapping."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), ConfigLoader)
    except FileNotFoundError:
        known = sorted(str(other) for other in Path("configs").glob("*.yaml"))
        hint = f"; the shipped ones are {', '.join(known)}" if known else ""
        raise UserError(f"{path}: there is no such config file{hint}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a YAML file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error.reason}); save the file as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{where}: is no valid YAML ({error.problem}); write `key: value` lines") from None
    except _UNREADABLE as error:
        raise UserError(f"{path}: is no valid YAML ({error}); write `key: value` lines") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: should hold `key: value` lines, but holds {_kind(content)}")
    return content


_UNREADABLE = (yaml.YAMLError, ValueError, RecursionError)  # ValueError: a date or a number that cannot be


RESOLVED = "config.yaml"
"""what a run keeps of its settings"""


def resolved_text(config: Any, name: str) -> str:
    """Every setting of a config dataclass as YAML, which `build` reads back as the same."""
    content = json.loads(json.dumps(asdict(config)))  # tuples as lists
    head = f"# Every setting of the run {name}, as resolved; `make report CONFIG=runs/{name}/{RESOLVED}` redoes it.\n"
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def apply_override(config: dict[str, Any], dotted: str, text: str) -> None:
    """Set `section.field` to a YAML value, in place. Numbers select an element of a list."""
    *parents, last = map(tidied, dotted.split("."))
    place: Any = config
    for depth, key in enumerate(parents):
        if isinstance(place, list):
            place = place[_element(place, key, dotted, parents[:depth])]
        else:
            place = place.setdefault(key, {})
        if not isinstance(place, dict | list):
            raise UserError(f"--{dotted}: {'.'.join(parents[: depth + 1])} is {_kind(place)} and has no fields")
    try:
        value = yaml.load(text, ConfigLoader)
    except _UNREADABLE:
        value = text
    place[_element(place, last, dotted, parents) if isinstance(place, list) else last] = value


def _element(place: list[Any], key: str, dotted: str, parents: Sequence[str]) -> int:
    if not key.isdecimal() or int(key) >= len(place):
        raise UserError(f"--{dotted}: {'.'.join(parents)} is a list of {len(place)} and has no element {key!r}")
    return int(key)


def build(cls: type[T], content: object, *, source: str, path: str = "") -> T:
    """`content` as an instance of a dataclass; UserError names source, dotted path and what would be right."""
    return _dataclass(cls, content, source, path)  # type: ignore[no-any-return]


_SCALARS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def _kind(value: object) -> str:
    names = {**_SCALARS, dict: "a mapping", list: "a list", type(None): "nothing"}
    return names.get(type(value), type(value).__name__)


def _fail(source: str, path: str, what: str) -> UserError:
    return UserError(f"{source}: {path or 'the top level'}: {what}")


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _dataclass(cls: Any, content: object, source: str, path: str) -> Any:
    if not isinstance(content, dict):
        raise _fail(source, path, f"should be a mapping of {', '.join(f.name for f in fields(cls))}, not {content!r}")
    hints = get_type_hints(cls, include_extras=True)
    known = {field.name: field for field in fields(cls)}
    for key in content:
        if key not in known:
            near = get_close_matches(str(key), known, n=1, cutoff=0.0)
            raise _fail(source, _join(path, key), f"is no such key; the nearest is {near[0]!r}")
    arguments = {key: _value(hints[key], value, source, _join(path, key)) for key, value in content.items()}
    for name, field in known.items():
        if name not in arguments and field.default is MISSING and field.default_factory is MISSING:
            raise _fail(source, _join(path, name), "is missing")
    try:
        return cls(**arguments)
    except (ValueError, UserError) as error:
        raise _fail(source, path, str(error)) from None


def _value(hint: Any, value: object, source: str, path: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _union(arguments, value, source, path)
    if origin is Annotated:
        _, by_name = arguments
        given = _named(by_name.field, tuple(by_name.classes), value, source, path)
        return _dataclass(by_name.load(given), value, source, path)
    if origin is Literal:
        if value not in arguments:
            near = get_close_matches(str(value), [str(a) for a in arguments], n=1, cutoff=0.0)
            allowed = ", ".join(map(str, arguments))
            raise _fail(source, path, f"{value!r} is none of {allowed}; the nearest is {near[0]!r}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _fail(source, path, f"should be a list, not {_kind(value)} ({value!r})")
        return tuple(_value(arguments[0], item, source, _join(path, row)) for row, item in enumerate(value))
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise _fail(source, path, f"should be a mapping, not {_kind(value)} ({value!r})")
        return {str(key): _value(arguments[1], item, source, _join(path, key)) for key, item in value.items()}
    if is_dataclass(hint):
        return _dataclass(hint, value, source, path)
    if hint is float and isinstance(value, int | str) and not isinstance(value, bool):  # YAML 1.1 reads 1e-2 as text
        with suppress(ValueError, OverflowError):
            value = float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise _fail(source, path, f"should be {_SCALARS[hint]}, not {_kind(value)} ({value!r})")
    if isinstance(value, int | float) and not 0 <= value < math.inf:  # no field wants another, and nan is refused too
        raise _fail(source, path, f"should be {_SCALARS[hint]}, 0 or more, not {value}")
    bits = 63 if any("seed" in part for part in path.split(".")[-2:]) else 40
    if isinstance(value, int | float) and value >= 2**bits:  # torch, NumPy or FAISS could not take it
        raise _fail(source, path, f"should be {_SCALARS[hint]} below 2^{bits}, not {value}")
    return value


def _union(choices: Sequence[Any], value: object, source: str, path: str) -> Any:
    """`X | None`, or dataclasses told apart by the Literal of their first field."""
    if type(None) in choices:
        if value is None:
            return None
        choices = [choice for choice in choices if choice is not type(None)]
        if len(choices) == 1:
            return _value(choices[0], value, source, path)
    tag = fields(choices[0])[0].name
    by_name = {name: choice for choice in choices for name in get_args(get_type_hints(choice)[tag])}
    return _dataclass(by_name[_named(tag, tuple(by_name), value, source, path)], value, source, path)


def _named(tag: str, names: tuple[str, ...], value: object, source: str, path: str) -> Any:
    """Which of the classes a mapping names in this field."""
    if not isinstance(value, dict):
        raise _fail(source, path, f"should be a mapping with `{tag}:`, not {_kind(value)} ({value!r})")
    if tag not in value:
        raise _fail(source, _join(path, tag), f"is missing; it is one of {', '.join(names)}")
    return _value(Literal[names], value[tag], source, _join(path, tag))
