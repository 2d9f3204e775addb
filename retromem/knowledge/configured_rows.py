"""Rows of the files of a data set whose card says how they are to be read. Every cell is the text that stands there."""

import io
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from retrieval.errors import UserError
from retromem.knowledge.arrow_rows import ReadFile, one_line, with_names
from retromem.knowledge.fact_columns import Columns, Row, column_names
from retromem.knowledge.json_rows import json_rows
from retromem.knowledge.text_files import read_bytes

_NOT_OF_READING = (
    "name",
    "version",
    "data_dir",
    "data_files",
    "description",
    "features",
    "chunksize",
    "sep",
    "delimiter",
)


def is_usual(config: Any) -> bool:
    """Whether a config of the `datasets` library leaves it to the files how they are read."""
    usual = type(config)()
    own = {field.name for field in fields(config)} - {*_NOT_OF_READING}
    if any(getattr(config, name) != getattr(usual, name) for name in own):
        return False
    files = [str(file).lower() for files in (config.data_files or {}).values() for file in files]
    return getattr(config, "sep", ",") == "," or (config.sep == "\t" and not any(".csv" in file for file in files))


def configured_reader(config: Any) -> ReadFile | None:
    """As the config of the `datasets` library says; None where it is of another kind than CSV and JSON."""
    from datasets.packaged_modules.csv.csv import CsvConfig
    from datasets.packaged_modules.json.json import JsonConfig

    if isinstance(config, CsvConfig):
        return lambda file, columns, labels: with_names(_csv_rows(config, file, columns), labels)
    if isinstance(config, JsonConfig):
        return lambda file, columns, labels: with_names(_json_rows(config, file, columns), labels)
    return None


def _csv_rows(config: Any, file: str, columns: Columns) -> Iterator[Row]:
    """By pandas, whose settings these are, but no cell is guessed to be a number or nothing."""
    import pandas

    settings = dict(config.pd_read_csv_kwargs)
    settings |= {"dtype": str, "chunksize": None, "skipinitialspace": True}
    settings |= {"keep_default_na": False, "na_filter": bool(config.na_values)}
    settings["engine"] = "python" if len(config.sep) > 1 or config.skipfooter else "c"
    if not columns.has_header and config.names is None and config.header == "infer":
        settings["header"] = None
    content = io.BytesIO(read_bytes(file))
    try:
        table = pandas.read_csv(content, **settings)
    except Exception as error:  # settings that cannot be have errors of many kinds
        raise UserError(f"{file} cannot be read as the data set says: {one_line(error)}") from None
    if config.index_col is not None and config.index_col is not False:  # 0 is the first column
        table = table.reset_index()
    elif not isinstance(table.index, pandas.RangeIndex):
        raise UserError(f"{file}: rows have more cells than there are names of columns; name them all")
    names = column_names([str(name) for name in table.columns], file)
    if not columns.has_header:
        names = [str(place) for place in range(1, len(names) + 1)]
    columns.require(file, names)
    cells = table.astype(object).to_numpy().tolist()
    for number, row in enumerate(cells, start=1):
        yield f"{file}, row {number}", dict(zip(names, row, strict=True))


def _json_rows(config: Any, file: str, columns: Columns) -> Iterator[Row]:
    try:
        text = read_bytes(file).decode(config.encoding, config.encoding_errors or "strict").removeprefix("\ufeff")
    except (UnicodeDecodeError, LookupError) as error:
        raise UserError(f"{file} cannot be read as the data set says: {one_line(error)}") from None
    yield from json_rows(file, text, columns, field=config.field)
