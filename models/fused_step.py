"""One optimisation step of an FFN of one layer, written out: batch, forward, backward and Adam on buffers made once.

Autograd, the optimiser and its schedule cost a small FFN several times its matrix products. Here a step is some twenty
operations. Tests hold its gradients against autograd's and its steps against torch.optim's.

Shape legend: N facts, B batch, D key dimension, E code dimension, V values, G ranges of candidates, S steps.
"""

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from models.ffn import FFN
from models.flat_adam import FlatAdam
from models.key_noise import move_by_noise
from models.kind_passes import has_passes, layers_of
from models.optimizers import rate_after
from models.precisions import Precision
from models.read_out_passes import Block, ReadOut, blocks_of
from models.rounding import Operation
from models.training_budget import TrainingBudget

if TYPE_CHECKING:
    from models.key_value_training import KeyValueData

MOST_RANGES = 512
"""of candidates: sorted into blocks at each step, which takes longer than autograd's single softmax of more"""


def can_fuse(ffn: FFN, data: "KeyValueData", budget: TrainingBudget, rounds_to: Precision | None) -> bool:
    """Whether `FusedStep` trains this, or autograd must. The one place where that is decided."""
    num_ranges = len(_bounds_N2(data).unique(dim=0))
    return budget.optimizer in ("adam", "adamw") and has_passes(ffn, rounds_to) and num_ranges <= MOST_RANGES


def _bounds_N2(data: "KeyValueData") -> Int64[Tensor, "N 2"]:
    return torch.stack([data.first_candidates_N, data.end_candidates_N], dim=1)


class FusedStep:
    """Differentiates a batch and goes one step of Adam along the gradient."""

    def __init__(
        self,
        ffn: FFN,
        data: "KeyValueData",
        codes_VE: Float[Tensor, "V E"],
        budget: TrainingBudget,
        *,
        batch: int,
        generator: torch.Generator,
        rounds_to: Precision | None,
    ) -> None:
        """The weights of the FFN become views of one vector. `batch`: facts of a step."""
        self.adam = FlatAdam(ffn, budget, rounds_to=rounds_to)
        self._budget, self._generator = budget, generator
        bounds_G2, self._range_N = _bounds_N2(data).unique(dim=0, return_inverse=True)
        self._bounds: list[list[int]] = bounds_G2.tolist()
        self._keys_ND, self._value_ids_N1 = data.keys_ND, data.value_ids_N[:, None]
        self._keys_BD = self._keys_ND.new_empty(batch, data.keys_ND.shape[1])
        self._answers_B1, self._range_B1 = self._value_ids_N1.new_zeros(2, batch, 1)
        self._moved_BD = torch.empty_like(self._keys_BD) if budget.key_noise else self._keys_BD
        self._hidden, read_out = layers_of(ffn, self._moved_BD, self.adam.weights, self.adam.gradients)
        h_BF, gradient_BF = (self._moved_BD, None) if self._hidden is None else self._hidden[:2]
        range_of_V = self._range_B1.new_full((len(codes_VE),), -1)
        for number, (first, end) in enumerate(self._bounds):
            range_of_V[first:end] = number
        self._read_out = ReadOut(h_BF, gradient_BF, read_out, codes_VE, self._answers_B1, self._range_B1, range_of_V)
        self._blocks = [Block(0, batch, *self._bounds[0])]
        self._operations = self._through(self._blocks)
        if batch == len(data.keys_ND):
            self._take(torch.arange(batch, device=data.keys_ND.device))

    def _through(self, blocks: list[Block]) -> list[Operation]:
        """All that differentiates a batch of these blocks."""
        forward, backward = ([], []) if self._hidden is None else (self._hidden.forward, self._hidden.backward)
        return [*self.adam.rounding, *forward, *self._read_out.operations(blocks), *backward]

    @torch.inference_mode()  # a seventh off a small step
    def run(self, num_steps: int, batches: Iterator[Tensor | None], *, after: int) -> Float[Tensor, " S"]:
        """So many steps, the first of them `after` so many others; returns the loss of each, in nats a fact.

        The loss of a fact counts up to that of the least normal number, 87 nats in float32.
        """
        right_SB1 = self._keys_BD.new_empty(num_steps, len(self._keys_BD), 1)
        numbers_S = torch.arange(after + 1, after + num_steps + 1, dtype=torch.float32, device=right_SB1.device)
        for step, number, right_B1 in zip(count(after), numbers_S.unbind(), right_SB1.unbind()):
            self.differentiate(next(batches), right_B1=right_B1)
            self.adam.step(number, rate_after(step, self._budget))
        losses_S: Tensor = -right_SB1.clamp_(min=torch.finfo(right_SB1.dtype).tiny).log_().mean(dim=(1, 2))
        return losses_S

    def differentiate(self, rows_B: Int64[Tensor, " B"] | None, *, right_B1: Float[Tensor, "B 1"]) -> None:
        """Write the gradients of the mean cross-entropy over the rows (all where None) to `adam.gradients`.

        `right_B1` gets the probability that each right answer was given, in the order of their candidates.
        """
        self._read_out.right_B1 = right_B1
        if rows_B is not None:
            self._take(rows_B)
        if self._budget.key_noise:
            move_by_noise(self._keys_BD, self._budget.key_noise, self._generator, out=self._moved_BD)
        for operation in self._operations:
            operation()

    def _take(self, rows_B: Int64[Tensor, " B"]) -> None:
        """Facts of the next step, those of one range of candidates together."""
        if len(self._bounds) > 1:
            range_B, order_B = self._range_N[rows_B].sort()
            rows_B = rows_B[order_B]
            self._range_B1.copy_(range_B[:, None])
            self._blocks = blocks_of(torch.bincount(range_B, minlength=len(self._bounds)).tolist(), self._bounds)
            self._operations = self._through(self._blocks)
        torch.index_select(self._keys_ND, 0, rows_B, out=self._keys_BD)
        torch.index_select(self._value_ids_N1, 0, rows_B, out=self._answers_B1)
        for block in self._blocks:
            if block.first_candidate:
                self._answers_B1[block.first_row : block.end_row] -= block.first_candidate
