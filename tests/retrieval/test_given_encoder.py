"""Any object with `encode` is an encoder: what it must give, how it is known, and that nothing else changes."""

from typing import Any

import numpy as np
import pytest
import torch

from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig, Prompts
from retrieval.errors import UserError
from retrieval.given_encoder import Encodes, GivenEncoder, as_encoder
from retrieval.hashed_trigrams import HASHED_TRIGRAMS, hashed_trigrams


class Letters:
    """Counts of letters, by the project's own road, as whatever kind of table a user has."""

    def __init__(self, made_as: Any = np.asarray, scale: float = 3.0) -> None:
        self.made_as, self.scale = made_as, scale

    def encode(self, texts: list[str]) -> Any:
        return self.made_as(self.scale * hashed_trigrams(texts))


TEXTS = ["In which country is Paris?", "Lima", ""]


@pytest.mark.parametrize("made_as", [np.asarray, torch.tensor, np.ndarray.tolist], ids=["array", "tensor", "lists"])
def test_whatever_it_gives_becomes_unit_vectors(made_as: Any) -> None:
    given = GivenEncoder(Letters(made_as))
    own = Encoder(EncoderConfig(model=HASHED_TRIGRAMS))
    assert given.encode(TEXTS) == pytest.approx(own.encode(TEXTS), abs=1e-6)
    assert (given.dim, given.prompts, given.file_bytes) == (own.dim, Prompts(), None)
    assert given.encode([]).shape == (0, own.dim)
    assert len(list(given.encode_batches([TEXTS, TEXTS[:1]]))) == 2


def test_it_is_known_by_its_vectors_and_its_name() -> None:
    class Others(Letters):
        def encode(self, texts: list[str]) -> Any:
            return super().encode([text[::-1] for text in texts])

    known = GivenEncoder(Letters()).content_hash
    assert GivenEncoder(Letters(torch.tensor, scale=1.0)).content_hash == known, "lengths are taken off"
    assert GivenEncoder(Others()).content_hash != known
    assert len(known) == 16


def test_a_torch_module_tells_its_bytes() -> None:
    class Net(torch.nn.Linear):
        def encode(self, texts: list[str]) -> Any:
            return self(torch.from_numpy(hashed_trigrams(texts)))

    dim = hashed_trigrams(["a"]).shape[1]
    net = Net(dim, 8)
    known = GivenEncoder(net)
    assert known.file_bytes == 4 * (8 * dim + 8)
    with torch.no_grad():
        net.weight[0, 0] += 1e-6  # less than any vector shows
    assert GivenEncoder(net).content_hash != known.content_hash


@pytest.mark.parametrize(
    ("made_as", "message"),
    [
        (lambda vectors: vectors[0], r"encoder Letters: encode should give 6 rows for 6 texts, not \[384\]"),
        (lambda vectors: vectors[:2], r"should give 6 rows for 6 texts, not \[2, 384\]"),
        (lambda vectors: "nothing", "encode gives no table of numbers"),
        (lambda vectors: vectors * np.nan, "encoder Letters: makes NaN or infinity of 'In which country is Paris"),
    ],
)
def test_what_gives_no_vector_a_text_is_refused(made_as: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        GivenEncoder(Letters(made_as))


def test_an_encoder_is_a_name_a_config_or_an_object() -> None:
    assert as_encoder(None).name == EncoderConfig().model
    assert as_encoder(HASHED_TRIGRAMS).content_hash == Encoder(EncoderConfig(model=HASHED_TRIGRAMS)).content_hash
    assert isinstance(as_encoder(Letters()), GivenEncoder) and isinstance(Letters(), Encodes)
    assert as_encoder(EncoderConfig(model=HASHED_TRIGRAMS, truncate_dim=7)).dim == 7
