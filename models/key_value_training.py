"""Training an FFN to answer keys with frozen value codes, as a Lightning module that wastes no step.

One `training_step` runs many optimisation steps (manual optimisation): the usual one batch an epoch costs several
milliseconds of bookkeeping where the step of a small FFN costs a few hundred microseconds.

Shape legend: N facts, B batch, D key dimension, E code dimension, V values, M candidates of the largest relation.
"""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from models.training_budget import TrainingBudget

STEPS_A_CALL = 100


@dataclass(frozen=True, kw_only=True)
class KeyValueData:
    """What is learned: N keys, the value of each, and the block of values that could answer it."""

    keys_ND: Float[Tensor, "N D"]
    value_ids_N: Int64[Tensor, " N"]
    first_candidates_N: Int64[Tensor, " N"]
    """candidates of fact n are the values [first, end)"""
    end_candidates_N: Int64[Tensor, " N"]


class KeyValueModule(lightning.LightningModule):
    """backbone(keys) . codes, trained with cross-entropy over the candidates of each key."""

    keys_ND: Tensor
    value_ids_N: Tensor
    first_N: Tensor
    end_N: Tensor
    codes_VE: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        data: KeyValueData,
        codes_VE: Float[Tensor, "V E"],
        budget: TrainingBudget,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.backbone = backbone
        self.budget = budget
        self.steps_done = 0
        self.succeeded = True
        self._generator = generator
        self.register_buffer("keys_ND", data.keys_ND, persistent=False)
        self.register_buffer("value_ids_N", data.value_ids_N, persistent=False)
        self.register_buffer("codes_VE", codes_VE, persistent=False)
        self.register_buffer("first_N", data.first_candidates_N, persistent=False)
        self.register_buffer("end_N", data.end_candidates_N, persistent=False)
        self._most_candidates = int((data.end_candidates_N - data.first_candidates_N).max())
        self._masks = bool((data.end_candidates_N - data.first_candidates_N < len(codes_VE)).any())
        self._batches = self._index_batches()
        self._deadline = math.inf
        self._adam: torch.optim.Adam | None = None

    @property
    def batch_facts(self) -> int:
        """Facts that one optimisation step sees."""
        num_facts = len(self.keys_ND)
        return num_facts if num_facts <= self.budget.full_batch_up_to else min(self.budget.batch_size, num_facts)

    def optimizer_moments(self) -> list[list[Tensor]]:
        """Adam's two moments of each weight, flat; empty where nothing was trained."""
        if self._adam is None:
            return [[] for _ in self.backbone.parameters()]
        return [
            [self._adam.state[weight][name].cpu().flatten() for name in ("exp_avg", "exp_avg_sq")]
            for weight in self.backbone.parameters()
        ]

    def _index_batches(self) -> Iterator[Tensor | None]:
        """Row numbers of one minibatch after another; None stands for the full batch.

        No fact twice a pass; what does not fill a last minibatch waits for the next order.
        """
        num_facts, size = len(self.keys_ND), self.batch_facts
        while True:
            if size == num_facts:
                yield None
            else:
                order_N = torch.randperm(num_facts, generator=self._generator).to(self.keys_ND.device)
                yield from order_N[: num_facts - num_facts % size].split(size)

    def loss(self, rows_B: Tensor | None) -> Float[Tensor, ""]:
        """Mean cross-entropy in nats over the rows (all where None)."""
        keys_BD, values_B = self.keys_ND, self.value_ids_N
        first_B, end_B = self.first_N, self.end_N
        if rows_B is not None:
            keys_BD, values_B, first_B, end_B = keys_BD[rows_B], values_B[rows_B], first_B[rows_B], end_B[rows_B]
        logits_BV = self.backbone(keys_BD) @ self.codes_VE.T
        if not self._masks:
            return functional.cross_entropy(logits_BV, values_B)
        # Of thousands of values a relation has a few hundred: the softmax over the others would be most of the cost.
        columns_BM = first_B[:, None] + torch.arange(self._most_candidates, device=self.device)
        outside_BM = columns_BM >= end_B[:, None]
        logits_BM = logits_BV.gather(1, columns_BM.clamp(max=len(self.codes_VE) - 1))
        return functional.cross_entropy(logits_BM.masked_fill(outside_BM, -math.inf), values_B - first_B)

    def configure_optimizers(self) -> Any:
        self._adam = torch.optim.Adam(self.backbone.parameters(), lr=self.budget.learning_rate, fused=True)
        return [self._adam], [torch.optim.lr_scheduler.CosineAnnealingLR(self._adam, self.budget.steps)]

    def on_fit_start(self) -> None:
        self._deadline = time.monotonic() + self.budget.max_seconds

    def training_step(self, call: int, _: int) -> None:
        """STEPS_A_CALL optimisation steps; ends the fit at the goal or at the deadline."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        scheduler = self.lr_schedulers()
        assert isinstance(optimizer, torch.optim.Optimizer)
        assert isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler)
        total = torch.zeros((), device=self.device)
        num_steps = min(STEPS_A_CALL, self.budget.steps - self.steps_done)
        for _ in range(num_steps):
            loss = self.loss(next(self._batches))
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            scheduler.step()
            total += loss.detach()
        self.steps_done += num_steps
        if float(total) / num_steps <= self.budget.goal_nats:
            self.trainer.should_stop = True
        elif time.monotonic() > self._deadline and self.steps_done < self.budget.steps:
            self.succeeded = False
            self.trainer.should_stop = True


def fit(module: KeyValueModule, *, accelerator: str) -> str:
    """Run the training to its goal, its steps or its deadline; returns the kind of device it ran on (cpu, cuda)."""
    calls = math.ceil(module.budget.steps / STEPS_A_CALL)
    # Four lines and an advertisement for every training: too much for thousands of them.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=calls,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader([0], batch_size=None))  # type: ignore[arg-type]
    return str(trainer.strategy.root_device.type)
