"""Training an FFN to answer keys with frozen value codes, as a Lightning module that wastes no step.

One `training_step` runs many optimisation steps (manual optimisation): see `models.trainers`.

Shape legend: N facts, B batch, D key dimension, E code dimension, V values, M candidates of the largest relation.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import lightning
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from models.abandoning import FIRST_LOOK, falls_short
from models.denormals import flushed_denormals
from models.ffn import FFN
from models.fused_step import FusedStep, can_fuse
from models.key_noise import move_by_noise
from models.optimizers import optimizers_for, rate_after, schedule_for
from models.precisions import Precision
from models.rounding import rounded_weights
from models.trainers import run_calls
from models.training_budget import STEPS_A_LOOK, TrainingBudget, TrainingDiverged, what_to_lower

_FACTS_ASKED_AT_ONCE = 8192
_NATS_WORTH_COUNTING = 0.7
"""mean cross-entropy above which no look counts right answers"""


@dataclass(frozen=True, kw_only=True)
class KeyValueData:
    """What is learned: N keys, the value of each, and the block of values that could answer it."""

    keys_ND: Float[Tensor, "N D"]
    value_ids_N: Int64[Tensor, " N"]
    first_candidates_N: Int64[Tensor, " N"]
    """candidates of fact n are the values [first, end)"""
    end_candidates_N: Int64[Tensor, " N"]

    @classmethod
    def of_one_relation(
        cls, keys_ND: Float[Tensor, "N D"], value_ids_N: Int64[Tensor, " N"], num_values: int
    ) -> "KeyValueData":
        """Every value could answer every key."""
        return cls(
            keys_ND=keys_ND,
            value_ids_N=value_ids_N,
            first_candidates_N=torch.zeros_like(value_ids_N),
            end_candidates_N=torch.full_like(value_ids_N, num_values),
        )


class KeyValueModule(lightning.LightningModule):
    """backbone(keys) . codes, trained with cross-entropy over the candidates of each key."""

    keys_ND: Tensor
    value_ids_N: Tensor
    first_N: Tensor
    end_N: Tensor
    codes_VE: Tensor

    def __init__(
        self,
        backbone: FFN,
        data: KeyValueData,
        codes_VE: Float[Tensor, "V E"],
        budget: TrainingBudget,
        *,
        generator: torch.Generator,
        rounds_to: Precision | None = None,
    ) -> None:
        """`rounds_to` trains weights that are rounded to this precision at every step (quantisation-aware)."""
        super().__init__()
        self.automatic_optimization = False
        self.backbone = backbone
        self.budget = budget
        self.steps_done = 0
        self.succeeded = True
        self.abandoned = False
        self._most_right = 0.0
        self._generator = generator
        self._rounds_to = rounds_to
        self.register_buffer("keys_ND", data.keys_ND, persistent=False)
        self.register_buffer("value_ids_N", data.value_ids_N, persistent=False)
        self.register_buffer("codes_VE", codes_VE, persistent=False)
        self.register_buffer("first_N", data.first_candidates_N, persistent=False)
        self.register_buffer("end_N", data.end_candidates_N, persistent=False)
        self._most_candidates = int((data.end_candidates_N - data.first_candidates_N).max())
        self._masks = bool((data.end_candidates_N - data.first_candidates_N < len(codes_VE)).any())
        self._batches = self._index_batches()
        self._deadline = math.inf
        self._optimizers: list[torch.optim.Optimizer] = []
        self._fused: FusedStep | None = None

    @property
    def batch_facts(self) -> int:
        """Facts that one optimisation step sees."""
        num_facts = len(self.keys_ND)
        return num_facts if num_facts <= self.budget.full_batch_up_to else min(self.budget.batch_size, num_facts)

    def optimizer_moments(self) -> list[list[Tensor]]:
        """What the optimiser remembers of each weight (Adam: two moments), flat; empty where nothing was trained."""
        if self._fused is not None:
            return [[moment.cpu() for moment in moments] for moments in self._fused.adam.moments()]
        remembered: dict[Tensor, list[Tensor]] = {weight: [] for weight in self.backbone.parameters()}
        for optimizer in self._optimizers:
            for weight, state in optimizer.state.items():
                moments = [kept for kept in state.values() if isinstance(kept, Tensor) and kept.shape == weight.shape]
                remembered[weight] = [moment.cpu().flatten() for moment in moments]
        return list(remembered.values())

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
        if self.budget.key_noise:
            keys_BD = move_by_noise(keys_BD, self.budget.key_noise, self._generator, out=torch.empty_like(keys_BD))
        logits_BM, answers_B = self._logits(keys_BD, first_B, end_B), values_B - first_B if self._masks else values_B
        return functional.cross_entropy(logits_BM, answers_B)

    def _logits(
        self, keys_BD: Float[Tensor, "B D"], first_B: Int64[Tensor, " B"], end_B: Int64[Tensor, " B"]
    ) -> Float[Tensor, "B M"]:
        """Of the candidates of each key from its first one on, by weights rounded where they are trained to be; of all
        values where every one is a candidate."""
        if self._rounds_to is None:
            out_BE = self.backbone(keys_BD)
        else:
            out_BE = functional_call(self.backbone, rounded_weights(self.backbone, self._rounds_to), (keys_BD,))
        logits_BV: Tensor = out_BE @ self.codes_VE.T
        if not self._masks:
            return logits_BV
        # Of thousands of values a relation has a few hundred: the softmax over the others would be most of the cost.
        columns_BM = first_B[:, None] + torch.arange(self._most_candidates, device=self.device)
        outside_BM = columns_BM >= end_B[:, None]
        logits_BM: Tensor = logits_BV.gather(1, columns_BM.clamp(max=len(self.codes_VE) - 1))
        return logits_BM.masked_fill(outside_BM, -math.inf)

    @torch.no_grad()
    def share_right(self) -> float:
        """Share of the facts that are answered right, asked by the keys as they are."""
        num_right = 0
        for start in range(0, len(self.keys_ND), _FACTS_ASKED_AT_ONCE):
            rows = slice(start, start + _FACTS_ASKED_AT_ONCE)
            first_B = self.first_N[rows]
            answers_B = self._logits(self.keys_ND[rows], first_B, self.end_N[rows]).argmax(1)
            num_right += int((answers_B + first_B * self._masks == self.value_ids_N[rows]).sum())
        return num_right / len(self.keys_ND)

    def configure_optimizers(self) -> Any:
        """By now the weights are on their device."""
        data = KeyValueData(
            keys_ND=self.keys_ND,
            value_ids_N=self.value_ids_N,
            first_candidates_N=self.first_N,
            end_candidates_N=self.end_N,
        )
        # A trainer of the user's may compute in another precision, or on several devices: by autograd then.
        own = self._trainer
        is_lean = own is None or (own.precision == "32-true" and own.world_size == 1)
        if is_lean and can_fuse(self.backbone, data, self.budget, self._rounds_to):
            self._fused = FusedStep(
                self.backbone,
                data,
                self.codes_VE,
                self.budget,
                batch=self.batch_facts,
                generator=self._generator,
                rounds_to=self._rounds_to,
            )
            return []
        self._optimizers = optimizers_for(self.backbone, self.budget)
        return self._optimizers, [schedule_for(optimizer, self.budget) for optimizer in self._optimizers]

    def on_fit_start(self) -> None:
        self._deadline = time.monotonic() + self.budget.max_seconds

    def training_step(self, call: int, _: int) -> None:
        """STEPS_A_LOOK optimisation steps; ends the fit at the goal or at the deadline."""
        before, num_steps = self.steps_done, min(STEPS_A_LOOK, self.budget.steps - self.steps_done)
        with flushed_denormals():
            if self._fused is None:
                losses_S = torch.stack([self._autograd_step() for _ in range(num_steps)])
            else:
                losses_S = self._fused.run(num_steps, self._batches, after=before)
                self.steps_done += num_steps
        if not losses_S.isfinite().all():
            first = int((~losses_S.isfinite()).nonzero()[0])
            self._say_diverged(f"loss is {losses_S[first].item()}", before + first, before + first)
        if not all(weight.isfinite().all() for weight in self.backbone.parameters()):
            self._say_diverged("weights are not finite", self.steps_done, self.steps_done - 1)
        mean_nats = float(losses_S.mean())
        if self.trainer.logger is not None:
            self.log_dict({"loss_nats": mean_nats, "steps": float(self.steps_done)}, prog_bar=True)
        if self.backbone.is_settled() and self._is_over(mean_nats):
            self.trainer.should_stop = True
        elif time.monotonic() > self._deadline and self.steps_done < self.budget.steps:
            self.succeeded = False
            self.trainer.should_stop = True

    def _is_over(self, mean_nats: float) -> bool:
        """Whether the goal is reached, or will not be."""
        if mean_nats <= self.budget.goal_nats:
            return True
        goal, share_of_steps = self.budget.goal_accuracy, self.steps_done / self.budget.steps
        # A share p of wrong answers costs p log 2 nats a fact at least: far from the goal nothing need be counted.
        may_abandon = self.budget.abandons and FIRST_LOOK <= share_of_steps < 1
        if goal is None or not (may_abandon or mean_nats <= _NATS_WORTH_COUNTING):
            return False
        right = self.share_right()
        self._most_right = max(self._most_right, right)
        self.abandoned = may_abandon and falls_short(
            self._most_right, goal, share_of_steps=share_of_steps, rounding_aware=self._rounds_to is not None
        )
        return self.abandoned or right >= goal

    def _autograd_step(self) -> Float[Tensor, ""]:
        """For what no step is written out; returns the loss before it."""
        schedules: Any = self.lr_schedulers()
        schedules = schedules if isinstance(schedules, list) else [schedules]
        loss = self.loss(next(self._batches))
        auxiliary = self.backbone.auxiliary_loss()
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss if auxiliary is None else loss + auxiliary)
        for optimizer, schedule in zip(self._optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        self.steps_done += 1
        self.backbone.step_done(self.steps_done / self.budget.steps)
        return loss.detach()

    def _say_diverged(self, what: str, steps: int, last: int) -> NoReturn:
        rate = rate_after(last, self.budget)
        if not self.keys_ND.isfinite().all():
            raise TrainingDiverged(f"the {what} because keys are not finite: encode the facts anew")
        raise TrainingDiverged(
            f"the {what} after {steps} steps of {self.budget.optimizer}, at learning_rate {rate:.3g} "
            f"({self.budget.learning_rate:g} at first): lower {self.to_lower}"
        )

    @property
    def to_lower(self) -> str:
        """The setting that is the first to blame where this training diverges."""
        return what_to_lower(self.budget, self.backbone.divergence_suspects())


def fit(module: KeyValueModule, *, accelerator: str) -> str:
    """Run the training to its goal, its steps or its deadline; returns the kind of device it ran on (cpu, cuda)."""
    return run_calls(module, math.ceil(module.budget.steps / STEPS_A_LOOK), accelerator=accelerator)
