"""Readers that were taught once, for all memories of a run that differ only in what they are asked with.

A training is a pure function of what its identity names.
"""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.atomic import write_bytes
from retromem.knowledge.knowledge_set import content_hash
from retromem.seam import WriteCost

_FOLDER: ContextVar[Path | None] = ContextVar("where taught readers are kept", default=None)


@contextmanager
def readers_kept_in(folder: Path) -> Iterator[None]:
    """Every reader that is taught within is kept there, and taken from there where it is known."""
    token = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(token)


@dataclass(frozen=True, kw_only=True)
class KeptReader:
    """What teaching left."""

    packed: bytes
    tokenizer: bytes
    cost: WriteCost


def _place(identity: Mapping[str, Any]) -> Path | None:
    folder = _FOLDER.get()
    name = content_hash(json.dumps(identity, sort_keys=True).encode())
    return None if folder is None else folder / f"{name}.npz"


def kept_reader(identity: Mapping[str, Any]) -> KeptReader | None:
    """The reader that was taught under this identity; None where none was, or nothing is kept."""
    place = _place(identity)
    if place is None or not place.exists():
        return None
    with np.load(place, allow_pickle=False) as kept:
        cost = WriteCost(**json.loads(kept["cost"].tobytes()))
        return KeptReader(packed=kept["packed"].tobytes(), tokenizer=kept["tokenizer"].tobytes(), cost=cost)


def keep_reader(identity: Mapping[str, Any], reader: KeptReader) -> None:
    """For the next memory of this identity; whole or not at all."""
    place = _place(identity)
    if place is None:
        return
    file, cost = io.BytesIO(), json.dumps(asdict(reader.cost)).encode()
    contents = {"packed": reader.packed, "tokenizer": reader.tokenizer, "cost": cost}
    arrays: dict[str, Any] = {name: np.frombuffer(content, dtype=np.uint8) for name, content in contents.items()}
    np.savez(file, **arrays)
    write_bytes(place, file.getvalue())
