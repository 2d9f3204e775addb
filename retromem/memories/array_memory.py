"""The shortest way to a memory of one's own: `write` leaves arrays, `recall` reads them, and the rest is here."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy import ndarray

from retrieval.chunks import npy_bytes
from retromem.configuration import build
from retromem.memories.named_config import NamedConfig
from retromem.memories.saved import FiledMemory, SavedFiles
from retromem.seam import Part, ValueTable


class ArrayMemory(FiledMemory):
    """A memory that answers from the arrays in `self.arrays` and the values in `self.values`, both set by `write`.

    Each array is a file of its own, as it is, and all its numbers count as parameters. `self.maintained`: files that a
    change of a fact needs, as `facts_files(facts)` gives what weights are fitted on.
    """

    config_type: ClassVar[type]
    """of its config, a dataclass; given back when the memory is loaded"""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.arrays: dict[str, ndarray] = {}
        self.maintained: dict[str, bytes] = {}
        self.values = ValueTable(strings=None, relations=(), starts=(0,))

    def _saved_files(self) -> SavedFiles:
        settings = self.config.saved() if isinstance(self.config, NamedConfig) else asdict(self.config)
        meta = {"config": settings, "arrays": list(self.arrays), "maintained": list(self.maintained)}
        files = SavedFiles(self.kind, meta, self.values, self.calibration)
        for name, array in self.arrays.items():
            files.add(f"{name}.npy", Part.STORAGE, npy_bytes(array), num_params=array.size)
        for name, content in self.maintained.items():
            files.add(name, Part.MAINTAIN, content)
        return files

    @classmethod
    def _loaded(cls, folder: Path, meta: Mapping[str, Any], values: ValueTable) -> Self:
        memory = cls(build(cls.config_type, meta["config"], source=str(folder)))
        memory.values = values
        memory.maintained = {name: (folder / name).read_bytes() for name in meta["maintained"]}
        memory.arrays = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in meta["arrays"]}
        return memory
