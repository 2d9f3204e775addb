"""What every memory's saved folder has in common: files with a part of the ledger each, under one manifest."""

import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from retrieval.chunks import npy_bytes
from retrieval.generations import current_name, while_written
from retrieval.sealed_folder import manifest_bytes, read_manifest, verify_sealed, write_sealed
from retromem.knowledge.knowledge_set import value_file
from retromem.seam import Facts, Footprint, Holding, Part, ValueTable

Memory = TypeVar("Memory")

VALUES = "values.json.zlib"
CALIBRATION = "calibration.bin"


class SavedFiles:
    """The files of one memory: the ledger is read off the very bytes that are saved."""

    def __init__(self, kind: str, meta: Mapping[str, Any], values: ValueTable, calibration: bytes) -> None:
        self._kind, self._meta = kind, {**meta, "relations": values.relations, "starts": values.starts}
        self._contents: dict[str, bytes] = {}
        self._holdings: list[Holding] = []
        self.add(VALUES, Part.VALUE, value_file(values))
        if calibration:
            self.add(CALIBRATION, Part.STORAGE, calibration)

    def add(
        self, name: str, part: Part, content: bytes, *, num_params: int = 0, num_active_params: int | None = None
    ) -> None:
        """All parameters are active, unless told otherwise."""
        self._contents[name] = content
        active = num_params if num_active_params is None else num_active_params
        self._holdings.append(
            Holding(name=name, part=part, num_bytes=len(content), num_params=num_params, num_active_params=active)
        )

    def footprint(self, *, seeded_bytes: int = 0, resident_bytes: int | None = None) -> Footprint:
        """One line a file, the manifest among what maintaining needs."""
        manifest = manifest_bytes(self._contents, kind=self._kind, meta=self._meta)
        beside = (
            Holding(name="manifest.json", part=Part.MAINTAIN, num_bytes=len(manifest)),
            Holding(name="from a seed", part=Part.SEEDED, num_bytes=seeded_bytes),
        )
        return Footprint((*self._holdings, *beside), resident_bytes=resident_bytes)

    def write(self, folder: Path) -> None:
        write_sealed(folder, self._contents, kind=self._kind, meta=self._meta)


def of_one_generation(load: Callable[[type[Memory], Path], Memory]) -> Callable[[type[Memory], Path], Memory]:
    """Make a `load` read all its files of one generation, while others write the folder."""

    @wraps(load)
    def whole(cls: type[Memory], folder: Path) -> Memory:
        return while_written(folder, lambda: load(cls, folder))

    return whole


def values_name(folder: Path) -> str:
    """Of the file with the value strings: another one once values were added."""
    return current_name(read_manifest(folder)["files"], VALUES)


def load_values(folder: Path, meta: Mapping[str, Any]) -> ValueTable:
    """The value table of a saved memory."""
    content = (folder / values_name(folder)).read_bytes()
    return ValueTable(
        strings=tuple(json.loads(zlib.decompress(content))) if content else None,
        relations=tuple(meta["relations"]),
        starts=tuple(meta["starts"]),
    )


def load_calibration(folder: Path) -> bytes:
    """(T, eps) of a saved memory; empty where it was never calibrated."""
    return (folder / CALIBRATION).read_bytes() if CALIBRATION in read_manifest(folder)["files"] else b""


class FiledMemory(ABC):
    """A memory whose saved folder has files of its own alone: what all of them have in common."""

    kind: ClassVar[str]
    """of the saved folder"""
    config: Any
    calibration: bytes = b""

    @property
    def name(self) -> str:
        return str(self.config.name)

    @abstractmethod
    def _saved_files(self) -> SavedFiles: ...

    def footprint(self) -> Footprint:
        return self._saved_files().footprint()

    def save(self, folder: Path) -> None:
        self._saved_files().write(folder)

    @classmethod
    @of_one_generation
    def load(cls, folder: Path) -> Self:
        meta = verify_sealed(folder, kind=cls.kind)["meta"]
        memory = cls._loaded(folder, meta, load_values(folder, meta))
        memory.calibration = load_calibration(folder)
        return memory

    @classmethod
    @abstractmethod
    def _loaded(cls, folder: Path, meta: Mapping[str, Any], values: ValueTable) -> Self:
        """From its files; the calibration is read for it."""


_CUE_KEYS = "training_cues.npy"
_CUE_TEXTS = "training_cues.json.zlib"
_TRAINING_VALUES = "training_values.npy"
_STATEMENTS = "training_statements.json.zlib"
FACTS_FILES = (_CUE_KEYS, _CUE_TEXTS, _TRAINING_VALUES, _STATEMENTS)


def facts_files(facts: Facts, *, statements: bool = False) -> dict[str, bytes]:
    """The facts as they were written: what weights are fitted on anew when one of them changes; `statements`: too."""
    if facts.cues[0].texts is None:
        cues = {_CUE_KEYS: npy_bytes(np.concatenate([cue.key_vectors() for cue in facts.cues]))}
    else:
        cues = {_CUE_TEXTS: zlib.compress(json.dumps([list(cue.texts or ()) for cue in facts.cues]).encode(), 9)}
    told = {}
    if statements and facts.statements is not None:
        told = {_STATEMENTS: zlib.compress(json.dumps(list(facts.statements.texts or ())).encode(), 9)}
    return {**cues, **told, _TRAINING_VALUES: npy_bytes(facts.value_ids_N)}
