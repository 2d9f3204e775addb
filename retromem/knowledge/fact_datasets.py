"""Rows of facts from Parquet files and from data sets, of the Hugging Face hub or of a local folder.

Nothing is held but a batch of rows; what a row must hold, `fact_files` says.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from retrieval.errors import UserError

HUB = "hf:"
_REFERENCE = re.compile(r"hf:(?P<path>[^@]+?)(?::(?P<config>[^@:/]+))?(?:@(?P<split>[^@]+))?")
Row = tuple[str, Mapping[str, object]]
"""where it stands, for messages, and its cells by column"""


def parquet_rows(path: Path) -> Iterator[Row]:
    """Every row of a Parquet file; UserError where it is none."""
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        number = 0
        for batch in file.iter_batches():
            for record in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", _cells(record)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is no whole Parquet file ({_one_line(error)}); make or fetch it again") from None


def dataset_name(reference: str) -> str:
    """`hf:org/name:config@split` -> `name`. UserError where it reads otherwise."""
    return Path(_parsed(reference)["path"] or "").name


def dataset_rows(reference: str) -> Iterator[Row]:
    """Every row of `hf:org/name[:config][@split]`, streamed; the path may be that of a local folder.

    Without a split: `train`, or the only one there is. UserError, one line, for whatever cannot be had.
    """
    found = _parsed(reference)
    from datasets import IterableDatasetDict, load_dataset

    try:
        rows: Any = load_dataset(found["path"], found["config"], split=found["split"], streaming=True)
        if isinstance(rows, IterableDatasetDict):
            rows = rows[_only_split(reference, list(rows))]
        labels = _label_columns(rows.features)
        for number, record in enumerate(rows, start=1):
            named = {column: feature.int2str(record[column]) for column, feature in labels.items()}
            yield f"{reference}, row {number}", _cells({**record, **named})
    except UserError:
        raise
    except Exception as error:  # of the hub, of the network, of a builder: each has its own
        raise UserError(f"{reference} cannot be read: {_one_line(error)}") from None


def _parsed(reference: str) -> Mapping[str, str | None]:
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise UserError(f"{reference}: should read hf:org/name[:config][@split], or hf:folder[@split]")
    return found.groupdict()


def _only_split(reference: str, splits: Sequence[str]) -> str:
    if "train" in splits:
        return "train"
    if len(splits) > 1:
        raise UserError(f"{reference}: has the splits {', '.join(splits)}; name one, such as {reference}@{splits[0]}")
    return splits[0]


def _label_columns(features: Any) -> Mapping[str, Any]:
    """Columns of numbers that stand for names."""
    from datasets import ClassLabel

    return {name: feature for name, feature in (features or {}).items() if isinstance(feature, ClassLabel)}


def _cells(record: Mapping[str, object]) -> Mapping[str, object]:
    return {name: _cell(value) for name, value in record.items()}


def _cell(value: object) -> object:
    """As text, and lists as lists of it. Truth values stay: a fact's value is none."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, list | tuple):
        return [_cell(part) for part in value]
    return str(value)


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
