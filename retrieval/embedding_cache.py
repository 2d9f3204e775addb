"""Vectors by content: a text is encoded once per encoder, in whichever set, study or process it turns up again.

    <folder>/<content hash of the encoder>/<hash of the batch>.npz    digests, vectors, seconds

Batches never change. A batch carries the hash of its own bytes as its name, so that a damaged one is known by sight.
Needs numpy alone; torch is imported only when there is something to encode.
"""

import hashlib
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import platformdirs
from jaxtyping import Float32
from numpy import ndarray

from retrieval.atomic import write_bytes
from retrieval.text_vectors import TextVectors

TEXTS_PER_BATCH = 2048
"""what a killed process loses at most: 2 to 7 seconds of encoding on two cores"""


@dataclass
class _Known:
    """What is known of one encoder."""

    vectors: dict[bytes, Float32[ndarray, " D"]] = field(default_factory=dict)
    """by the digest of the text"""
    texts_encoded: int = 0
    seconds: float = 0.0


EMBEDDINGS = Path(".cache/embeddings")
"""where commands keep vectors: in the folder that they run in"""


def users_embeddings() -> Path:
    """Where Python code keeps vectors, whatever folder it runs in: among the user's caches."""
    return platformdirs.user_cache_path("retromem") / "embeddings"


class EmbeddingCache:
    """Vectors of texts on disk. Several processes may read and add at once: batches are immutable and appear whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, _Known] = {}

    def vectors(self, encoder_hash: str, texts: Sequence[str]) -> Float32[ndarray, "N D"]:
        """Vectors of N texts, all of which must be in the cache (AssertionError); D is 0 while the cache is empty."""
        assert not (missing := self.missing(encoder_hash, texts)), f"never encoded: {missing[:3]}"
        known = self._of(encoder_hash).vectors
        dim = len(next(iter(known.values()), ()))
        vectors_ND = np.empty((len(texts), dim), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors_ND[row] = known[_digest(text)]
        return vectors_ND

    def missing(self, encoder_hash: str, texts: Sequence[str]) -> list[str]:
        """The texts that are not in the cache, each once, in order of first appearance."""
        known = self._of(encoder_hash).vectors
        return [text for text in dict.fromkeys(texts) if _digest(text) not in known]

    def add(
        self, encoder_hash: str, texts: Sequence[str], vectors_ND: Float32[ndarray, "N D"], *, seconds: float
    ) -> None:
        """Keep the vectors of N >= 1 texts as one batch; `seconds` is what encoding them took."""
        assert len(texts) == len(vectors_ND) > 0
        digests_NB = np.frombuffer(b"".join(map(_digest, texts)), dtype=np.uint8).reshape(len(texts), -1)
        buffer = io.BytesIO()
        np.savez(buffer, digests=digests_NB, vectors=vectors_ND, seconds=np.float64(seconds))
        content = buffer.getvalue()
        known = self._of(encoder_hash)  # before the file is there, or it would be counted twice
        write_bytes(self._folder / encoder_hash / f"{_name_of(content)}.npz", content)
        _take_in(known, content)

    def seconds_per_text(self, encoder_hash: str) -> float:
        """The cold cost of one text: mean over all texts of the cache, measured when they were really encoded.

        Seconds; without loading and warm-up. AssertionError while the cache is empty.
        """
        known = self._of(encoder_hash)
        assert known.texts_encoded, f"nothing was ever encoded with encoder {encoder_hash}"
        return known.seconds / known.texts_encoded

    def encode_missing(
        self, encoder: TextVectors, texts: Sequence[str], on_progress: Callable[[int, int], None] | None = None
    ) -> int:
        """Encode what is missing and return how many texts that was; after it, `vectors` has them all.

        Works in batches of `TEXTS_PER_BATCH`, each on disk before the next begins. Texts are sorted first, by length,
        so that vectors do not depend on the order of the texts. `on_progress` gets (texts done, texts to do).
        """
        pending = sorted(self.missing(encoder.content_hash, texts), key=lambda text: (len(text), text))
        batches = [pending[start : start + TEXTS_PER_BATCH] for start in range(0, len(pending), TEXTS_PER_BATCH)]
        num_done = 0
        for batch, (vectors_ND, seconds) in zip(batches, encoder.encode_batches(batches), strict=True):
            self.add(encoder.content_hash, batch, vectors_ND, seconds=seconds)
            num_done += len(batch)
            if on_progress is not None:
                on_progress(num_done, len(pending))
        return len(pending)

    def _of(self, encoder_hash: str) -> _Known:
        """Read from disk at the first call; batches that others add later are not seen, merely encoded again."""
        if encoder_hash not in self._known:
            known = _Known()
            for path in sorted((self._folder / encoder_hash).glob("[0-9a-f]*.npz")):
                content = path.read_bytes()
                if _name_of(content) == path.stem:
                    _take_in(known, content)
                else:
                    warnings.warn(f"{path} is damaged: removed, its texts will be encoded again", stacklevel=3)
                    path.unlink()
            self._known[encoder_hash] = known
        return self._known[encoder_hash]


def _take_in(known: _Known, content: bytes) -> None:
    with np.load(io.BytesIO(content), allow_pickle=False) as batch:
        for digest_B, vector_D in zip(batch["digests"], batch["vectors"], strict=True):
            known.vectors.setdefault(digest_B.tobytes(), vector_D)
        known.texts_encoded += len(batch["digests"])
        known.seconds += float(batch["seconds"])


def _digest(text: str) -> bytes:
    return hashlib.sha1(text.encode(), usedforsecurity=False).digest()


def _name_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
