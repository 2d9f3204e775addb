"""States of a decoder and the token that followed each: what kNN-LM searches.

Shape legend: N stored states, Q states asked for, K neighbours, D dimension of a state, V tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from retrieval.bit_packing import pack, unpack
from retrieval.vector_index import IndexSpec, VectorIndex

if TYPE_CHECKING:
    from torch import Tensor

    from models.decoder import Decoder
    from retromem.language.prompts import TrainingTexts

TOKENS = "followed_by.bin"
_TEXTS_AT_ONCE = 512


class StateStore:
    """An index of unit states, and the tokens packed into as few bits as the vocabulary takes."""

    def __init__(self, index: VectorIndex, tokens_N: Int64[ndarray, " N"], num_tokens: int) -> None:
        self._index, self.tokens_N = index, tokens_N
        self._bits = max(1, (num_tokens - 1).bit_length())

    @classmethod
    def of(
        cls, states_ND: Float32[ndarray, "N D"], tokens_N: Int64[ndarray, " N"], num: int, spec: IndexSpec
    ) -> "StateStore":
        """These states; `num`: tokens of the vocabulary. Refused where FAISS cannot build this index of so few."""
        index = VectorIndex(spec, states_ND.shape[1])
        index.add(_unit(states_ND))
        return cls(index, tokens_N, num)

    def search(
        self, states_QD: Float32[ndarray, "Q D"], k: int
    ) -> tuple[Int64[ndarray, "Q K"], Float32[ndarray, "Q K"]]:
        """Places and cosines of the nearest, best first; -1 and -inf where there are no more."""
        return self._index.search(_unit(states_QD), k)

    def look_up(self, states_QD: "Tensor", k: int) -> "tuple[Tensor, Tensor]":
        """Cosines (Q, K) and the tokens (Q, K) that followed."""
        import torch

        places_QK, cosines_QK = self.search(states_QD.float().numpy(), k)
        return torch.from_numpy(cosines_QK), torch.from_numpy(np.where(places_QK < 0, 0, self.tokens_N[places_QK]))

    @property
    def num_states(self) -> int:
        return len(self.tokens_N)

    def files(self) -> dict[str, bytes]:
        """What answers."""
        return {**self._index.storage(), TOKENS: pack(self.tokens_N, self._bits)}

    @classmethod
    def of_folder(cls, folder: Path, spec: IndexSpec, dim: int, num_states: int, num_tokens: int) -> "StateStore":
        """The store whose files lie there."""
        names = [name for name in VectorIndex(spec, dim).storage_names if (folder / name).exists()]
        contents: Mapping[str, bytes | Path] = {name: (folder / name).read_bytes() for name in names}
        index = VectorIndex.from_storage(spec, dim, contents, num_states)
        bits = max(1, (num_tokens - 1).bit_length())
        return cls(index, unpack((folder / TOKENS).read_bytes(), num_states, bits), num_tokens)


def _unit(states_ND: Float32[ndarray, "N D"]) -> Float32[ndarray, "N D"]:
    lengths_N1 = np.maximum(np.linalg.norm(states_ND, axis=1, keepdims=True), 1e-12)
    return np.ascontiguousarray((states_ND / lengths_N1).astype(np.float32))


@dataclass(frozen=True)
class LearntStates:
    """Of every token that has a loss in some texts."""

    states_ND: "Tensor"
    """before it"""
    tokens_N: "Tensor"
    """the token itself"""
    texts_N: "Tensor"
    """number of its text"""


def states_of(decoder: "Decoder", texts: "TrainingTexts") -> LearntStates:
    """What the decoder makes of these texts."""
    import torch

    states, tokens, numbers = [], [], []
    with torch.inference_mode():
        for start in range(0, len(texts.tokens_NT), _TEXTS_AT_ONCE):
            rows = slice(start, start + _TEXTS_AT_ONCE)
            hidden_BTD = decoder.hidden(texts.tokens_NT[rows, :-1])
            learnt_BT = texts.learnt_NT[rows, 1:]
            states.append(hidden_BTD[learnt_BT])
            tokens.append(texts.tokens_NT[rows, 1:][learnt_BT])
            numbers.append(start + learnt_BT.nonzero()[:, 0])
    return LearntStates(torch.cat(states), torch.cat(tokens), torch.cat(numbers))
