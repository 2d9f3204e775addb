"""The texts that a decoder is trained on, and which of them a step sees.

That is a pure function of the step, so that a training can go on anywhere.

Shape legend: N texts, B texts of a step, T tokens of the longest text, L tokens of the longest text of a step.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


class TokenBatch(NamedTuple):
    """Of one step."""

    tokens_BL: Tensor
    """int64, whatever after the end of a text"""
    learnt_BL: Tensor
    """bool: tokens that have a loss"""
    asked_B: Tensor
    """bool: texts whose loss says when enough was learnt; of others part may be beyond learning"""
    context: tuple[Any, ...] = ()
    """what else the model is given: neighbours, for one that retrieves"""


class TokenBatches(Protocol):
    """Where a training takes its texts from."""

    num_steps: int

    def batch(self, step: int) -> TokenBatch: ...


class ShuffledPasses:
    """Which of N texts each step sees: one shuffled pass over all of them after another, cut into equal steps."""

    def __init__(self, num_texts: int, *, exposures: int, batch_size: int, seed: int) -> None:
        self._num_texts, self._seed = num_texts, seed
        self.batch_size = min(batch_size, num_texts)
        self.num_steps = -(-exposures * num_texts // self.batch_size)
        self._passes: dict[int, Tensor] = {}

    def rows(self, step: int) -> Int64[Tensor, " B"]:
        """Texts of this step, the first being 0."""
        num, first = self._num_texts, step * self.batch_size
        touched = range(first // num, (first + self.batch_size - 1) // num + 1)
        self._passes = {number: self._passes.get(number, self._order(number)) for number in touched}
        order = torch.cat([self._passes[number] for number in touched])
        return order[first - touched[0] * num :][: self.batch_size]

    def _order(self, number: int) -> Int64[Tensor, " N"]:
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + number) % 2**63)
        return torch.randperm(self._num_texts, generator=generator)


class ShuffledTexts:
    """Texts by themselves, in shuffled passes."""

    def __init__(
        self,
        tokens_NT: Int64[Tensor, "N T"],
        learnt_NT: Bool[Tensor, "N T"],
        lengths_N: Int64[Tensor, " N"],
        asked_N: Bool[Tensor, " N"],
        passes: ShuffledPasses,
    ) -> None:
        self._tokens_NT, self._learnt_NT, self._lengths_N = tokens_NT, learnt_NT, lengths_N
        self._asked_N, self._passes = asked_N, passes
        self.num_steps = passes.num_steps

    def batch(self, step: int) -> TokenBatch:
        rows_B = self._passes.rows(step)
        longest = int(self._lengths_N[rows_B].max())
        return TokenBatch(self._tokens_NT[rows_B, :longest], self._learnt_NT[rows_B, :longest], self._asked_N[rows_B])


def padded(texts: Sequence[Sequence[int]], fill: int = 0) -> tuple[Int64[Tensor, "N T"], Int64[Tensor, " N"]]:
    """Texts of different lengths as one array, and how long each is."""
    lengths_N = torch.tensor([len(text) for text in texts])
    tokens_NT = torch.full((len(texts), int(lengths_N.max())), fill)
    for row, text in enumerate(texts):
        tokens_NT[row, : len(text)] = torch.tensor(text)
    return tokens_NT, lengths_N
