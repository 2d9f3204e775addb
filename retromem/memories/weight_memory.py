"""What memories of weights have in common: packed weights that answer, and the facts that they were fitted on."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from retromem.configuration import build
from retromem.memories.saved import FACTS_FILES, FiledMemory, SavedFiles
from retromem.seam import Part, Side, ValueTable

_WEIGHTS = "weights.bin"


class WeightMemory(FiledMemory):
    """Stored and loaded; how it is written and answers is each kind's own."""

    side: ClassVar[Side] = "parametric"
    config_type: ClassVar[type[Any]]
    training_files: ClassVar[tuple[str, ...]] = FACTS_FILES
    """what a change of a fact may start from"""
    notes: ClassVar[tuple[str, ...]] = ()
    """what its manifest says beside what all of them say"""

    def __init__(self, config: Any, *, seed: int) -> None:
        self.config = config
        self.seed = seed
        self._training_files: dict[str, bytes] = {}

    def _know(self, values: ValueTable, dim: int, encoder_hash: str, noted: Mapping[str, Any]) -> None:
        """What is needed to answer beside the weights. `noted`: the notes of its manifest."""
        self._values, self._dim, self._encoder_hash, self._noted = values, dim, encoder_hash, noted

    @abstractmethod
    def _use(self, packed: bytes) -> None:
        """Answer from these stored weights."""

    @abstractmethod
    def _weights(self) -> tuple[bytes, int, int]:
        """As they are stored, how many there are, and how many of them a question meets."""

    def _saved_files(self) -> SavedFiles:
        meta = {
            "config": self.config.saved(),
            "seed": self.seed,
            "dim": self._dim,
            "encoder_hash": self._encoder_hash,
            **self._noted,
        }
        packed, num_params, num_active_params = self._weights()
        files = SavedFiles(self.kind, meta, self._values, self.calibration)
        files.add(_WEIGHTS, Part.STORAGE, packed, num_params=num_params, num_active_params=num_active_params)
        for name, content in self._training_files.items():
            files.add(name, Part.MAINTAIN, content)
        return files

    @classmethod
    def _loaded(cls, folder: Path, meta: Mapping[str, Any], values: ValueTable) -> Self:
        memory = cls(build(cls.config_type, meta["config"], source=str(folder)), seed=meta["seed"])
        memory._take(folder, meta, values)
        return memory

    def _take(self, folder: Path, meta: Mapping[str, Any], values: ValueTable) -> None:
        """What a saved folder of this memory holds."""
        self._know(values, meta["dim"], meta["encoder_hash"], {name: meta[name] for name in self.notes})
        self._use((folder / _WEIGHTS).read_bytes())
        there = [name for name in self.training_files if (folder / name).exists()]
        self._training_files = {name: (folder / name).read_bytes() for name in there}
