"""docs/settings.md has every setting of a config, docs/columns.md every column of a CSV, as the code has them.

python tests/test_settings_page.py    write the pages anew
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)] if __name__ == "__main__" else []

from retromem.configuration import load  # noqa: E402
from retromem.panels.points import Point  # noqa: E402
from retromem.rows import CapacityRow, ReproducedRow, Row, SmallestRow  # noqa: E402
from retromem.run.experiment import ExperimentConfig  # noqa: E402

PAGE = ROOT / "docs" / "settings.md"
COLUMNS_PAGE = ROOT / "docs" / "columns.md"
FILES = {
    "results.csv": (
        Row,
        "One line a memory, number of facts, seed, twin and kind of question. Behind these columns stand the settings "
        "that differ between rows, by dotted path (`memory.training.steps`, `memory_version`, `encoder_hash`), and "
        "`sweep.x` of a sweep over x.",
    ),
    "smallest.csv": (
        SmallestRow,
        "One line a family, number of facts, seed and goal of a search; of `tried` the settings: `settings_tried`.",
    ),
    "capacity.csv": (
        CapacityRow,
        "One line a memory and seed: the most facts that it held; last comes `bits_per_param`.",
    ),
    "published.csv": (ReproducedRow, "One line a published number."),
    "points.csv": (Point, "One line a point of a panel; `panel` is its name."),
}
TAGS = ("memory", "kind", "panel", "source")


def dataclasses_in(hint: Any) -> Iterator[type]:
    """Dataclasses that a type hint names, in its order."""
    if isinstance(hint, type) and is_dataclass(hint) and not inspect.isabstract(hint):
        yield hint
    for part in get_args(hint):
        yield from dataclasses_in(part)
    if get_origin(hint) is Annotated:  # the table of the classes that a name stands for
        yield from dict.fromkeys(map(load, load(hint.__metadata__[1]).values()))


def reached() -> list[type]:
    """Everything that a config file can hold, each after what holds it first."""
    found: list[type] = []

    def visit(config: type) -> None:
        found.append(config)
        hints = get_type_hints(config, include_extras=True)
        for field in fields(config):
            for part in dataclasses_in(hints[field.name]):
                if part not in found:
                    visit(part)

    visit(ExperimentConfig)
    return found


def docstrings(config: type) -> dict[str, str]:
    """What stands below each field, in the class and in those it builds on."""
    found: dict[str, str] = {}
    for one in reversed(config.__mro__):
        if not is_dataclass(one):
            continue
        (tree,) = ast.parse(inspect.cleandoc("\n" + inspect.getsource(one))).body
        assert isinstance(tree, ast.ClassDef)
        for line, after in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(after, ast.Expr):
                found[line.target.id] = " ".join(ast.literal_eval(after.value).split())
    return found


def default_of(field: Any) -> str:
    if field.default is not MISSING:
        value = field.default
    elif field.default_factory is not MISSING:
        value = field.default_factory()
    else:
        return ""
    return f"`{named(value)}`"


def named(value: Any) -> str:
    """As a reader of the config would write it; a dataclass by its settings that are not the defaults."""
    if is_dataclass(value) and not isinstance(value, type):
        plain = {field.name: field.default for field in fields(value)}
        own = {name: getattr(value, name) for name in plain if getattr(value, name) != plain[name]}
        tag = [getattr(value, name) for name in TAGS if hasattr(value, name)]
        return f"{{{', '.join([*map(str, tag), *(f'{name}: {named(one)}' for name, one in own.items())])}}}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {named(one)}' for key, one in value.items())}}}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(named, value))}]"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def told_apart(config: type) -> str:
    """The line by which a config file names this one among others."""
    for name, hint in get_type_hints(config).items():
        if get_origin(hint) is Literal and name in TAGS:
            return f"`{name}: {' | '.join(map(str, get_args(hint)))}`. "
    return ""


def page() -> str:
    lines = [
        "# Every setting",
        "",
        "Written by `python tests/test_settings_page.py`. A config file overlays these; empty: it must be given.",
    ]
    for config in reached():
        about = inspect.getdoc(config) or ""
        where = config.__module__.replace(".", "/") + ".py"
        lines += ["", f"## {config.__name__}", "", told_apart(config) + " ".join(about.split("\n\n")[0].split())]
        lines += [f"In [{where}](../{where}).", ""]
        lines += ["| setting | default | what it is |", "|---|---|---|"]
        told = docstrings(config)
        for field in fields(config):
            if field.name in TAGS and len(get_args(get_type_hints(config)[field.name])) == 1:
                continue
            what = told.get(field.name, "").replace("|", "\\|")
            lines.append(f"| `{field.name}` | {default_of(field).replace('|', chr(92) + '|')} | {what} |")
    return "\n".join(lines) + "\n"


def columns_page() -> str:
    """A column that several files have is described where it stands in results.csv."""
    lines = [
        "# Every column",
        "",
        "Written by `python tests/test_settings_page.py`. Empty: not defined or not known, never 0. Bits are base 2,",
        "bytes 8 bits; units are in the names.",
    ]
    known = docstrings(Row)
    for file, (row, about) in FILES.items():
        lines += ["", f"## {file}", "", fill(about, 120), "", "| column | what it is |", "|---|---|"]
        told = docstrings(row)
        for field in fields(row):
            what = told.get(field.name) or known.get(field.name, "")
            lines.append(f"| `{field.name}` | {what.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def test_the_page_of_columns_is_what_the_code_says() -> None:
    assert COLUMNS_PAGE.read_text(encoding="utf-8") == columns_page(), "run `python tests/test_settings_page.py`"
    empty = [line for line in columns_page().splitlines() if line.endswith("|  |")]
    assert empty == [], "every column says what it is"


def test_the_page_of_settings_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python tests/test_settings_page.py`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    COLUMNS_PAGE.write_text(columns_page(), encoding="utf-8")
