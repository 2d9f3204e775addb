"""Rows of Arrow tables: of Parquet files, and of data sets that were saved."""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from retrieval.errors import UserError
from retromem.knowledge.fact_columns import Columns, Row, column_names
from retromem.knowledge.text_files import PACKED, read_bytes

if TYPE_CHECKING:
    import pyarrow

Labels = Mapping[str, Sequence[str]]
"""column -> the names that its numbers stand for, as data sets keep classes"""
ReadFile = Callable[[str, Columns, Labels], Iterator[Row]]
"""every row of one file"""


def parquet_rows(file: str, columns: Columns, labels: Labels) -> Iterator[Row]:
    """Every row of a Parquet file; UserError where it is none."""
    import pyarrow
    from pyarrow import parquet

    try:
        if "://" in file:
            import fsspec

            system, place = fsspec.core.url_to_fs(file)
            opened = parquet.ParquetFile(place, filesystem=system)
        else:
            opened = parquet.ParquetFile(io.BytesIO(read_bytes(file)) if file.lower().endswith(PACKED) else file)
        with opened:
            yield from arrow_rows(file, opened.iter_batches(), columns, labels)
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{file} is no whole Parquet file ({one_line(error)}); make or fetch it again") from None


def arrow_rows(
    source: str, batches: "Iterable[pyarrow.RecordBatch]", columns: Columns, labels: Labels
) -> Iterator[Row]:
    """Every row of the batches. Columns that no fact needs are named, not read."""
    number = 0
    for batch in batches:
        names = column_names(batch.schema.names, source)
        named = {**_class_names(batch.schema), **labels}
        cells = [
            _cells(batch.column(place), f"{source}, row {number + 1} and on", name, named.get(name))
            if name in columns.names.values()
            else [None] * batch.num_rows
            for place, name in enumerate(names)
        ]
        for row in zip(*cells, strict=True):
            number += 1
            yield f"{source}, row {number}", dict(zip(names, row, strict=True))


def named(cell: object, names: Sequence[str]) -> object:
    """The name of a class by its number; as data sets have it, -1 is no class at all."""
    number = int(cell) if isinstance(cell, int) or (isinstance(cell, str) and cell.isdecimal()) else None
    if number is None or not -1 <= number < len(names):
        return cell
    return None if number < 0 else names[number]


def with_names(rows: Iterable[Row], labels: Labels) -> Iterator[Row]:
    """The rows with names in place of the numbers of classes."""
    for where, record in rows:
        yield where, {**record, **{name: named(record.get(name), names) for name, names in labels.items()}}


def _cells(column: Any, where: str, name: str, names: Sequence[str] | None) -> list[object]:
    import pyarrow

    cells: list[object]
    try:
        if pyarrow.types.is_float16(column.type) or pyarrow.types.is_float32(column.type):
            # The shortest spelling of a short float: .1, not .10000000149; null becomes NaN, which is as empty.
            cells = [float(str(cell)) for cell in column.to_numpy(zero_copy_only=False)]
        else:
            cells = column.to_pylist()
    except (ValueError, OverflowError, pyarrow.ArrowException) as error:  # a date beyond the year 9999
        raise UserError(f"{where}: '{name}' cannot be read ({one_line(error)}); give it as text") from None
    return cells if names is None else [named(cell, names) for cell in cells]


def _class_names(schema: "pyarrow.Schema") -> Labels:
    """As a data set notes them in the files that it writes."""
    noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = noted.get("info", {}).get("features") or {}
    return {
        name: feature["names"]
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }


def one_line(error: Exception) -> str:
    """What an exception says, on one line."""
    said = " ".join(str(error).split())
    return said[:300] if said else type(error).__name__
