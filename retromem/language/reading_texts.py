"""Questions with the statements that were retrieved for them, as a model that reads is trained on them.

Shape legend: N questions, B questions of a step, K statements of a question, R tokens of the longest statement, L
tokens of the longest text of a step, U chunks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor

from models.retro import NO_TOKEN
from models.token_batches import ShuffledPasses, TokenBatch, padded

Order = Literal["ranked", "shuffled"]


@dataclass(frozen=True, kw_only=True)
class ReadingQuestions:
    """Each question with its answer and its statements, all as tokens."""

    prompts: Sequence[Sequence[int]]
    """beginning and question"""
    answers: Sequence[Sequence[int]]
    """value and end"""
    statements_NK: Int64[ndarray, "N K"]
    """rows of `texts`, the best first; -1: there is none"""
    texts: Sequence[Sequence[int]]
    """of the statements"""

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def read_tokens(self) -> float:
        """Tokens of the statements of a question, mean."""
        mean = sum(map(len, self.texts)) / max(1, len(self.texts))
        return float(mean * self.statements_NK.shape[1])

    def longest(self, *, in_prompt: bool) -> int:
        """Tokens of the longest question with its answer, and with its statements where they stand in the prompt."""
        lengths = np.array([0, *map(len, self.texts)])[self.statements_NK + 1].sum(1) if in_prompt else 0
        both = [len(prompt) + len(answer) for prompt, answer in zip(self.prompts, self.answers, strict=True)]
        return int((np.array(both) + lengths).max())


class ReadingTexts:
    """Questions with their statements, in shuffled passes."""

    def __init__(
        self,
        questions: ReadingQuestions,
        passes: ShuffledPasses,
        *,
        order: Order,
        chunk_tokens: int | None,
        both_ways: bool,
        seed: int,
    ) -> None:
        """`chunk_tokens`: of a model that reads beside its text (RETRO); None: the statements stand in the prompt,
        which sees itself `both_ways` or not."""
        self._questions, self._order, self._chunk_tokens, self._both_ways = questions, order, chunk_tokens, both_ways
        self._passes, self._seed = passes, seed
        self.num_steps = passes.num_steps

    def batch(self, step: int) -> TokenBatch:
        questions, rows = self._questions, self._passes.rows(step).tolist()
        statements_BK = questions.statements_NK[rows]
        if self._order == "shuffled":
            statements_BK = np.random.default_rng([self._seed, step, 0x0DE4]).permuted(statements_BK, axis=1)
        prompts, answers = ([side[row] for row in rows] for side in (questions.prompts, questions.answers))
        if self._chunk_tokens is None:
            prompts = [prompt_with(questions.texts, *pair) for pair in zip(prompts, statements_BK, strict=True)]
        tokens_BL, _ = padded([[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)])
        first_B, num_B = torch.tensor([len(prompt) for prompt in prompts]), torch.tensor([len(a) for a in answers])
        places_L = torch.arange(tokens_BL.shape[1])
        learnt_BL = (places_L >= first_B[:, None]) & (places_L < (first_B + num_B)[:, None])
        context: tuple[Tensor, ...] = (first_B,) if self._both_ways else ()
        if self._chunk_tokens is not None:
            context = beside(questions.texts, statements_BK, first_B, self._chunk_tokens)
        return TokenBatch(tokens_BL, learnt_BL, torch.ones(len(rows), dtype=torch.bool), context)


def prompt_with(texts: Sequence[Sequence[int]], prompt: Sequence[int], statements_K: Int64[ndarray, " K"]) -> list[int]:
    """The statements before the question: each ends as texts end, and all begin as a text begins."""
    begin, *question = prompt
    read = [token for row in statements_K.tolist() if row >= 0 for token in texts[row]]
    return [begin, *read, *question]


def beside(
    texts: Sequence[Sequence[int]],
    statements_BK: Int64[ndarray, "B K"],
    lengths_B: Int64[Tensor, " B"],
    chunk_tokens: int,
) -> tuple[Tensor, Tensor]:
    """Neighbours (B, U, K, R) of the chunks that questions of these lengths fill, and what their first chunks lack, so
    that each question ends where a chunk ends: what was retrieved with the whole question is seen from there on."""
    length = max((len(texts[row]) for row in statements_BK.ravel().tolist() if row >= 0), default=0)
    read_BKR = torch.full((*statements_BK.shape, length), NO_TOKEN)
    for place, row in np.ndenumerate(statements_BK):
        if row >= 0:
            read_BKR[place][: len(texts[row])] = torch.tensor(texts[row])
    last_B = (lengths_B + chunk_tokens - 1).div(chunk_tokens, rounding_mode="floor") - 1
    chunks_U = torch.arange(int(last_B.max()) + 1)
    is_read_BU = chunks_U >= last_B[:, None]
    neighbours_BUKR = torch.where(is_read_BU[:, :, None, None], read_BKR[:, None], NO_TOKEN)
    return neighbours_BUKR, (-lengths_B) % chunk_tokens
