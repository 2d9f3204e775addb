"""What memories of one-bit weights have in common: packed bits that answer, and what follows from a seed."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

from retrieval.sealed_folder import verify_sealed
from retromem.memories.saved import (
    FACTS_FILES,
    SavedFiles,
    load_calibration,
    load_values,
    of_one_generation,
)
from retromem.seam import Part, Side, ValueTable


class OneBitMemory(ABC):
    """Stored, disturbed and loaded; how it is written and answers is each kind's own."""

    side: ClassVar[Side] = "parametric"
    config_type: ClassVar[type[Any]]
    kind: ClassVar[str]
    """of the saved folder"""
    bits_file: ClassVar[str]
    """in it"""
    bits_are: ClassVar[str]
    """of one bit, in the words of an error"""
    notes: ClassVar[tuple[str, ...]] = ()
    """what its manifest says beside what all of them say"""

    def __init__(self, config: Any, *, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.calibration = b""
        self._packed: bytes | None = None
        self._training_files: dict[str, bytes] = {}

    @property
    def name(self) -> str:
        return str(self.config.name)

    def _know(self, values: ValueTable, dim: int, encoder_hash: str, noted: Mapping[str, Any]) -> None:
        """What is needed to answer beside the bits. `noted`: the notes of its manifest."""
        self._values, self._dim, self._encoder_hash, self._noted = values, dim, encoder_hash, noted

    def _use(self, packed: bytes) -> None:
        """Answer from these stored bits."""
        self._packed = packed

    @property
    @abstractmethod
    def _num_params(self) -> int: ...

    @property
    def _num_active_params(self) -> int | None:
        """Where a question does not meet all."""
        return None

    def perturbed(self, *, relative_noise: float = 0.0, flip_rate: float = 0.0, seed: int) -> Self:
        """A copy with random bits flipped; NotImplementedError for noise, which one bit cannot take up."""
        from models.weight_packing import flip_bits

        if relative_noise:
            raise NotImplementedError(f"{self.bits_are} of one bit take no noise; flip bits instead")
        assert self._packed is not None
        disturbed = type(self)(self.config, seed=self.seed)
        disturbed._know(self._values, self._dim, self._encoder_hash, self._noted)
        disturbed._use(flip_bits(self._packed, flip_rate, seed=seed))
        return disturbed

    def _saved_files(self) -> SavedFiles:
        assert self._packed is not None
        meta = {
            "config": asdict(self.config),
            "seed": self.seed,
            "dim": self._dim,
            "encoder_hash": self._encoder_hash,
            **self._noted,
        }
        files = SavedFiles(self.kind, meta, self._values, self.calibration)
        files.add(
            self.bits_file,
            Part.STORAGE,
            self._packed,
            num_params=self._num_params,
            num_active_params=self._num_active_params,
        )
        for name, content in self._training_files.items():
            files.add(name, Part.MAINTAIN, content)
        return files

    def save(self, folder: Path) -> None:
        self._saved_files().write(folder)

    @classmethod
    @of_one_generation
    def load(cls, folder: Path) -> Self:
        meta: Any = verify_sealed(folder, kind=cls.kind)["meta"]
        memory = cls(cls.config_type(**meta["config"]), seed=meta["seed"])
        noted = {name: meta[name] for name in cls.notes}
        memory._know(load_values(folder, meta), meta["dim"], meta["encoder_hash"], noted)
        memory._use((folder / cls.bits_file).read_bytes())
        memory.calibration = load_calibration(folder)
        memory._training_files = {
            name: (folder / name).read_bytes() for name in FACTS_FILES if (folder / name).exists()
        }
        return memory
