"""A run of chunks with an index of its own. It never changes: a store changes by naming other segments.

Shape legend: N chunks, D dimensions.
"""

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.arrow_texts import ArrowTexts, arrow_stream
from retrieval.chunks import Chunks, EncoderId, npy_bytes
from retrieval.errors import UserError
from retrieval.generations import name_of
from retrieval.payload import (
    Payload,
    labels_of_flipped_bits,
    noted_payload,
    pack_payload,
    payload_note,
    unpack_payload,
)
from retrieval.self_test import self_test
from retrieval.vector_index import CODES, INDEX, SORTED_CODES, IndexSpec, VectorIndex

PAYLOAD, IDS, VECTORS, TEXTS = "payload.bin", "ids.npy", "vectors.npy", "chunks.arrow"


@contextmanager
def reading(path: Path) -> Iterator[Path]:
    """Whatever the reader of one file says becomes one line that names the file."""
    try:
        yield path
    except (EOFError, OSError, ValueError, UserError) as error:  # numpy says EOFError of an empty file
        raise UserError(f"{path}: {error}") from error


def package_versions() -> dict[str, str]:
    """Of what decides the bytes of an index and of its labels."""
    from retrieval._faiss import faiss

    try:
        own = version("retromem")
    except PackageNotFoundError:
        own = "not installed"
    return {
        "constriction": version("constriction"),
        "faiss": str(faiss.__version__),
        "numpy": np.__version__,
        "retromem": own,
    }


class Segment:
    """Chunks, their index, and the generation of the store that brought them."""

    def __init__(
        self, chunks: Chunks, index: VectorIndex, generation: int = 0, *, noted: Mapping[str, Any] | None = None
    ) -> None:
        """`noted`: what a manifest says of it, so that nothing is measured again."""
        self.chunks = chunks
        self.index = index
        self.generation = generation
        self._noted = noted

    @classmethod
    def filled(cls, chunks: Chunks, index: VectorIndex, generation: int = 0, *, num_shards: int = 1) -> "Segment":
        """Chunks and the index, empty until now, that is filled with them; they may come to lie in another order."""
        index.add(chunks.vectors_ND, chunks.groups_N, num_shards=num_shards)
        order_N = index.sort_codes()
        return cls(chunks if order_N is None else chunks.in_order(order_N), index, generation)

    def __len__(self) -> int:
        return len(self.chunks.ids_N)

    def note(self, encoder: EncoderId | None) -> dict[str, Any]:
        """What the manifest says of it: where its files are, what they were made from and with, its self-test."""
        if self._noted is None:
            tested = self_test(self.chunks.vectors_ND, self.index)
            self._noted = {
                "generation": self.generation,
                "num_chunks": len(self),
                "num_labels": self.chunks.num_labels_G,
                "label_bits": list(self.chunks.label_bits_G),
                **payload_note(self.payload, self.chunks.label_counts_G),
                "fingerprint": self.chunks.fingerprint(self.index.spec, encoder),
                "self_test": {
                    "sampled": tested.sampled,
                    "found": tested.found,
                    "recall_at_1": round(tested.recall_at_1, 4),
                },
                "versions": package_versions(),
            }
        return dict(self._noted)

    @cached_property
    def payload(self) -> Payload:
        """Labels and the sizes of groups, as they are stored."""
        chunks = self.chunks
        return pack_payload(chunks.labels_N, chunks.groups_N, chunks.label_bits_G, chunks.label_counts_G)

    def disturbed(self, flip_rate: float, rng: np.random.Generator) -> "Segment":
        """A copy as it is read once random bits of its labels and codes were flipped; see `labels_of_flipped_bits` and
        `VectorIndex.with_flipped_bits`."""
        chunks = self.chunks
        labels_N = labels_of_flipped_bits(
            self.payload, chunks.groups_N, chunks.label_bits_G, chunks.label_counts_G, rate=flip_rate, rng=rng
        )
        # A label beyond the last names no value; it is as wrong as any other.
        labels_N %= np.asarray(chunks.num_labels_G)[chunks.groups_N]
        return Segment(
            replace(chunks, labels_N=labels_N), self.index.with_flipped_bits(flip_rate, rng), self.generation
        )

    def names(self) -> set[str]:
        """Of its files."""
        names = [*self.index.storage_names, PAYLOAD, IDS, VECTORS, *([] if self.chunks.texts is None else [TEXTS])]
        return {name_of(name, self.generation) for name in names}

    def storage_files(self) -> dict[str, bytes]:
        """What answers: the index and the payload."""
        files = {**self.index.storage(), PAYLOAD: self.payload.content}
        return {name_of(name, self.generation): content for name, content in files.items()}

    def maintain_files(self) -> dict[str, bytes]:
        """What a change needs: ids, raw vectors, and texts where there are any."""
        chunks = self.chunks
        files = {IDS: npy_bytes(chunks.ids_N), VECTORS: npy_bytes(chunks.vectors_ND)}
        if chunks.texts is not None:
            columns: dict[str, Any] = {
                "id": chunks.ids_N,
                "text": chunks.texts,
                "group": chunks.groups_N,
                "label": chunks.labels_N,
            }
            files[TEXTS] = arrow_stream(columns if chunks.places is None else {**columns, "place": chunks.places})
        return {name_of(name, self.generation): content for name, content in files.items()}

    @classmethod
    def open(
        cls,
        folder: Path,
        noted: Mapping[str, Any],
        *,
        spec: IndexSpec,
        dim: int,
        names: Container[str],
    ) -> "Segment":
        """The segment that a manifest notes, with those of its files that `names` has. Vectors, texts and an index that
        is stored whole stay on disk, mapped.

        UserError that names the file.
        """
        generation, num_chunks = noted["generation"], noted["num_chunks"]

        def place(name: str) -> Path:
            return folder / name_of(name, generation)

        with reading(place(IDS)) as path:
            ids_N = np.load(path, allow_pickle=False).reshape(num_chunks)
        with reading(place(VECTORS)) as path:
            vectors_ND = np.load(path, mmap_mode="r", allow_pickle=False).reshape(num_chunks, dim)
        with reading(place(PAYLOAD)) as path:
            is_coded, counts_G = noted_payload(noted)
            payload = Payload(path.read_bytes(), is_coded)
            labels_N, groups_N = unpack_payload(payload, num_chunks, noted["label_bits"], counts_G)
        # Codes that are packed may need no other file; an index that is stored whole has none of them.
        files = {name: place(name) for name in (SORTED_CODES, CODES, INDEX) if name_of(name, generation) in names}
        with reading(next(iter(files.values()), place(INDEX))):
            index = VectorIndex.from_storage(spec, dim, files, num_chunks, groups_N)
        arrow_texts = None
        if name_of(TEXTS, generation) in names:
            with reading(place(TEXTS)) as path:
                arrow_texts = ArrowTexts(path)
        with reading(place(IDS)):
            chunks = Chunks(
                ids_N=ids_N,
                vectors_ND=vectors_ND,
                labels_N=labels_N,
                groups_N=groups_N,
                label_bits_G=noted["label_bits"],
                texts=arrow_texts,
                places=arrow_texts.beside("place") if arrow_texts else None,
                named_labels_G=noted["num_labels"],
                label_counts_G=counts_G,
            )
        return cls(chunks, index, generation, noted=noted)
