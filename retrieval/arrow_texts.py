"""Texts in an Arrow IPC stream: read from a memory map one at a time, and open to Hugging Face datasets."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from jaxtyping import Int64
from numpy import ndarray

if TYPE_CHECKING:
    import pyarrow

_ROWS_A_BATCH = 10_000


def arrow_stream(
    ids_N: Int64[ndarray, " N"], texts: Sequence[str], groups_N: Int64[ndarray, " N"], labels_N: Int64[ndarray, " N"]
) -> bytes:
    """Columns id, text, group, label as the stream format that `datasets.Dataset.from_file` maps into memory."""
    import pyarrow

    table = pyarrow.table(
        {"id": ids_N, "text": pyarrow.array(texts, pyarrow.string()), "group": groups_N, "label": labels_N}
    )
    file = io.BytesIO()
    options = pyarrow.ipc.IpcWriteOptions(compression="zstd")
    with pyarrow.ipc.new_stream(file, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=_ROWS_A_BATCH)
    return file.getvalue()


class ArrowTexts(Sequence[str]):
    """The column `text` of such a file. ValueError where the file is none."""

    def __init__(self, path: Path) -> None:
        import pyarrow

        self._table = pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))).read_all()

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...
    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        column = self._table.column("text")
        return column[at].to_pylist() if isinstance(at, slice) else str(column[at].as_py())

    def table(self) -> "pyarrow.Table":
        """All columns."""
        return self._table
