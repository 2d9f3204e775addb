"""The tokens that follow the nearest stored states, distilled into an FFN: no store is needed any more.

Shape legend: N states, K neighbours, B states of a step, D dimension of a state, V tokens.
Source: MLP Memory (arXiv 2508.01832): an MLP learns the distribution that a kNN search gives, and is interpolated with
the decoder as kNN-LM is. Its loss is the cross-entropy to that distribution.
"""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from models.decoder import Decoder, Past
from models.ffn import FFN
from models.language_model import LanguageModel
from models.step_module import StepModule
from models.training_budget import TrainingDiverged


class DistillationModule(StepModule):
    """read_out . ffn(state), trained to give each state's neighbours' tokens their shares."""

    def __init__(
        self,
        ffn: FFN,
        read_out_VD: Float[Tensor, "V D"],
        states_ND: Float[Tensor, "N D"],
        shares_NK: Float[Tensor, "N K"],
        tokens_NK: Int64[Tensor, "N K"],
        *,
        steps: int,
        learning_rate: float,
        batch_size: int,
        generator: torch.Generator,
    ) -> None:
        """`shares_NK`: weights of the neighbours, which sum to 1 in each row, or to 0."""
        super().__init__(steps)
        self.ffn, self._read_out_VD, self._generator = ffn, read_out_VD, generator
        self._states_ND, self._shares_NK, self._tokens_NK = states_ND, shares_NK, tokens_NK
        self._batch_size = min(batch_size, len(states_ND))
        self._optimizer = torch.optim.AdamW(ffn.parameters(), lr=learning_rate, weight_decay=0.0, fused=True)
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, max(1, steps))

    def step(self, number: int) -> Tensor:
        rows_B = torch.randint(len(self._states_ND), (self._batch_size,), generator=self._generator)
        log_probs_BV = (self.ffn(self._states_ND[rows_B]) @ self._read_out_VD.T).log_softmax(-1)
        of_neighbours_BK = log_probs_BV.gather(1, self._tokens_NK[rows_B].clamp(min=0))
        loss: Tensor = -(of_neighbours_BK * self._shares_NK[rows_B]).sum(-1).mean()
        if not loss.isfinite():
            raise TrainingDiverged(f"the loss of the distillation is {loss.item()} after {number} steps")
        self._descend(loss)
        self._schedule.step()
        return loss


class DistilledNeighbours(LanguageModel):
    """A decoder, an FFN that says what the neighbours of a state would, and the weight of the FFN: reads as a decoder
    does, and its logits are log-probabilities of the interpolation."""

    weight_1: Tensor

    def __init__(self, decoder: Decoder, ffn: FFN) -> None:
        super().__init__()
        self.decoder, self.ffn = decoder, ffn
        self.register_buffer("weight_1", torch.zeros(1))

    def hidden(self, tokens_BT: Int64[Tensor, "B T"], *context: Any) -> Float[Tensor, "B T D"]:
        return self.decoder.hidden(tokens_BT, *context)

    def read(self, tokens_BT: Tensor, **settings: Any) -> tuple[Tensor, Past]:
        """As `Decoder.read`."""
        return self.decoder.read(tokens_BT, **settings)

    def logits(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        flat_ND = hidden.flatten(0, -2)
        mixed_NV = torch.lerp(self.decoder.logits(flat_ND).softmax(-1), self.shares(flat_ND), self.weight_1)
        return mixed_NV.clamp(min=1e-30).log().view(*hidden.shape[:-1], -1)

    def shares(self, states_ND: Float[Tensor, "N D"]) -> Float[Tensor, "N V"]:
        """Of every token, as the FFN has learnt them."""
        return self.decoder.logits(self.ffn(states_ND)).softmax(-1)
