"""Many possible answers as the fewest texts that all of them can be read from.

An answer is read up to its last token but one, and what another one goes on from is read with that: 1,344 days of birth
are 336 texts.

Shape legend: M answers, A answers of one block, C texts of the block, L tokens of its longest text.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.token_batches import padded


class AnswerBlock(NamedTuple):
    """Texts that are read together, and the answers that are read from them."""

    texts_CL: Tensor
    """int64, 0 behind a text"""
    is_text_CL: Tensor
    """bool"""
    answers_A: Tensor
    """which answers"""
    rows_A: Tensor
    """the text of each"""
    tokens_AL: Tensor
    """int64, of each answer those behind its first; 0 behind"""
    is_said_AL: Tensor
    """bool"""


class AnswerRows:
    """Of answers of one token or more, each ended already where it has to be."""

    def __init__(self, answers: Sequence[Sequence[int]]) -> None:
        self._answers = [tuple(answer) for answer in answers]
        self.firsts_M = torch.tensor([answer[0] for answer in self._answers])
        heads = sorted({answer[:-1] for answer in self._answers if len(answer) > 1}, reverse=True)
        read_in: dict[tuple[int, ...], tuple[int, ...]] = {}
        text: tuple[int, ...] = ()
        for head in heads:  # in this order what goes on from a head stands right before it
            text = text if text[: len(head)] == head else head
            read_in[head] = text
        self._of_text: dict[tuple[int, ...], list[int]] = {text: [] for text in read_in.values()}
        for number, answer in enumerate(self._answers):
            if len(answer) > 1:
                self._of_text[read_in[answer[:-1]]].append(number)
        self._texts = sorted(self._of_text, key=lambda text: (len(text), text))
        self._blocks: dict[int, list[AnswerBlock]] = {}

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def num_texts(self) -> int:
        """That are read for all of them."""
        return len(self._texts)

    @property
    def longest(self) -> int:
        """Tokens of the longest answer."""
        return max(map(len, self._answers))

    def blocks(self, most_tokens: int, most_texts: int) -> Sequence[AnswerBlock]:
        """Blocks of at most so many texts and tokens, one text at least; made once."""
        most_texts = max(1, most_texts)
        key = most_tokens * (most_texts + 1) + most_texts
        if key not in self._blocks:
            self._blocks[key] = [self._block(texts) for texts in self._cut(most_tokens, most_texts)]
        return self._blocks[key]

    def _cut(self, most_tokens: int, most_texts: int) -> Iterator[list[tuple[int, ...]]]:
        block: list[tuple[int, ...]] = []
        for text in self._texts:  # the shortest first, so that little is padded
            if block and (len(block) == most_texts or (len(block) + 1) * len(text) > most_tokens):
                yield block
                block = []
            block.append(text)
        if block:
            yield block

    def _block(self, texts: Sequence[tuple[int, ...]]) -> AnswerBlock:
        texts_CL, lengths_C = padded(texts)
        rows, numbers = [], []
        for row, text in enumerate(texts):
            numbers += self._of_text[text]
            rows += [row] * len(self._of_text[text])
        tokens_AL, counts_A = padded([self._answers[number][1:] for number in numbers])
        places_L = torch.arange(texts_CL.shape[1])
        tokens_AL = torch.nn.functional.pad(tokens_AL, (0, texts_CL.shape[1] - tokens_AL.shape[1]))
        return AnswerBlock(
            texts_CL,
            places_L < lengths_C[:, None],
            torch.tensor(numbers),
            torch.tensor(rows),
            tokens_AL,
            places_L < counts_A[:, None],
        )
