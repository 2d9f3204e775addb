"""The training of a decoder, as a Lightning module: one optimisation step a call of `training_step`.

Shape legend: B texts of a step, L tokens of the longest of them, D dimension of the stream, V tokens of the vocabulary,
M tokens of a step that have a loss, P numbers of weights and moments.
"""

import hashlib
import math
import time
from collections import deque
from typing import Any

import lightning
import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional

from models.decoder_budget import DecoderBudget
from models.language_model import LanguageModel
from models.token_batches import TokenBatches
from models.trainers import run_resumable
from models.training_budget import TrainingDiverged

_LOOKED_BACK = 50
"""steps over which the loss is averaged"""
_WEIGHTS_TOLD_BY = 16
"""numbers of each matrix that tell first weights from others"""


class DecoderModule(lightning.LightningModule):
    """A model of `hidden(tokens, *context)` and `logits(hidden)`, trained to say the tokens that have a loss."""

    def __init__(self, decoder: LanguageModel, batches: TokenBatches, budget: DecoderBudget) -> None:
        super().__init__()
        self.decoder: LanguageModel = decoder
        self.budget, self.batches = budget, batches
        self.succeeded = True
        self.positions_done, self.learnt_done = 0, 0
        """tokens read, and tokens that had a loss, in all steps"""
        self._losses: deque[Tensor] = deque(maxlen=_LOOKED_BACK)
        self._deadline = math.inf
        self._optimizer: torch.optim.Optimizer | None = None
        self._steps_done = 0
        self._hidden: Any = torch.compile(decoder.hidden) if budget.compiled else decoder.hidden
        decoder.recomputes = budget.recomputes
        self._frozen = {name for name, weight in self.named_parameters() if not weight.requires_grad}
        """what an adapter stands in: in no checkpoint"""
        self.strict_loading = not self._frozen

    @property
    def steps_done(self) -> int:
        """Optimisation steps."""
        return self._steps_done

    def configure_optimizers(self) -> Any:
        factors = self.decoder.learning_rate_factors()
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, weight in self.decoder.named_parameters():
            if weight.requires_grad:
                decay = self.budget.weight_decay if weight.dim() > 1 else 0.0
                groups.setdefault((factors.get(name, 1.0), decay), []).append(weight)
        rate, num_steps = self.budget.learning_rate, self.batches.num_steps
        self._optimizer = torch.optim.AdamW(
            [
                {"params": weights, "lr": rate * factor, "weight_decay": decay}
                for (factor, decay), weights in groups.items()
            ],
            betas=(0.9, 0.98),
            fused=True,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: self.budget.rate_factor(step, num_steps)
        )
        return [self._optimizer], [{"scheduler": schedule, "interval": "step"}]

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        """By torch: Lightning's own refuses the fused AdamW in bfloat16, though no gradient is scaled there."""
        nn.utils.clip_grad_norm_(self.decoder.parameters(), self.budget.most_gradient)

    def identity(self) -> str:
        """Of this training before it begins: its budget, a part of its first weights, its first texts and its last."""
        digest = hashlib.sha256(repr((self.budget, self.batches.num_steps)).encode())
        for name, weight in self.decoder.named_parameters():
            if weight.requires_grad:
                few = weight.detach().flatten()[:_WEIGHTS_TOLD_BY].float().cpu().numpy()
                digest.update(f"{name} {tuple(weight.shape)}".encode() + few.tobytes())
        for step in {0, max(0, self.batches.num_steps - 1)}:
            batch = self.batches.batch(step)
            for part in (batch.tokens_BL, batch.learnt_BL, *batch.context):
                digest.update(part.numpy().tobytes())
        return digest.hexdigest()[:12]

    def trained_state(self) -> Float32[ndarray, " P"]:
        """The trained weights before they are rounded, each with what the optimiser remembers of it."""
        state: list[Tensor] = []
        for weight in self.decoder.parameters():
            if weight.requires_grad:
                kept = self._optimizer.state.get(weight, {}) if self._optimizer is not None else {}
                moments = [part for part in kept.values() if isinstance(part, Tensor) and part.shape == weight.shape]
                state += [weight.detach(), *moments]
        return np.concatenate([part.float().cpu().flatten().numpy() for part in state])

    def on_fit_start(self) -> None:
        self._deadline = time.monotonic() + self.budget.max_seconds

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["done"] = [self._steps_done, self.positions_done, self.learnt_done]
        checkpoint["losses"] = [float(loss) for loss in self._losses]
        for name in self._frozen:
            checkpoint["state_dict"].pop(name, None)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._steps_done, self.positions_done, self.learnt_done = checkpoint["done"]
        self.decoder.step_done(self._steps_done / self.batches.num_steps)  # what is annealed is in no checkpoint
        self._losses.extend(torch.tensor(loss, device=self.device) for loss in checkpoint["losses"])

    def training_step(self, call: int, _: int) -> Tensor | None:
        step = self._steps_done
        tokens_BL, learnt_BL, asked_B, context = self.batches.batch(step)
        share = slice(self.global_rank, None, self.trainer.world_size)  # of each process its own texts
        every_token = bool(learnt_BL[share, 1:].all())  # then none need be picked out
        tokens_BL, learnt_BL = tokens_BL[share].to(self.device), learnt_BL[share].to(self.device)
        asked_B, context = asked_B[share].to(self.device), tuple(part[share].to(self.device) for part in context)
        hidden_BLD = self._hidden(tokens_BL[:, :-1], *context)
        learnt_BL, next_BL = learnt_BL[:, 1:], tokens_BL[:, 1:]
        learnt_MD = hidden_BLD.flatten(0, 1) if every_token else hidden_BLD[learnt_BL]
        next_M = next_BL.flatten() if every_token else next_BL[learnt_BL]
        logits_MV = self.decoder.logits(learnt_MD)
        nats_M = functional.cross_entropy(logits_MV.float(), next_M, reduction="none")
        loss = nats_M.mean()
        self.positions_done += tokens_BL[:, 1:].numel()
        self.learnt_done += len(logits_MV)
        self._steps_done += 1
        self._losses.append(_mean_where(nats_M.detach(), asked_B[:, None].expand_as(learnt_BL)[learnt_BL]))
        if self.trainer.logger is not None:
            self.log_dict({"loss_nats": loss, "steps": float(self._steps_done)})
        if self._steps_done % _LOOKED_BACK == 0 or self._steps_done >= self.batches.num_steps:
            self._look()
        auxiliary = self.decoder.auxiliary_loss()
        return loss if auxiliary is None else loss + auxiliary

    def on_train_batch_end(self, *_: Any) -> None:
        self.decoder.step_done(self._steps_done / self.batches.num_steps)

    def _look(self) -> None:
        """Stop at the goal or the deadline. A look waits for the device."""
        mean_nats = float(torch.stack(list(self._losses)).mean())
        if not math.isfinite(mean_nats):
            raise TrainingDiverged(
                f"the loss is {mean_nats} after {self._steps_done} steps at learning_rate "
                f"{self.budget.learning_rate:g}: lower training.learning_rate"
            )
        at_goal = mean_nats <= self.budget.goal_nats and self.decoder.is_settled()
        if self._steps_done >= self.batches.num_steps or at_goal:
            self.trainer.should_stop = True
        elif time.monotonic() > self._deadline:
            self.succeeded = False
            self.trainer.should_stop = True


def _mean_where(nats_M: Tensor, counts_M: Tensor) -> Tensor:
    return (nats_M * counts_M).sum() / counts_M.sum().clamp(min=1)


def fit_decoder(module: DecoderModule, *, accelerator: str, name: str = "decoder") -> str:
    """Run the training to its goal, its steps or its deadline; returns the kind of device it ran on (cpu, cuda)."""
    precision = "bf16-mixed" if module.budget.computes_in == "bfloat16" else "32-true"
    own = f"{name}-{module.identity()}"  # what is measured may train several: none goes on from another's checkpoint
    device = run_resumable(module, module.batches.num_steps, accelerator=accelerator, precision=precision, name=own)
    module.decoder.cpu().eval()
    return device
