"""An encoder of the user's own: any object with `encode`."""

import hashlib
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig, Prompts
from retrieval.errors import UserError
from retrieval.text_vectors import TextVectors

_PROBES = [
    "In which country is Paris?",
    "The capital of Peru is Lima.",
    "Who wrote it, and when?",
    "42 is a number; so is 7.",
    "Städte am Meer, und ein Fluss",
    "a",
]
"""texts whose vectors tell encoders apart"""


@runtime_checkable
class Encodes(Protocol):
    """What an encoder must be able to do: a `SentenceTransformer` can, and so can ten lines of one's own."""

    def encode(self, texts: list[str], /) -> Any:
        """Vectors of N texts, in their order: N rows of D numbers, as an array, a tensor or lists."""


class GivenEncoder(TextVectors):
    """Unit vectors by an object with `encode`. Its own prompts are its business: none is put before a text.

    An object has no files that could be hashed: it is known by its vectors of a few texts, and a torch module by its
    weights too, so that no vector in a cache outlives a step of training.
    """

    def __init__(self, given: Encodes) -> None:
        """UserError where it does not make one vector of finite numbers of each text."""
        self._given = given
        self.name = type(given).__name__
        self.prompts = Prompts()
        # Of a torch module its weights; what another object takes nobody can tell.
        weights = list(given.parameters()) if hasattr(given, "parameters") else []
        self.file_bytes = sum(weight.numel() * weight.element_size() for weight in weights) if weights else None
        probed_ND = self.encode(_PROBES)
        self._dim = int(probed_ND.shape[1])
        told = np.round(probed_ND, 5) + np.float32(0.0)  # of two zeros one
        digest = hashlib.sha256(self.name.encode() + told.tobytes())
        for weight in weights:
            digest.update(weight.detach().float().cpu().numpy().tobytes())
        self.content_hash = digest.hexdigest()[:16]

    @property
    def dim(self) -> int:
        return self._dim

    def load(self) -> None:
        """It was probed, so it is loaded."""

    def _encode(self, texts: list[str]) -> Float32[ndarray, "N D"]:
        made = self._given.encode(texts)
        made = made.detach().float().cpu().numpy() if hasattr(made, "detach") else made
        try:
            vectors_ND = np.array(made, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise UserError(f"encoder {self.name}: encode gives no table of numbers ({error})") from None
        if vectors_ND.ndim != 2 or len(vectors_ND) != len(texts):
            raise UserError(
                f"encoder {self.name}: encode should give {len(texts)} rows for {len(texts)} texts, not "
                f"{list(vectors_ND.shape)}"
            )
        return vectors_ND


def as_encoder(given: "str | EncoderConfig | Encodes | None") -> TextVectors:
    """The encoder of a name, of a config, or behind an object with `encode`; the default one where there is none."""
    if given is None or isinstance(given, str):
        given = EncoderConfig() if given is None else EncoderConfig(model=given)
    return Encoder(given) if isinstance(given, EncoderConfig) else GivenEncoder(given)
