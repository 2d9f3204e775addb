"""From a YAML file to frozen dataclasses: every mistake becomes one line that names the file and the key.

The dataclasses stand beside their owners and say it all: names, types, units, defaults. A config file overlays them,
dotted overrides (`studies.cities.seeds=[0]`) overlay the file.
"""

import json
import math
import re
import sys
import types
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from retrieval.errors import UserError
from retromem.knowledge.names import tidied
from retromem.knowledge.yaml_keys import ConfigLoader

T = TypeVar("T")


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


def set_known(content: dict[str, Any], dotted: str, value: object, *, source: str) -> None:
    """Set a setting that is there, in place; UserError, which begins with `source`, where it is not.

    What was left to its defaults (None) becomes a mapping, whose fields are checked when it is built.
    """
    place: Any = content
    keys = dotted.split(".")
    for depth, key in enumerate(keys):
        at = ".".join(keys[:depth]) or "the study"
        if isinstance(place, list):
            if not key.isdecimal() or int(key) >= len(place):
                raise UserError(f"{source}: {dotted}: {at} is a list of {len(place)} and has no element {key!r}")
        elif not isinstance(place, dict) or (place and key not in place):
            near = get_close_matches(key, place, n=1, cutoff=0.0) if isinstance(place, dict) else []
            hint = f"; the nearest is {near[0]!r}" if near else ""
            raise UserError(f"{source}: {dotted}: {at} has no setting {key!r}{hint}")
        here: Any = int(key) if isinstance(place, list) else key
        if depth == len(keys) - 1:
            place[here] = value
        elif isinstance(place, dict) and place.get(here) is None:
            place[here] = {}
        place = place[here]


def at(content: Any, dotted: str) -> Any:
    """The value of a setting that is there."""
    for key in dotted.split("."):
        content = content[int(key)] if isinstance(content, list | tuple) else content[key]
    return content


def classes_named(content: object) -> frozenset[str]:
    """Every `module:Class` among these settings."""
    if isinstance(content, Mapping):
        return frozenset().union(*map(classes_named, content.values()))
    if isinstance(content, list | tuple):
        return frozenset().union(*map(classes_named, content))
    return frozenset({content} if isinstance(content, str) and _OUTSIDE.fullmatch(content) else ())


def _element(place: list[Any], key: str, dotted: str, parents: Sequence[str]) -> int:
    if not key.isdecimal() or int(key) >= len(place):
        raise UserError(f"--{dotted}: {'.'.join(parents)} is a list of {len(place)} and has no element {key!r}")
    return int(key)


@dataclass(frozen=True)
class _Source:
    """Where settings come from, as messages name it."""

    name: str
    may_name_classes: bool | Collection[str]

    def may_name(self, name: str) -> bool:
        allowed = self.may_name_classes
        return allowed if isinstance(allowed, bool) else name in allowed


def build(cls: type[T], content: object, *, source: str, may_name_classes: bool | Collection[str] = False) -> T:
    """`content` as an instance of a dataclass; UserError names source, dotted path and what would be right.

    `may_name_classes`: `memory: my_package.my_memory:Config` imports that class, or only those named here. Of configs
    that a user has written alone: never of what a store or a run has saved, which would run whatever code its sender
    wants.
    """
    return _dataclass(cls, content, _Source(source, may_name_classes), "")  # type: ignore[no-any-return]


_SCALARS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def _kind(value: object) -> str:
    names = {**_SCALARS, dict: "a mapping", list: "a list", type(None): "nothing"}
    return names.get(type(value), type(value).__name__)


def _fail(source: _Source, path: str, what: str) -> UserError:
    return UserError(f"{source.name}: {path or 'the top level'}: {what}")


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _dataclass(cls: Any, content: object, source: _Source, path: str) -> Any:
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


def _value(hint: Any, value: object, source: _Source, path: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _union(arguments, value, source, path)
    if origin is Annotated:
        base, tag, table = arguments
        return _dataclass(_named_class(base, tag, load(table), value, source, path), value, source, path)
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
    if hint is object:  # of a setting that is checked where it is set
        return value
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


def _union(choices: Sequence[Any], value: object, source: _Source, path: str) -> Any:
    """`X | None`."""
    (choice,) = [choice for choice in choices if choice is not type(None)]
    return None if value is None else _value(choice, value, source, path)


def is_of_others(thing: object) -> bool:
    """Whether its class is a user's, which no test of ours has seen."""
    return type(thing).__module__.partition(".")[0] not in ("models", "retrieval", "retromem")


def load(name: str) -> Any:
    """What a `module:Name` names. ImportError or AttributeError where there is none."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def _named_class(base: Any, tag: str, classes: Mapping[str, str], value: object, source: _Source, path: str) -> type:
    """What a mapping names in the field `tag`: one of our classes by its name, or one of the user's as
    `module:Class`."""
    if not isinstance(value, dict):
        raise _fail(source, path, f"should be a mapping with `{tag}:`, not {_kind(value)} ({value!r})")
    if tag not in value:
        raise _fail(source, _join(path, tag), f"is missing; it is one of {', '.join(classes)}")
    name = value[tag]
    if isinstance(name, str) and ":" in name and not _OUTSIDE.fullmatch(name):
        raise _fail(source, _join(path, tag), f"{name!r} should read module:Class, such as my_package.my_memory:Config")
    if isinstance(name, str) and "." in name and ":" not in name:
        raise _fail(
            source, _join(path, tag), f"{name!r} is none of {', '.join(classes)}; a class of yours is module:Class"
        )
    if not (isinstance(name, str) and ":" in name):
        found: type = load(classes[_value(Literal[tuple(classes)], name, source, _join(path, tag))])
        return found
    # What the program has imported itself runs no code of the file's.
    if not source.may_name(name) and name.partition(":")[0] not in sys.modules:
        raise _fail(
            source,
            _join(path, tag),
            f"{name!r} is no {tag} of retromem's, and what was saved may name no class: use your own config",
        )
    try:
        found = load(name)
    except (Exception, SystemExit) as error:  # whatever the user's module does while it is imported
        told = f"{type(error).__name__}: {error}"
        where = "install its package into .venv, or name its folder in PYTHONPATH"
        hint = f"; {where}" if isinstance(error, ModuleNotFoundError) else ""
        raise _fail(source, _join(path, tag), f"cannot import {name} ({told}){hint}") from None
    lacks = _lacking(found, base, tag)
    if lacks:
        wanted = f"{base.__module__}.{base.__qualname__}"
        raise _fail(source, _join(path, tag), f"{name} is no {wanted}: it {lacks} (docs/extending.md)")
    return found


_OUTSIDE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def _is_setting(hint: Any) -> bool:
    """Whether a config can give a field of this type."""
    if get_origin(hint) is tuple:
        item, *more = get_args(hint)
        return more == [...] and _is_setting(item)
    if get_origin(hint) in (Union, types.UnionType):
        one, *others = [choice for choice in get_args(hint) if choice is not type(None)]
        return not others and _is_setting(one)
    return hint in _SCALARS or get_origin(hint) in (Literal, Annotated, ClassVar) or is_dataclass(hint)


def _lacking(found: Any, base: Any, tag: str) -> str:
    """What keeps a class of the user's from standing in the place of `base`; empty where nothing does."""
    if not (isinstance(found, type) and is_dataclass(found)):
        return "should be a frozen dataclass"
    try:
        hints = get_type_hints(found, include_extras=True)
    except Exception as error:  # an annotation in quotes that names nothing
        return f"has annotations that cannot be read ({error})"
    for field in fields(found):
        if not _is_setting(hint := hints[field.name]):
            return (
                f"should have settings of plain types, and {field.name} is {hint} (int, float, str, bool, Literal, "
                "another frozen dataclass, tuple[X, ...] or X | None)"
            )
    if not found.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return "should be a frozen dataclass: its fields name the result"
    has = {field.name for field in fields(found)}
    if tag not in has:
        return f"should have a field `{tag}: str`, which keeps this name"
    if abstract := getattr(found, "__abstractmethods__", ()):
        return f"lacks {', '.join(sorted(abstract))}"
    if not getattr(base, "_is_protocol", False):
        return "" if issubclass(found, base) else "should build on it"
    wanted = [name for name in {**base.__annotations__, **vars(base)} if not name.startswith("_")]
    missing = [name for name in wanted if name not in has and not hasattr(found, name)]
    return f"lacks {', '.join(missing)}" if missing else ""
