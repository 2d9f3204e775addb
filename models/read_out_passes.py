"""From hidden units to the cross-entropy of the answers and back, written out as operations on fixed buffers.

The gradient of a cross-entropy is its softmax less one at the answer. Codes are frozen: they pass a gradient and get
none. The mean over the batch is taken in the codes, the smallest factor.

Shape legend: B batch, F inputs of the read-out, E code dimension, V values, R rows of one block, C its candidates.
"""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from models.layer_passes import Affine
from models.rounding import Operation

MOST_SHARED = 1 << 14
"""logits that a block of several ranges may have: an operation more takes as long as some thousands of them"""


class Block(NamedTuple):
    """Rows of a batch, one after another, and all of the values that are candidates of any of them."""

    first_row: int
    end_row: int
    first_candidate: int
    end_candidate: int
    is_shared: bool = False
    """rows have different candidates, and none has all"""


def blocks_of(counts: Sequence[int], bounds: Sequence[Sequence[int]]) -> list[Block]:
    """Blocks of a batch that is sorted by ranges of candidates, of each of which it has so many rows.

    Small ranges that follow one another share a block, where all are disjoint: many small softmaxes take longer than
    one of which a part is masked.
    """
    disjoint = all(end <= first for (_, end), (first, _) in pairwise(bounds))
    blocks, row = list[Block](), 0
    for count, (first, end) in zip(counts, bounds, strict=True):
        if not count:
            continue
        block = Block(row, row + count, first, end)
        row = block.end_row
        if blocks:
            last = blocks[-1]
            joint = Block(last.first_row, block.end_row, last.first_candidate, end, is_shared=True)
            if disjoint and _num_logits(joint) <= MOST_SHARED:
                blocks[-1] = joint
                continue
        blocks.append(block)
    return blocks


def _num_logits(block: Block) -> int:
    return (block.end_row - block.first_row) * (block.end_candidate - block.first_candidate)


class ReadOut:
    """Operations that differentiate the mean cross-entropy of a batch."""

    def __init__(
        self,
        h_BF: Float[Tensor, "B F"],
        gradient_BF: Float[Tensor, "B F"] | None,
        read_out: Affine,
        codes_VE: Float[Tensor, "V E"],
        answers_B1: Int64[Tensor, "B 1"],
        ranges_B1: Int64[Tensor, "B 1"],
        range_of_V: Int64[Tensor, " V"],
    ) -> None:
        """From h to the gradients of the read-out and, unless it is None, of h.

        Answers are numbered from the first candidate of their block. `ranges_B1`, `range_of_V`: of candidates, that of
        each row and that of each value.
        """
        self._h_BF, self._gradient_BF, self._read_out = h_BF, gradient_BF, read_out
        self._codes_VE, self._shares_VE = codes_VE, codes_VE / len(h_BF)
        self._answers_B1, self._minus_ones_B1 = answers_B1, codes_VE.new_full(answers_B1.shape, -1.0)
        self._ranges_B1, self._range_of_V = ranges_B1, range_of_V
        self.right_B1: Float[Tensor, "B 1"] = codes_VE.new_empty(answers_B1.shape)
        """probability that each right answer was given"""
        self._out_BE, self._out_gradient_BE = codes_VE.new_empty(2, len(h_BF), codes_VE.shape[1])
        self._scores = codes_VE.new_empty(2, 0)

    def _softmax(self, logits_RC: Tensor, probability_RC: Tensor, rows: slice) -> list[Operation]:
        """The gradient of the logits, in the place of the probabilities, but for the mean over the batch."""
        answers_R1 = self._answers_B1[rows]
        return [
            partial(torch.softmax, logits_RC, 1, out=probability_RC),
            lambda: torch.gather(probability_RC, 1, answers_R1, out=self.right_B1[rows]),
            partial(probability_RC.scatter_add_, 1, answers_R1, self._minus_ones_B1[rows]),
        ]

    def _buffers(self, rows: int, candidates: int) -> tuple[Tensor, Tensor]:
        """For logits and probabilities: those that were there before, unless they are too small."""
        if rows * candidates > self._scores.shape[1]:
            self._scores = self._scores.new_empty(2, rows * candidates)
        logits, probabilities = self._scores[:, : rows * candidates].view(2, rows, candidates)
        return logits, probabilities

    def operations(self, blocks: Sequence[Block]) -> list[Operation]:
        """For batches of these blocks, which together have all rows."""
        every = Block(0, len(self._h_BF), 0, len(self._codes_VE))
        return self._merged() if list(blocks) == [every] and self._merging_pays() else self._over(blocks)

    def _merging_pays(self) -> bool:
        """Whether h (W_out codes^T), of few values, is fewer FLOPs than (h W_out) codes^T."""
        units, (num_values, code_dim) = self._h_BF.shape[1], self._codes_VE.shape
        products = 2 if self._gradient_BF is None else 3  # forward, of the weights, of h
        merged = products * units * num_values + 2 * units * num_values * code_dim / len(self._h_BF)
        return merged < products * units * code_dim + 2 * num_values * code_dim

    def _merged(self) -> list[Operation]:
        h_BF, read_out, units, num_values = self._h_BF, self._read_out, self._h_BF.shape[1], len(self._codes_VE)
        merged_FV, merged_gradient_FV = h_BF.new_empty(2, units, num_values)
        bias_V, bias_gradient_V = h_BF.new_empty(2, num_values)
        logits_BV, probability_BV = self._buffers(len(h_BF), num_values)
        found: list[Operation] = [partial(torch.mm, read_out.w_IO, self._codes_VE.T, out=merged_FV)]
        merged = Affine(merged_FV, merged_gradient_FV, None, None)
        if read_out.b_O is not None:
            found.append(partial(torch.mv, self._codes_VE, read_out.b_O, out=bias_V))
            merged = Affine(merged_FV, merged_gradient_FV, bias_V, bias_gradient_V)
        found += merged.forward(h_BF, out=logits_BV)
        found += self._softmax(logits_BV, probability_BV, slice(None))
        found += merged.backward(h_BF, probability_BV)
        found.append(partial(torch.mm, merged_gradient_FV, self._shares_VE, out=read_out.w_gradient_IO))
        if read_out.b_gradient_O is not None:
            found.append(partial(torch.mv, self._shares_VE.T, bias_gradient_V, out=read_out.b_gradient_O))
        if self._gradient_BF is not None:
            found.append(partial(merged_FV.mul_, 1 / len(h_BF)))
            found.append(partial(torch.mm, probability_BV, merged_FV.T, out=self._gradient_BF))
        return found

    def _over(self, blocks: Sequence[Block]) -> list[Operation]:
        """The softmax of each row over its own candidates: of thousands of values a relation has a few hundred."""
        found = self._read_out.forward(self._h_BF, out=self._out_BE)
        self._buffers(1, max(map(_num_logits, blocks)))
        for block in blocks:
            rows, candidates = slice(block.first_row, block.end_row), slice(block.first_candidate, block.end_candidate)
            logits_RC, probability_RC = self._buffers(rows.stop - rows.start, candidates.stop - candidates.start)
            found.append(partial(torch.mm, self._out_BE[rows], self._codes_VE[candidates].T, out=logits_RC))
            if block.is_shared:
                outside_RC = self._ranges_B1[rows] != self._range_of_V[candidates]
                found.append(partial(logits_RC.masked_fill_, outside_RC, -math.inf))
            found += self._softmax(logits_RC, probability_RC, rows)
            found.append(
                partial(torch.mm, probability_RC, self._shares_VE[candidates], out=self._out_gradient_BE[rows])
            )
        found += self._read_out.backward(self._h_BF, self._out_gradient_BE)
        if self._gradient_BF is not None:
            found.append(partial(torch.mm, self._out_gradient_BE, self._read_out.w_IO.T, out=self._gradient_BF))
        return found
