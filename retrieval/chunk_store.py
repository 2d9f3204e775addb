"""Chunks with their vectors, an index over them and a payload: one folder that answers, and can be checked and rebuilt.

    index.faiss     the serialised index                                         } storage: they alone answer
    payload.bin     labels at the bits their group needs, and the groups' sizes  }
    ids.npy         external ids, int64                                          } maintenance: to change a chunk, or to
    vectors.npy     raw float32, from which any other index can be built         } build another index
    chunks.arrow    ids, texts, groups, labels (Arrow IPC stream), if there are texts
    manifest.json   sizes and sha256 of all of them, what they were made from, and how the index did in its self-test

Shape legend: N chunks, D dimensions, G groups, Q queries, K ranked answers, P positions.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from retrieval.arrow_texts import ArrowTexts
from retrieval.chunks import Chunks, EncoderId
from retrieval.errors import UserError
from retrieval.sealed_folder import sealed_bytes, verify_sealed, write_sealed
from retrieval.segment import TEXTS, Segment
from retrieval.vector_index import IndexSpec, VectorIndex

if TYPE_CHECKING:
    from datasets import Dataset

KIND = "chunk-store"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What made a store, beside its chunks and the index that was asked for."""

    encoder: EncoderId | None
    """None for vectors that no encoder made"""
    versions: Mapping[str, str]
    """of the packages that wrote the files"""


def package_versions() -> dict[str, str]:
    """Of what decides the bytes of an index."""
    from retrieval._faiss import faiss

    try:
        own = version("retromem")
    except PackageNotFoundError:
        own = "not installed"
    return {"faiss": str(faiss.__version__), "numpy": np.__version__, "retromem": own}


class ChunkStore:
    """Chunks and an index over them. Make one with `build` or `open`."""

    def __init__(self, segments: Sequence[Segment], origin: Origin) -> None:
        self.segments = tuple(segments)
        self.origin = origin

    @classmethod
    def build(cls, chunks: Chunks, spec: IndexSpec, encoder: EncoderId | None = None) -> "ChunkStore":
        """Index the chunks, in memory. UserError for an unknown index, Refused for too few chunks to train it."""
        index = VectorIndex(spec, chunks.vectors_ND.shape[1])
        index.add(chunks.vectors_ND, chunks.groups_N)
        return cls([Segment(chunks, index)], Origin(encoder=encoder, versions=package_versions()))

    @property
    def spec(self) -> IndexSpec:
        return self.segments[0].index.spec

    @property
    def dim(self) -> int:
        return self.segments[0].index.dim

    @property
    def label_bits_G(self) -> Sequence[int]:
        """Bits a label, for each group."""
        return self.segments[0].chunks.label_bits_G

    @cached_property
    def labels_N(self) -> Int64[ndarray, " N"]:
        """By position."""
        return np.concatenate([segment.chunks.labels_N for segment in self.segments])

    @cached_property
    def ids_N(self) -> Int64[ndarray, " N"]:
        """By position."""
        return np.concatenate([segment.chunks.ids_N for segment in self.segments])

    @cached_property
    def groups_N(self) -> Int64[ndarray, " N"]:
        """By position."""
        return np.concatenate([segment.chunks.groups_N for segment in self.segments])

    @property
    def has_texts(self) -> bool:
        return self.segments[0].chunks.texts is not None

    def _segment_at(self, position: int) -> tuple[Segment, int]:
        for segment in self.segments:
            if position < len(segment):
                return segment, position
            position -= len(segment)
        raise IndexError(f"there is no chunk at position {position} behind the last")

    def text(self, position: int) -> str:
        """Of the chunk at a position; AssertionError where the store has no texts."""
        segment, row = self._segment_at(position)
        assert segment.chunks.texts is not None, "these chunks are vectors alone"
        return segment.chunks.texts[row]

    def reconstruct(self, positions_P: Int64[ndarray, " P"]) -> Float32[ndarray, "P D"]:
        """The vectors as the index remembers them; NotImplementedError where it cannot."""
        vectors_PD = np.empty((len(positions_P), self.dim), dtype=np.float32)
        start = 0
        for segment in self.segments:
            here_P = (positions_P >= start) & (positions_P < start + len(segment))
            if here_P.any():
                vectors_PD[here_P] = segment.index.reconstruct(positions_P[here_P] - start)
            start += len(segment)
        return vectors_PD

    def search(
        self, queries_QD: Float32[ndarray, "Q D"], k: int, group: int | None = None
    ) -> tuple[Int64[ndarray, "Q K"], Float32[ndarray, "Q K"]]:
        """Positions and similarities of the nearest chunks of a group (None: of all); see `VectorIndex.search`."""
        return self.segments[0].index.search(queries_QD, k, group)

    def disturbed(self, labels_N: Int64[ndarray, " N"], flip_rate: float, rng: np.random.Generator) -> "ChunkStore":
        """A copy with other labels whose codes have random bits flipped; see `VectorIndex.with_flipped_bits`."""
        starts = np.cumsum([len(segment) for segment in self.segments])[:-1]
        segments = [
            Segment(
                replace(segment.chunks, labels_N=labels),
                segment.index.with_flipped_bits(flip_rate, rng),
                segment.generation,
            )
            for segment, labels in zip(self.segments, np.split(labels_N, starts), strict=True)
        ]
        return ChunkStore(segments, self.origin)

    def storage_files(self) -> dict[str, bytes]:
        """What answers: indexes and payloads."""
        return {name: content for segment in self.segments for name, content in segment.storage_files().items()}

    def maintain_files(self) -> dict[str, bytes]:
        """What a change needs: ids, raw vectors, and texts where there are any. The manifest comes on top."""
        return {name: content for segment in self.segments for name, content in segment.maintain_files().items()}

    def file_bytes(self) -> dict[str, int]:
        """Exact sizes of the files that answer, before any saving."""
        return {name: len(content) for name, content in self.storage_files().items()}

    @property
    def resident_bytes(self) -> int:
        """Of what a search holds in memory: the serialised indexes, labels, and what is made from a seed."""
        indexes = sum(len(segment.index.storage()) for segment in self.segments)
        return indexes + self.labels_N.nbytes + self.seeded_bytes

    @property
    def seeded_bytes(self) -> int:
        """The rotation: in memory, on no disk."""
        return self.segments[0].index.seeded_bytes

    def own_meta(self) -> dict[str, Any]:
        """What the manifest says of the store itself."""
        notes = [segment.note(self.origin.encoder) for segment in self.segments]
        digest = hashlib.sha256("".join(note["fingerprint"] for note in notes).encode())
        return {
            "num_chunks": len(self.ids_N),
            "dim": self.dim,
            "metric": self.segments[0].index.metric,
            "index": asdict(self.spec),
            "label_bits": list(self.label_bits_G),
            "encoder": None if self.origin.encoder is None else asdict(self.origin.encoder),
            "versions": dict(self.origin.versions),
            "segments": notes,
            "fingerprint": digest.hexdigest(),
        }

    def _sealed(self, extra_files: Mapping[str, bytes], meta: Mapping[str, object]) -> dict[str, Any]:
        own = {**self.storage_files(), **self.maintain_files()}
        assert not own.keys() & extra_files.keys(), "an extra file has the name of one of the store's"
        return {
            "files": {**own, **extra_files},
            "kind": KIND,
            "meta": {"store": self.own_meta(), "extra": dict(meta)},
        }

    def manifest_bytes(self, *, extra_files: Mapping[str, bytes], meta: Mapping[str, object]) -> bytes:
        """The manifest that `save` would write: with it a ledger sums to the bytes of the saved folder."""
        return sealed_bytes(**self._sealed(extra_files, meta))

    def save(self, folder: Path, *, extra_files: Mapping[str, bytes], meta: Mapping[str, object]) -> None:
        """Write the store as `folder`, whole or not at all; `write_sealed` says what is replaced and what refused.

        `extra_files` lie beside the store's own and under the same seal. `meta`, anything that JSON can hold, comes
        back as `["meta"]["extra"]` of the manifest.
        """
        write_sealed(folder, **self._sealed(extra_files, meta))

    @classmethod
    def open(cls, folder: Path, *, verify: bool = True) -> "ChunkStore":
        """The store that was saved as `folder`; it answers like that one. Vectors and texts stay on disk, mapped.

        `verify=False` skips the sha256 of the files, for stores too large to read twice; sizes are always checked.
        UserError, naming the file, for whatever is no whole store.
        """
        stored = verify_sealed(folder, KIND, hashes=verify)["meta"]["store"]
        spec = IndexSpec(**stored["index"])
        segments = [
            Segment.open(folder, noted, spec=spec, dim=stored["dim"], label_bits=stored["label_bits"])
            for noted in stored["segments"]
        ]
        encoder = None if stored["encoder"] is None else EncoderId(**stored["encoder"])
        return cls(segments, Origin(encoder=encoder, versions=stored["versions"]))


def to_dataset(folder: Path) -> "Dataset":
    """The chunks of a saved store as a `datasets.Dataset` (id, text, group, label), mapped from disk.

    What the dataset derives (`map`, `filter`) is cached elsewhere, never in the sealed folder. UserError where the
    store has no texts.
    """
    verify_sealed(folder, KIND, hashes=False)
    if not (folder / TEXTS).exists():
        raise UserError(f"{folder}: holds vectors without texts, so there is no {TEXTS} to read")
    return ArrowTexts(folder / TEXTS).to_dataset()
