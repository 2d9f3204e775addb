"""Chunks with their vectors, an index over them and a payload: one folder that answers, and can be checked and rebuilt.

    index.faiss     the serialised index, without vectors where there is         } storage: they alone answer
    sorted_codes.bin  their codes, packed to the bit (see `packed_codes`)        }
    payload.bin     labels, entropy-coded or at the bits their group needs       }
    ids.npy         external ids, int64                                          } maintenance: to change a chunk, or to
    vectors.npy     raw float32, from which any other index can be built         } build another index
    chunks.arrow    ids, texts, groups, labels, places (Arrow IPC stream), if there are texts
    manifest.json   sizes and sha256 of all of them, what they were made from, and how the index did in its self-test

A changed store has several segments: the same files again under names such as `index-00000003.faiss`, and positions of
deleted chunks in `tombstones-00000003.bin`, which are storage. See `store_changes`.

Shape legend: N chunks, D dimensions, G groups, Q queries, K ranked answers, P positions.
"""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from retrieval.chunks import Chunks, EncoderId
from retrieval.engines import Engine
from retrieval.errors import UserError
from retrieval.generations import name_of, while_written
from retrieval.phases import OnPhase, unwatched
from retrieval.sealed_folder import MANIFEST, manifest_bytes, verify_sealed, write_sealed
from retrieval.segment import Segment, reading
from retrieval.segmented_chunks import SegmentedChunks
from retrieval.vector_index import INDEX, IndexSpec, VectorIndex

KIND = "chunk-store"
TOMBSTONES = "tombstones.bin"

_POSITION = np.dtype("<u4")


class ChunkStore(SegmentedChunks):
    """Chunks and an index over them. Make one with `build` or `open`."""

    def __init__(
        self,
        segments: Sequence[Segment],
        encoder: EncoderId | None,
        *,
        dead_P: Int64[ndarray, " P"] | None = None,
        dead_generation: int = 0,
        generation: int = 0,
        replaced: Sequence[str] = (),
    ) -> None:
        """`encoder`: None for vectors that no encoder made. The others are of a store that was changed:

        `dead_P` are the positions of deleted chunks, rising, and `dead_generation` is that which wrote them last;
        `replaced` are files that the last generation did away with.
        """
        super().__init__(segments, np.empty(0, dtype=np.int64) if dead_P is None else dead_P)
        self.encoder = encoder
        self.dead_generation = dead_generation
        self.generation = generation
        self.replaced = tuple(replaced)

    @classmethod
    def build(
        cls, chunks: Chunks, spec: IndexSpec, encoder: EncoderId | None = None, *, num_shards: int = 1
    ) -> "ChunkStore":
        """Index the chunks, in memory. UserError for an unknown index, Refused for too few chunks to train it.

        `num_shards`: threads that build at once, from one training. Codes are merged into one index; graphs, which
        cannot be, stay side by side as segments, and their answers are merged.
        """
        index = VectorIndex(spec, chunks.vectors_ND.shape[1])
        index.check_storable(chunks.vectors_ND, chunks.texts)
        if num_shards == 1 or index.merges:
            return cls([Segment.filled(chunks, index, num_shards=num_shards)], encoder)
        index.train(chunks.vectors_ND)

        def built(part: tuple[int, Chunks]) -> Segment:
            number, of_shard = part
            return Segment.filled(of_shard, index.emptied(), number)

        with ThreadPoolExecutor(num_shards) as pool:
            segments = list(pool.map(built, enumerate(chunks.parts(num_shards))))
        return cls(segments, encoder, generation=len(segments) - 1)

    def changed(self, segments: Sequence[Segment], dead_P: Int64[ndarray, " P"]) -> "ChunkStore":
        """The next generation: segments that it shares with this one, and new ones that carry its number."""
        generation = self.generation + 1
        store = ChunkStore(
            segments,
            self.encoder,
            dead_P=dead_P,
            dead_generation=self.dead_generation if np.array_equal(dead_P, self.dead_P) else generation,
            generation=generation,
        )
        store.replaced = tuple(sorted(self.names() - store.names()))
        return store

    def disturbed(self, flip_rate: float, rng: np.random.Generator) -> "ChunkStore":
        """A copy as it is read once random bits of labels and codes were flipped."""
        segments = [segment.disturbed(flip_rate, rng) for segment in self.segments]
        return ChunkStore(segments, self.encoder, dead_P=self.dead_P, dead_generation=self.dead_generation)

    def _tombstones(self) -> dict[str, bytes]:
        if not len(self.dead_P):
            return {}
        return {name_of(TOMBSTONES, self.dead_generation): self.dead_P.astype(_POSITION).tobytes()}

    def names(self) -> set[str]:
        """Of its files, without the manifest and what lies beside them."""
        return {*self._tombstones(), *(name for segment in self.segments for name in segment.names())}

    def new_files(self) -> dict[str, bytes]:
        """Those that the last generation brought."""
        files = self._tombstones() if self.dead_generation == self.generation else {}
        for segment in self.segments:
            if segment.generation == self.generation:
                files |= {**segment.storage_files(), **segment.maintain_files()}
        return files

    def storage_files(self) -> dict[str, bytes]:
        """What answers: indexes, payloads, and which chunks were deleted."""
        files = {name: content for segment in self.segments for name, content in segment.storage_files().items()}
        return {**files, **self._tombstones()}

    def maintain_files(self) -> dict[str, bytes]:
        """What a change needs: ids, raw vectors, and texts where there are any. The manifest comes on top."""
        return {name: content for segment in self.segments for name, content in segment.maintain_files().items()}

    @cached_property
    def file_bytes(self) -> Mapping[str, int]:
        """Exact sizes of the files that answer, before any saving."""
        return {name: len(content) for name, content in self.storage_files().items()}

    @property
    def resident_bytes(self) -> int:
        """Of what a search holds in memory: indexes, unpacked codes, labels, and what is made from a seed."""
        indexes = sum(
            self.file_bytes.get(name_of(INDEX, segment.generation), 0) + segment.index.unpacked_bytes
            for segment in self.segments
        )
        return indexes + self.labels_N.nbytes + self.seeded_bytes

    def own_meta(self) -> dict[str, Any]:
        """What the manifest says of the store itself."""
        notes = [segment.note(self.encoder) for segment in self.segments]
        digest = hashlib.sha256("".join(note["fingerprint"] for note in notes).encode())
        digest.update(self.dead_P.astype(_POSITION).tobytes())
        return {
            "num_chunks": self.num_live,
            "num_deleted": len(self.dead_P),
            "deleted_generation": self.dead_generation,
            "dim": self.dim,
            "metric": self.segments[0].index.metric,
            "index": asdict(self.spec),
            "encoder": None if self.encoder is None else asdict(self.encoder),
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
            "generation": self.generation,
            "replaced": self.replaced,
        }

    def manifest_bytes(self, *, extra_files: Mapping[str, bytes], meta: Mapping[str, object]) -> bytes:
        """The manifest that `save` would write: with it a ledger sums to the bytes of the saved folder."""
        return manifest_bytes(**self._sealed(extra_files, meta))

    def save(
        self,
        folder: Path,
        *,
        extra_files: Mapping[str, bytes],
        meta: Mapping[str, object],
        on_phase: OnPhase = unwatched,
    ) -> None:
        """Write the store as `folder`, whole or not at all; `write_sealed` says what is replaced and what refused.

        `extra_files` lie beside the store's own and under the same seal. `meta`, anything that JSON can hold, comes
        back as `["meta"]["extra"]` of the manifest. `on_phase` is told how far the writing has come.
        """
        write_sealed(folder, **self._sealed(extra_files, meta), on_phase=on_phase)

    @classmethod
    def open(cls, folder: Path, *, verify: bool = True, engine: Engine = "faiss") -> "ChunkStore":
        """The store that was saved as `folder`; it answers like that one. What is not packed stays on disk, mapped.

        `verify=False` skips the sha256 of the files, for stores too large to read twice; sizes are always checked.
        UserError, naming the file, for whatever is no whole store, and for an engine that cannot search it.
        """
        store = while_written(folder, lambda: cls._open(folder, verify=verify))
        for segment in store.segments:
            segment.index.search_with(engine)
        return store

    @classmethod
    def _open(cls, folder: Path, *, verify: bool) -> "ChunkStore":
        manifest = verify_sealed(folder, KIND, hashes=verify)
        try:
            return cls._described(folder, manifest)
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{folder / MANIFEST}: describes no chunk store ({error!r}); build the store again"
            ) from error

    @classmethod
    def _described(cls, folder: Path, manifest: Mapping[str, Any]) -> "ChunkStore":
        stored = manifest["meta"]["store"]
        spec = IndexSpec(**stored["index"])
        segments = [
            Segment.open(
                folder,
                noted,
                spec=spec,
                dim=stored["dim"],
                names=manifest["files"],
            )
            for noted in stored["segments"]
        ]
        return cls(
            segments,
            None if stored["encoder"] is None else EncoderId(**stored["encoder"]),
            dead_P=read_tombstones(folder, stored, sum(map(len, segments))),
            dead_generation=stored["deleted_generation"],
            generation=manifest["generation"],
            replaced=manifest["replaced"],
        )


def read_tombstones(folder: Path, stored: Mapping[str, Any], num_positions: int) -> Int64[ndarray, " P"] | None:
    """The positions of dead chunks that a manifest speaks of; UserError where the file does not name so many."""
    if not stored["num_deleted"]:
        return None
    with reading(folder / name_of(TOMBSTONES, stored["deleted_generation"])) as path:
        dead_P = np.frombuffer(path.read_bytes(), dtype=_POSITION).astype(np.int64)
        if len(dead_P) != stored["num_deleted"] or (np.diff(dead_P) <= 0).any() or dead_P[-1] >= num_positions:
            raise ValueError(f"does not name {stored['num_deleted']} of {num_positions} chunks")
    return dead_P
