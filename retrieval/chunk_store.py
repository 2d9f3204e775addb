"""Chunks with their vectors, an index over them and a payload: one folder that answers, and can be checked and rebuilt.

    index.faiss     the serialised index                                         } storage: they alone answer
    payload.bin     labels at the bits their group needs, and the groups' sizes  }
    ids.npy         external ids, int64                                          } maintenance: to change a chunk, or to
    vectors.npy     raw float32, from which any other index can be built         } build another index
    chunks.arrow    ids, texts, groups, labels (Arrow IPC stream), if there are texts
    manifest.json   sizes and sha256 of all of them

Shape legend: N chunks, D dimensions, G groups, Q queries, K ranked answers.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from retrieval.arrow_texts import ArrowTexts, arrow_stream
from retrieval.bit_packing import pack, packed_size, unpack
from retrieval.errors import UserError
from retrieval.sealed_folder import sealed_bytes, verify_sealed, write_sealed
from retrieval.vector_index import IndexSpec, VectorIndex

if TYPE_CHECKING:
    from datasets import Dataset

KIND = "chunk-store"
INDEX, PAYLOAD, IDS, VECTORS, TEXTS = "index.faiss", "payload.bin", "ids.npy", "vectors.npy", "chunks.arrow"

_COUNT = np.dtype("<u4")  # of one group's chunks


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """What a store holds, sorted by group."""

    ids_N: Int64[ndarray, " N"]
    """external, unique, not negative"""
    vectors_ND: Float32[ndarray, "N D"]
    """of unit norm"""
    labels_N: Int64[ndarray, " N"]
    """payload: 0, 1, ... within the group"""
    groups_N: Int64[ndarray, " N"]
    """0 to G - 1, non-decreasing; a search can be restricted to one"""
    label_bits_G: Sequence[int]
    """bits a label, for each group: ceil(log2(its candidates)), 0 where there is but one"""
    texts: Sequence[str] | None = None
    """None where chunks are vectors alone"""

    def __post_init__(self) -> None:
        assert self.texts is None or len(self.texts) == len(self.ids_N), "one text a chunk, or none at all"
        assert (self.ids_N >= 0).all() and len(np.unique(self.ids_N)) == len(self.ids_N), "ids are unique, not negative"
        assert (np.diff(self.groups_N) >= 0).all(), "chunks lie sorted by group"
        assert ((self.groups_N >= 0) & (self.groups_N < len(self.label_bits_G))).all(), "label_bits_G names every group"

    def counts_G(self) -> Int64[ndarray, " G"]:
        """Chunks of each group."""
        return np.bincount(self.groups_N, minlength=len(self.label_bits_G)).astype(np.int64)


def _pack_payload(chunks: Chunks) -> bytes:
    """Sizes of the groups (none for a single one: it is the index's), then the labels of one group after the other."""
    counts_G = chunks.counts_G()
    head = counts_G.astype(_COUNT).tobytes() if len(counts_G) > 1 else b""
    labels_by_group = np.split(chunks.labels_N, np.cumsum(counts_G)[:-1])
    packed = [pack(labels, bits) for labels, bits in zip(labels_by_group, chunks.label_bits_G, strict=True)]
    return head + b"".join(packed)


def _unpack_payload(payload: bytes, num_chunks: int, label_bits_G: Sequence[int]) -> tuple[ndarray, ndarray]:
    """Labels and groups; ValueError where `payload` is not made of so many chunks at so many bits."""
    num_groups = len(label_bits_G)
    start = num_groups * _COUNT.itemsize if num_groups > 1 else 0
    counts = np.frombuffer(payload[:start], dtype=_COUNT).tolist() if start else [num_chunks]
    labels = []
    for count, bits in zip(counts, label_bits_G, strict=True):
        stop = start + packed_size(count, bits)
        labels.append(unpack(payload[start:stop], count, bits))
        start = stop
    if sum(counts) != num_chunks or start != len(payload):
        raise ValueError(f"{len(payload)} bytes do not hold the labels of {num_chunks} chunks")
    return np.concatenate(labels), np.repeat(np.arange(num_groups), counts)


def _npy(array: ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


@contextmanager
def _reading(path: Path) -> Iterator[Path]:
    """Whatever the reader of one file says becomes one line that names the file."""
    try:
        yield path
    except (EOFError, OSError, ValueError, UserError) as error:  # numpy says EOFError of an empty file
        raise UserError(f"{path}: {error}") from error


class ChunkStore:
    """Chunks and an index over them. Make one with `build` or `open`."""

    def __init__(self, chunks: Chunks, index: VectorIndex) -> None:
        self.chunks = chunks
        self.index = index

    @classmethod
    def build(cls, chunks: Chunks, spec: IndexSpec) -> "ChunkStore":
        """Index the chunks, in memory. UserError for an unknown index, Refused for too few chunks to train it."""
        index = VectorIndex(spec, chunks.vectors_ND.shape[1])
        index.add(chunks.vectors_ND, chunks.groups_N)
        return cls(chunks, index)

    @property
    def labels_N(self) -> Int64[ndarray, " N"]:
        """By position."""
        return self.chunks.labels_N

    @property
    def ids_N(self) -> Int64[ndarray, " N"]:
        """By position."""
        return self.chunks.ids_N

    def search(
        self, queries_QD: Float32[ndarray, "Q D"], k: int, group: int | None = None
    ) -> tuple[Int64[ndarray, "Q K"], Float32[ndarray, "Q K"]]:
        """Positions and similarities of the nearest chunks of a group (None: of all); see `VectorIndex.search`."""
        return self.index.search(queries_QD, k, group)

    def storage_files(self) -> dict[str, bytes]:
        """What answers: the index and the payload."""
        return {INDEX: self.index.storage(), PAYLOAD: _pack_payload(self.chunks)}

    def maintain_files(self) -> dict[str, bytes]:
        """What a change needs: ids, raw vectors, and texts where there are any. The manifest comes on top."""
        files = {IDS: _npy(self.chunks.ids_N), VECTORS: _npy(self.chunks.vectors_ND)}
        if self.chunks.texts is not None:
            files[TEXTS] = arrow_stream(
                self.chunks.ids_N, self.chunks.texts, self.chunks.groups_N, self.chunks.labels_N
            )
        return files

    def file_bytes(self) -> dict[str, int]:
        """Exact sizes of the files that answer, before any saving."""
        return {name: len(content) for name, content in self.storage_files().items()}

    def _sealed(self, extra_files: Mapping[str, bytes], meta: Mapping[str, object]) -> dict[str, Any]:
        own = {**self.storage_files(), **self.maintain_files()}
        assert not own.keys() & extra_files.keys(), "an extra file has the name of one of the store's"
        own_meta = {
            "num_chunks": len(self.ids_N),
            "dim": self.index.dim,
            "index": asdict(self.index.spec),
            "label_bits": list(self.chunks.label_bits_G),
        }
        return {"files": {**own, **extra_files}, "kind": KIND, "meta": {"store": own_meta, "extra": dict(meta)}}

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
        num_chunks, dim, label_bits = stored["num_chunks"], stored["dim"], stored["label_bits"]
        with _reading(folder / IDS) as path:
            ids_N = np.load(path, allow_pickle=False).reshape(num_chunks)
        with _reading(folder / VECTORS) as path:
            vectors_ND = np.load(path, mmap_mode="r", allow_pickle=False).reshape(num_chunks, dim)
        with _reading(folder / PAYLOAD) as path:
            labels_N, groups_N = _unpack_payload(path.read_bytes(), num_chunks, label_bits)
        with _reading(folder / INDEX) as path:
            index = VectorIndex.from_storage(IndexSpec(**stored["index"]), dim, path.read_bytes(), groups_N)
        texts = None
        if (folder / TEXTS).exists():
            with _reading(folder / TEXTS) as path:
                texts = ArrowTexts(path)
        chunks = Chunks(
            ids_N=ids_N,
            vectors_ND=vectors_ND,
            labels_N=labels_N,
            groups_N=groups_N,
            label_bits_G=label_bits,
            texts=texts,
        )
        return cls(chunks, index)


def to_dataset(folder: Path) -> "Dataset":
    """The chunks of a saved store as a `datasets.Dataset` (id, text, group, label), mapped from disk.

    What the dataset derives (`map`, `filter`) is cached elsewhere, never in the sealed folder. UserError where the
    store has no texts.
    """
    verify_sealed(folder, KIND, hashes=False)
    if not (folder / TEXTS).exists():
        raise UserError(f"{folder}: holds vectors without texts, so there is no {TEXTS} to read")
    return ArrowTexts(folder / TEXTS).to_dataset()
