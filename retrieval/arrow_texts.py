"""Texts and places in an Arrow IPC stream: read from a memory map one at a time, and open to Hugging Face datasets."""

import io
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, overload

from jaxtyping import Int64
from numpy import ndarray

if TYPE_CHECKING:
    import pyarrow

_ROWS_A_BATCH = 10_000


def arrow_stream(columns: Mapping[str, Int64[ndarray, " N"] | Sequence[str]]) -> bytes:
    """Columns of numbers or texts as the stream format that `datasets.Dataset.from_file` maps into memory."""
    import pyarrow

    table = pyarrow.table(
        {
            name: column if isinstance(column, ndarray) else pyarrow.array(column, pyarrow.string())
            for name, column in columns.items()
        }
    )
    file = io.BytesIO()
    options = pyarrow.ipc.IpcWriteOptions(compression="zstd")
    with pyarrow.ipc.new_stream(file, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=_ROWS_A_BATCH)
    return file.getvalue()


class ArrowTexts(Sequence[str]):
    """A column of such a file. ValueError where the file is none."""

    def __init__(self, path: Path, column: str = "text") -> None:
        import pyarrow

        self._table = pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))).read_all()
        self._column = column

    def beside(self, column: str) -> "ArrowTexts | None":
        """Another column of the same file; None where it has none."""
        other = copy(self)
        other._column = column
        return other if column in self._table.column_names else None

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...
    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        column = self._table.column(self._column)
        return column[at].to_pylist() if isinstance(at, slice) else str(column[at].as_py())

    def table(self) -> "pyarrow.Table":
        """All columns."""
        return self._table
