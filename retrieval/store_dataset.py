"""The chunks of a saved store for whoever works with Hugging Face datasets."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from retrieval.arrow_texts import ArrowTexts
from retrieval.chunk_store import KIND, read_tombstones
from retrieval.errors import UserError
from retrieval.generations import name_of, while_written
from retrieval.sealed_folder import verify_sealed
from retrieval.segment import TEXTS, reading

if TYPE_CHECKING:
    from datasets import Dataset


def to_dataset(folder: Path) -> "Dataset":
    """The live chunks as a `datasets.Dataset` (id, text, group, label), mapped from disk where none was deleted.

    What the dataset derives (`map`, `filter`) is cached elsewhere, never in the sealed folder. UserError where the
    store has no texts.
    """
    return while_written(folder, lambda: _to_dataset(folder))


def _to_dataset(folder: Path) -> "Dataset":
    manifest = verify_sealed(folder, KIND, hashes=False)
    stored = manifest["meta"]["store"]
    names = [name_of(TEXTS, segment["generation"]) for segment in stored["segments"]]
    if names[0] not in manifest["files"]:
        raise UserError(f"{folder}: holds vectors without texts, so there is no {TEXTS} to read")

    import pyarrow
    from datasets import Dataset
    from datasets.table import InMemoryTable

    tables = []
    for name in names:
        with reading(folder / name) as path:
            tables.append(ArrowTexts(path).table())
    table = pyarrow.concat_tables(tables, promote_options="default")  # places may be noted in some alone
    dead_P = read_tombstones(folder, stored, table.num_rows)
    if dead_P is not None:
        is_live_N = np.ones(table.num_rows, dtype=bool)
        is_live_N[dead_P] = False
        table = table.filter(pyarrow.array(is_live_N))
    # The dataset is not told the file's place: it would write its caches beside it.
    return Dataset(InMemoryTable(table))
