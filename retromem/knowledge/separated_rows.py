"""Rows of CSV, TSV and whatever else separates cells by a sign. Every cell is the text that stands there."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Literal

from retrieval.errors import UserError
from retromem.knowledge.fact_columns import Columns, Row, column_names
from retromem.knowledge.names import tidied

_SIGNS = (",", "\t", ";", "|")
_SIGN_LINE = re.compile(r'\s*"?sep=(.)"?\s*', re.IGNORECASE)  # Excel's own


def separated_rows(file: str, text: str, columns: Columns, *, sign: str) -> Iterator[Row]:
    """Every row, without the header. Cells are separated by the sign that finds the wanted columns, `sign` if it does.

    Excel's `sep=;` and lines that begin with # are left out at the top, cells after a space are read without it.
    UserError for cells that no header names, and for quotes that do not close.
    """
    first, start, sign = _opening(text, columns, sign)
    quoted = _rows(file, text[start:], first, sign, csv.QUOTE_MINIMAL)
    try:
        rows = list(quoted)
        _same_width(file, rows, columns)
    except UserError:
        if sign != "\t":
            raise
        # Tables of tabs are often written without any quoting: then a quote is a letter like others.
        rows = list(_rows(file, text[start:], first, sign, csv.QUOTE_NONE))
        _same_width(file, rows, columns)
    if not rows:
        return
    names = [str(place) for place in range(1, len(rows[0][1]) + 1)]
    if columns.has_header:
        line, header = rows.pop(0)
        names = column_names(header, f"{file}, line {line}")
        advice = "; where no line names the columns, give their places: COLUMNS=1,2,3"
        if text.lstrip().startswith("#"):
            advice += ", or take the # from their line"
        columns.require(f"{file}, line {line}", [name for name in names if name], advice=advice)
    elif columns.missing_in(names):
        line, cells = rows[0]
        raise UserError(f"{file}, line {line}: has {len(cells)} cells, so there is no column {max(columns.required)}")
    for line, cells in rows:
        yield f"{file}, line {line}", {name: cell for name, cell in zip(names, cells, strict=True) if name}


def _opening(text: str, columns: Columns, sign: str) -> tuple[int, int, str]:
    """Line and character where the table begins, and what separates its cells."""
    first_line: tuple[int, int, str] | None = None
    start = 0
    for number, line in enumerate(io.StringIO(text, newline=""), start=1):
        here, start = start, start + len(line)
        if not line.strip():
            continue
        if first_line is None and (said := _SIGN_LINE.fullmatch(line)):
            sign = said[1]
            continue
        cells = {own: next(csv.reader([line], delimiter=own, skipinitialspace=True), []) for own in (sign, *_SIGNS)}
        fits = [own for own, found in cells.items() if not columns.missing_in(_names(found, columns))]
        if fits:
            return number, here, fits[0]
        most = max(cells, key=lambda own: len(cells[own]))
        first_line = first_line or (number, here, most)
        if not line.startswith("#"):
            return (number, here, most) if columns.has_header else first_line
    return first_line or (1, 0, sign)


def _names(cells: Sequence[str], columns: Columns) -> list[str]:
    if not columns.has_header:
        return [str(place) for place in range(1, len(cells) + 1)]
    return [" ".join(cell.split()) for cell in cells]


def _rows(file: str, text: str, first: int, sign: str, quoting: Literal[0, 3]) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, and the line where each begins: a quoted cell may span several."""
    limit = csv.field_size_limit(max(len(text), 1 << 17))
    try:
        reader = csv.reader(
            io.StringIO(text, newline=""), strict=True, delimiter=sign, skipinitialspace=True, quoting=quoting
        )
        while True:
            line = reader.line_num + first
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise UserError(
                    f"{file}, line {line}: not a row of cells ({error}); close every quoted cell, and double the "
                    "quotes inside it"
                ) from None
            if cells is None:
                return
            if len(cells) > 1 or any(map(tidied, cells)):  # no line of blanks, nor an old end-of-file sign
                yield line, cells
    finally:
        csv.field_size_limit(limit)


def _same_width(file: str, rows: Sequence[tuple[int, list[str]]], columns: Columns) -> None:
    for line, cells in rows[1:]:
        if len(cells) != len(rows[0][1]):
            first = "the header" if columns.has_header else f"line {rows[0][0]}"
            raise UserError(
                f"{file}, line {line}: {len(cells)} cells where {first} has {len(rows[0][1])}; "
                "quote cells that hold the sign between them"
            )
