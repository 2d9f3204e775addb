"""Trainings whose optimisation step is written out, as Lightning modules: see `models.trainers` for who runs them."""

import math
from abc import abstractmethod
from typing import Any

import lightning
import torch
from torch import Tensor

from models.trainers import run_calls
from models.training_budget import STEPS_A_LOOK


class StepModule(lightning.LightningModule):
    """So many optimisation steps, or fewer; a hundred a call of `training_step`, whose mean loss is logged."""

    _optimizer: torch.optim.Optimizer
    """that takes the steps"""

    def __init__(self, num_steps: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.num_steps, self.steps_done = num_steps, 0
        self.is_over = False
        """set by a step after which nothing is left to learn"""

    @abstractmethod
    def step(self, number: int) -> Tensor:
        """One optimisation step, the first is 0; the loss before it. Raises TrainingDiverged."""

    def configure_optimizers(self) -> Any:
        return self._optimizer

    def _descend(self, loss: Tensor) -> None:
        """One step along the gradients of this loss."""
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()

    def training_step(self, call: int, _: int) -> None:
        losses = []
        for number in range(self.steps_done, min(self.steps_done + STEPS_A_LOOK, self.num_steps)):
            losses.append(self.step(number).detach())
            self.steps_done = number + 1
            if self.is_over:
                self.trainer.should_stop = True
                break
        if self.trainer.logger is not None:
            loss = float(torch.stack(losses).mean())
            self.log_dict({"loss": loss, "steps": float(self.steps_done)}, prog_bar=True)


def take_steps(module: StepModule) -> None:
    """All of them, on the processor: what is trained so is small."""
    run_calls(module, math.ceil(module.num_steps / STEPS_A_LOOK), accelerator="cpu")
