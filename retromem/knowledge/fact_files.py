"""Facts from the user's own file: JSONL or CSV, gzipped or not, or Parquet; or from a data set of the hub.

Everything a user can get wrong there ends in one line that names the file and the 1-based line of it.
"""

import csv
import difflib
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from retrieval.errors import UserError
from retromem.knowledge.fact_datasets import HUB, Row, dataset_name, dataset_rows, parquet_rows
from retromem.knowledge.fact_table import FactRow, FactTable, clean

REQUIRED = ("subject", "relation", "value")
OPTIONAL = ("popularity", "aliases")

_GZIP_MAGIC = b"\x1f\x8b"


def read_text(path: Path) -> str:
    """A UTF-8 file as text, unpacked when its content is gzip, without a byte-order mark.

    Raises UserError for a file that is missing, a folder, unreadable, damaged gzip or not UTF-8.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; give a file in it") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if content.startswith(_GZIP_MAGIC):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            raise UserError(f"{path} is a damaged or truncated gzip file; make or fetch it again") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        line = before.count(b"\n") + 1
        raise UserError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from None


def did_you_mean(name: str, known: list[str]) -> str:
    """'; did you mean 'x'?' for the nearest of the known names, '' where none is near."""
    by_fold = {candidate.casefold(): candidate for candidate in known}
    nearest = difflib.get_close_matches(name.casefold(), by_fold, n=1)
    return f"; did you mean '{by_fold[nearest[0]]}'?" if nearest else ""


def read_facts(source: Path | str, *, columns: Mapping[str, str] | None = None) -> FactTable:
    """The facts of a `.jsonl` or `.csv` file (`.gz` or not), of a `.parquet` file or of `hf:org/name[:config][@split]`,
    with columns subject, relation, value and, where wanted, popularity and aliases (a list, or names separated by `|`).

    `columns` says what a column is called in the file: {"subject": "name_in_file"}. Further columns are ignored and
    named in `notes`. CSV cells are text as they stand: no cell means null. JSON numbers are taken as the file spells
    them. Popularity is given in all rows or in none. What `clean` leaves out is counted in `dropped`.

    Raises UserError naming the file, and the line where there is one.
    """
    columns = columns or {}
    for field in columns:
        if field not in REQUIRED + OPTIONAL:
            near = did_you_mean(field, [*REQUIRED, *OPTIONAL])
            raise UserError(f"columns: '{field}' is none of {', '.join(REQUIRED + OPTIONAL)}{near}")
    names = {field: columns.get(field, field) for field in REQUIRED + OPTIONAL}
    required = [names[field] for field in REQUIRED]

    name, records = _records(source, required)
    rows: list[FactRow] = []
    found: dict[str, None] = {}  # a set in the order of the file
    for where, record in records:
        row = FactRow(
            subject=_text(record[names["subject"]], where, names["subject"]),
            relation=_text(record[names["relation"]], where, names["relation"]),
            value=_text(record[names["value"]], where, names["value"]),
            popularity=_popularity(record.get(names["popularity"]), where, names["popularity"]),
            aliases=_aliases(record.get(names["aliases"]), where, names["aliases"]),
        )
        if rows and (row.popularity is None) != (rows[0].popularity is None):
            raise UserError(
                f"{where}: '{names['popularity']}' is given in some lines only; give it in all lines or in none"
            )
        rows.append(row)
        found.update(dict.fromkeys(record))
    if not rows:
        raise UserError(f"{source} has no facts; give at least one row of {', '.join(REQUIRED)}")
    _require(str(source), [names[field] for field in OPTIONAL if field in columns], list(found))
    unused = [column for column in found if column not in names.values()]
    notes = (f"columns that were not used: {_listed(unused)}",) if unused else ()
    return clean(rows, name=name, source=str(source), notes=notes)


def _records(source: Path | str, required: list[str]) -> tuple[str, Iterator[Row]]:
    """Name of the source, and its rows."""
    if str(source).startswith(HUB):
        return dataset_name(str(source)), _with(required, dataset_rows(str(source)))
    path = Path(source)
    inner = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    kind = inner.suffix.lower()
    if kind == ".parquet" and inner == path:
        return path.stem, _with(required, parquet_rows(path))
    if kind not in (".jsonl", ".csv"):
        raise UserError(
            f"{path}: the name of a facts file must end in .jsonl or .csv, or in one of these and .gz, or in .parquet"
        )
    text = read_text(path)
    if not text.strip():
        raise UserError(f"{path} is empty; give at least one fact with {', '.join(REQUIRED)}")
    of_kind = _csv_records if kind == ".csv" else _jsonl_records
    return inner.stem, ((f"{path}, line {line}", record) for line, record in of_kind(path, text, required))


def _with(required: list[str], rows: Iterator[Row]) -> Iterator[Row]:
    for where, record in rows:
        _require(where, required, list(record))
        yield where, record


def _listed(names: list[str], most: int = 12) -> str:
    shown = ", ".join(_short(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _short(value: object, most: int = 40) -> str:
    text = str(value)
    return text if len(text) <= most else f"{text[:most]}..."


def _require(where: str, required: list[str], found: list[str]) -> None:
    missing = [name for name in required if name not in found]
    if not missing:
        return
    near = did_you_mean(missing[0], found)
    if len(found) == 1 and any(separator in found[0] for separator in ";\t"):
        near = "; separate the columns by commas"
    label = "column" if len(missing) == 1 else "columns"
    raise UserError(f"{where}: {label} {', '.join(map(repr, missing))} missing, found {_listed(found) or 'none'}{near}")


def _csv_records(path: Path, text: str, required: list[str]) -> Iterator[tuple[int, Mapping[str, object]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    while True:
        line = reader.line_num + 1  # of the row's first line: a quoted cell may span several
        where = f"{path}, line {line}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UserError(
                f"{where}: not a CSV row ({error}); close every quoted cell, and double the quotes inside it"
            ) from None
        if cells is None:
            return
        if not cells:
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            _require(where, required, header)
            for name in header:
                if header.count(name) > 1 and name:
                    raise UserError(f"{where}: two columns are called '{name}'; rename one of them")
            continue
        if len(cells) != len(header):
            raise UserError(
                f"{where}: {len(cells)} cells where the header has {len(header)}; quote cells that hold a comma"
            )
        yield line, {name: cell for name, cell in zip(header, cells, strict=True) if name}


def _jsonl_records(path: Path, text: str, required: list[str]) -> Iterator[tuple[int, Mapping[str, object]]]:
    for line, content in enumerate(io.StringIO(text, newline=""), start=1):
        if not content.strip():
            continue
        where = f"{path}, line {line}"
        try:
            # Numbers stay as the file spells them: 1.50 is not 1.5, and no integer is too long.
            record = json.loads(content, parse_int=str, parse_float=str, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise UserError(
                f"{where}: not JSON ({_short(content.strip())}); every line wants one JSON object"
            ) from None
        if not isinstance(record, dict):
            raise UserError(f"{where}: not a JSON object ({_short(content.strip())}); write one object a line")
        _require(where, required, list(record))
        yield line, record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _text(value: object, where: str, column: str) -> str:
    if value is None:
        raise UserError(f"{where}: '{column}' is null; give a text")
    if not isinstance(value, str):
        raise UserError(f"{where}: '{column}' is {_short(json.dumps(value))}; give a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UserError(f"{where}: '{column}' holds half of a surrogate pair; give whole characters") from None
    return value


def _popularity(value: object, where: str, column: str) -> float | None:
    if value is None:
        return None
    try:
        popularity = float(_text(value, where, column))
    except ValueError:
        popularity = math.nan
    if not (0 <= popularity < math.inf):
        raise UserError(f"{where}: '{column}' is '{_short(value)}'; give a number that is 0 or more")
    return popularity


def _aliases(value: object, where: str, column: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        value = [part for part in _text(value, where, column).split("|") if part.strip()]
    return tuple(_text(alias, where, column) for alias in value)
