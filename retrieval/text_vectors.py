"""What every encoder does alike: unit vectors of texts, checked, timed, and whole batches of them."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from retrieval.encoder_config import Prompts
from retrieval.errors import UserError


class TextVectors(ABC):
    """Texts -> unit vectors."""

    name: str
    """for people"""
    suspects = "it is damaged"
    """what may be wrong where a vector is none"""
    content_hash: str
    """of all that changes a vector"""
    file_bytes: int | None
    """of the encoder's files; None where it does not tell"""
    prompts: Prompts
    """what whoever asks puts before a text"""

    @property
    @abstractmethod
    def dim(self) -> int:
        """D, the size of a vector."""

    @abstractmethod
    def load(self) -> None:
        """Make ready, so that what is timed afterwards is encoding alone."""

    @abstractmethod
    def _encode(self, texts: list[str]) -> Float32[ndarray, "N D"]:
        """Vectors of one text or more, of any length."""

    def encode(self, texts: Sequence[str]) -> Float32[ndarray, "N D"]:
        """Unit vectors of N texts, in their order; N may be 0. Where a model sees no token, the vector may be zero.

        UserError where the model makes NaN or infinity.

        Every text is encoded as it stands: whoever asks puts the encoder's `prompts` before it. Normalised in float32,
        because vectors that were normalised in bfloat16 are off unit norm by up to 4e-3. The vector of a text depends
        on the texts it was batched with: measured up to 3e-7 a component in float32 and 3e-3 in bfloat16.
        """
        assert not isinstance(texts, str), "a list of texts, not one text"
        if len(texts) == 0:
            return np.zeros((0, self.dim), dtype=np.float32)
        vectors_ND = self._encode(list(texts))
        norms_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
        for row in np.flatnonzero(~np.isfinite(norms_N1))[:1].tolist():
            raise UserError(f"encoder {self.name}: makes NaN or infinity of {texts[row][:60]!r}; {self.suspects}")
        units_ND: Float32[ndarray, "N D"] = vectors_ND / np.maximum(norms_N1, np.float32(1e-12))
        return units_ND

    def single_text_ms(self, texts: Sequence[str]) -> float:
        """Median milliseconds to encode one text alone (batch 1); loading and warm-up are not in it."""
        self.load()
        milliseconds = []
        for text in texts:
            started = time.perf_counter()
            self.encode([text])
            milliseconds.append(1e3 * (time.perf_counter() - started))
        return float(np.median(milliseconds))

    def encode_batches(self, batches: Sequence[Sequence[str]]) -> Iterator[tuple[Float32[ndarray, "N D"], float]]:
        """`encode` of each batch in their order, and the seconds that it took, loading apart."""
        for number, batch in enumerate(batches):
            if number == 0:
                self.load()
            yield self.timed(batch)

    def timed(self, batch: Sequence[str]) -> tuple[Float32[ndarray, "N D"], float]:
        """`encode` and the seconds that it took."""
        started = time.perf_counter()
        vectors_ND = self.encode(batch)
        return vectors_ND, time.perf_counter() - started
