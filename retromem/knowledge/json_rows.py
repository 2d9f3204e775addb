"""Rows of JSON: an object a line, or one list of objects. Numbers stay as the file spells them."""

import io
import json
from collections.abc import Iterator, Sequence

from retrieval.errors import UserError
from retromem.knowledge.cell_text import short
from retromem.knowledge.fact_columns import Columns, Row, column_names


def json_rows(file: str, text: str, columns: Columns, *, field: str | None = None) -> Iterator[Row]:
    """Every row: of the list that the file is or has as its `field`, else of its lines.

    Where columns are given by their places, a row is a list of cells. UserError for what is no JSON, for another thing,
    and for a name that comes twice in one object.
    """
    if field is not None:
        as_list: list[object] | None = _list_of_field(file, text, field)
    else:
        as_list = _list(file, text) if text.lstrip()[:1] == "[" else None
    rows = _lines(file, text) if as_list is None else ((f"{file}, row {n}", row) for n, row in enumerate(as_list, 1))
    last: list[str] = []  # names of the row before, and what they are tidied
    names: list[str] = []
    for where, row in rows:
        if isinstance(row, dict):
            if list(row) != last:
                last, names = list(row), column_names(list(row), where)
            yield where, dict(zip(names, row.values(), strict=True))
        elif isinstance(row, list) and not columns.has_header:
            yield where, {str(place): cell for place, cell in enumerate(row, start=1)}
        else:
            spelled = row if isinstance(row, str) else json.dumps(row)
            raise UserError(f"{where}: not a JSON object ({short(spelled)}); give objects, one a line or a list")


def _list(file: str, text: str) -> list[object] | None:
    """None where the file is no list but lines that are."""
    try:
        found = _loads(text, file)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return None
        raise UserError(f"{file}, line {error.lineno}: not JSON ({error.msg})") from None
    except (ValueError, RecursionError):
        raise UserError(f"{file}, line 1: not JSON ({short(text)})") from None
    assert isinstance(found, list), "it begins with a bracket"
    return found


def _list_of_field(file: str, text: str, field: str) -> list[object]:
    """Rows, from a list of them or of an object of columns."""
    try:
        found = _loads(text, file)
    except (ValueError, RecursionError):
        raise UserError(f"{file}, line 1: not JSON ({short(text)}); give one object with '{field}' in it") from None
    rows = found.get(field) if isinstance(found, dict) else None
    if isinstance(rows, dict) and all(isinstance(cells, list) for cells in rows.values()):
        if len({len(cells) for cells in rows.values()}) > 1:
            raise UserError(f"{file}: the columns of '{field}' are not of one length")
        return [dict(zip(rows, cells, strict=True)) for cells in zip(*rows.values(), strict=True)]
    if not isinstance(rows, list):
        raise UserError(f"{file}: has no list '{field}', which the data set names; give one object with it")
    return rows


def _lines(file: str, text: str) -> Iterator[tuple[str, object]]:
    for line, content in enumerate(io.StringIO(text, newline=""), start=1):
        content = content.strip("\ufeff \t\r\n")  # files that were joined keep the mark of each
        if not content:
            continue
        where = f"{file}, line {line}"
        try:
            yield where, _loads(content, where)
        except (ValueError, RecursionError):
            raise UserError(
                f"{where}: not JSON ({short(content)}); every line wants one JSON object, or the file a list of them"
            ) from None


def _loads(content: str, where: str) -> object:
    def once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
        """Python's own would keep the last of two values in silence."""
        record = dict(pairs)
        if len(record) < len(pairs):
            column_names([name for name, _ in pairs], where)
        return record

    # Numbers stay as the file spells them: 1.50 is not 1.5, and no integer is too long. NaN and its like are none.
    return json.loads(content, parse_int=str, parse_float=str, parse_constant=float, object_pairs_hook=once)
