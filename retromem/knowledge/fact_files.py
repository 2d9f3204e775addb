"""Facts from the user's own file or folder, or from a data set.

Everything a user can get wrong there ends in one line that names the file and the 1-based line or row of it.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from retrieval.errors import UserError
from retromem.knowledge.arrow_rows import Labels, parquet_rows, with_names
from retromem.knowledge.cell_text import cell_text, short
from retromem.knowledge.fact_columns import REQUIRED, Columns, Row, columns_of, listed
from retromem.knowledge.fact_datasets import HUB, dataset_rows, is_saved, parse_reference
from retromem.knowledge.fact_table import FactRow, FactTable, clean
from retromem.knowledge.json_rows import json_rows
from retromem.knowledge.names import tidied
from retromem.knowledge.separated_rows import separated_rows
from retromem.knowledge.text_files import PACKED, decoded, files_below, read_bytes, unpacked_name

_SIGN_OF = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
_JSON = (".json", ".jsonl", ".ndjson")
_KINDS = (*_SIGN_OF, *_JSON, ".parquet")
_WHOLE_FLOAT = re.compile(r"-?\d+\.0")


def source_name(source: Path | str) -> str:
    """What facts are called after the place where they lie."""
    if str(source).startswith(HUB):
        return parse_reference(str(source)).name
    path = Path(source)
    return path.resolve().name if os.path.isdir(path) else Path(unpacked_name(path.name)).stem


def read_facts(
    source: Path | str, *, columns: Mapping[str, str] | None = None, several_values: bool = False
) -> FactTable:
    """The facts of a file (CSV, TSV, JSON lines, a JSON list or Parquet; .gz, .bz2, .xz, .zst or as it is), of a folder
    of such files of one kind, or of `hf:org/name[:config][@split]`.

    Each has a subject, a relation and a value and, where wanted, popularity and aliases (a list, or names separated by
    `|`). `columns` says what a column is called in the file: {"subject": "name_in_file"}, or which one it is where no
    line names them: {"subject": "1"}, or gives one text for all rows: {"relation": '"capital of"'}. Further columns
    are ignored and named in `notes`. A cell is the text that stands there; null and NaN are an empty one. JSON numbers
    are taken as the file spells them. Popularity is given in all rows or in none. What `clean` leaves out is counted
    in `dropped`; with `several_values` it keeps all values of a subject.

    Raises UserError naming the file, and the line where there is one.
    """
    place = columns_of(columns or {})
    records, remarks = _records(source, place)
    rows: list[FactRow] = []
    found: dict[str, None] = {}  # a set in the order of the file
    first, num_whole_floats = "", 0
    for where, record in records:
        first = first or where
        subject, relation, value = (
            cell_text(place.cell(record, ours), where, place.names.get(ours, ours)) for ours in REQUIRED
        )
        row = FactRow(
            subject=subject,
            relation=relation,
            value=value,
            popularity=_popularity(record, where, place),
            aliases=_aliases(record, where, place),
        )
        if rows and (row.popularity is None) != (rows[0].popularity is None):
            raise UserError(
                f"{where}: '{place.names['popularity']}' is given in some lines only; give it in all lines or in none"
            )
        num_whole_floats += any(_WHOLE_FLOAT.fullmatch(cell) for cell in (subject, value))
        rows.append(row)
        found.update(dict.fromkeys(record))
    if not rows:
        raise UserError(f"{source} has no facts; give at least one row of {', '.join(REQUIRED)}")
    place.require(first, list(found))
    if not place.has_header:
        first_fact = (rows[0].subject, rows[0].relation, rows[0].value)
        remarks.append(f"columns by their places: the first fact is {', '.join(map(repr, first_fact))}")
    unused = [column for column in found if column not in place.names.values()]
    if unused:
        remarks.append(f"columns that were not used: {listed(unused)}")
    if num_whole_floats:
        remarks.append(
            f"{num_whole_floats:,} rows hold a number such as 1990.0, as tables write whole numbers beside empty "
            "cells; save the column as text or whole numbers where 1990 is meant"
        )
    return clean(
        rows, name=source_name(source), source=str(source), notes=tuple(remarks), several_values=several_values
    )


def _records(source: Path | str, columns: Columns) -> tuple[Iterator[Row], list[str]]:
    """Every row of a source, and remarks on what was not read."""
    if str(source).startswith(HUB):
        reference = parse_reference(str(source))
        if Path(reference.place).is_file():
            return _file_rows(reference.place, columns), []
        return dataset_rows(reference, columns, _file_rows, _is_table)
    path = Path(source)
    if not os.path.isdir(path):  # pathlib raises for a name that is too long
        return _file_rows(str(path), columns), []
    if is_saved(path):
        return dataset_rows(parse_reference(f"{HUB}{path}"), columns, _file_rows, _is_table)
    files = [file for file in files_below(path) if not any(p.startswith("_") for p in file.relative_to(path).parts)]
    tables = [file for file in files if _is_table(file.name) and file.is_file()]
    tables = [file for file in tables if _kind_of(file.name) != ".txt"] or tables  # a note, where there are others
    kinds = sorted({_kind_of(file.name) for file in tables})
    if len(kinds) != 1:
        raise UserError(
            f"{path}: is a folder with {' and '.join(kinds) or 'no'} files of facts; give one file, or a folder of "
            f"one kind ({', '.join(_KINDS)})"
        )
    others = [_seen(file, path) for file in files if file not in tables]
    remarks = [f"files of the folder that were not read: {listed(others)}"] if others else []
    return (row for file in tables for row in _file_rows(str(file), columns)), remarks


def _seen(file: Path, folder: Path) -> str:
    dead = "" if file.exists() else " (a dead link)"
    return f"{file.relative_to(folder).as_posix()}{dead}"


def _kind_of(name: str) -> str:
    """`.csv` of `facts.CSV.gz`."""
    return Path(unpacked_name(name)).suffix.lower()


def _is_table(name: str) -> bool:
    return _kind_of(name) in _KINDS


def _file_rows(file: str, columns: Columns, labels: Labels | None = None) -> Iterator[Row]:
    """Every row of one file."""
    kind = _kind_of(file)
    if kind == ".parquet":
        yield from parquet_rows(file, columns, labels or {})
        return
    if not _is_table(file):
        raise UserError(
            f"{file}: the name of a facts file must end in {', '.join(_KINDS)}, packed ({', '.join(PACKED)}) or not"
        )
    text = decoded(read_bytes(file), file)
    rows = json_rows(file, text, columns) if kind in _JSON else separated_rows(file, text, columns, sign=_SIGN_OF[kind])
    yield from with_names(rows, labels or {})


def _popularity(record: Mapping[str, object], where: str, columns: Columns) -> float | None:
    column = columns.names.get("popularity", "popularity")
    text = cell_text(record.get(column), where, column).strip()
    if not text:
        return None
    try:
        popularity = float(text)
    except ValueError:
        popularity = -1.0
    if math.isnan(popularity):  # as empty as NaN is in a Parquet file
        return None
    if not (0 <= popularity < math.inf):
        raise UserError(f"{where}: '{column}' is '{short(text)}'; give a number that is 0 or more")
    return popularity


def _aliases(record: Mapping[str, object], where: str, columns: Columns) -> tuple[str, ...]:
    column = columns.names.get("aliases", "aliases")
    cell = record.get(column)
    if isinstance(cell, list):
        return tuple(tidied(cell_text(alias, where, column)) for alias in cell)
    return tuple(tidied(part) for part in cell_text(cell, where, column).split("|") if part.strip())
