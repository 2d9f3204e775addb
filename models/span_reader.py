"""A small extractive reader: which tokens of a passage answer the question, from frozen token vectors of both.

Each token of the passage is set beside what it attends to in the question and whether it stands there itself; a few
gated convolutions look at its neighbours; start and end of the answer are scored for each token. Over several passages
the scores share one softmax, so that a passage without the answer learns to score low (Clark and Gardner 2018, arXiv
1710.10723). The features are those of DrQA (Chen et al. 2017, arXiv 1704.00051).

Shape legend: P passages with their questions, Q questions, T tokens of a passage, U tokens of a question, D dimensions
of the token vectors, H hidden units, M match features.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from models.span_reader_config import SpanReaderConfig
from models.step_module import StepModule

NUM_MATCHES = 2
"""features of a token from outside: whether it stands in the question, and how rare it is then"""


@dataclass(frozen=True)
class ReadingBatch:
    """Passages with their questions, padded."""

    passages_PTD: Float[Tensor, "P T D"]
    questions_PUD: Float[Tensor, "P U D"]
    matches_PTM: Float[Tensor, "P T M"]
    in_passage_PT: Bool[Tensor, "P T"]
    in_question_PU: Bool[Tensor, "P U"]


class SpanReader(nn.Module):
    """Scores of start and end for every token of a passage."""

    def __init__(self, config: SpanReaderConfig, dim: int, *, generator: torch.Generator) -> None:
        """First weights and dropout are drawn from `generator`."""
        super().__init__()
        self.config = config
        self._generator = generator
        width = config.width
        self.passage = nn.Linear(dim, width)
        self.question = nn.Linear(dim, width)
        self.attended = nn.Linear(width, width, bias=False)
        self.weight = nn.Linear(width, 1)
        self.mixed = nn.Linear(4 * width + NUM_MATCHES + 1, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(config.blocks))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, 2 * width, config.kernel, padding=config.kernel // 2) for _ in range(config.blocks)
        )
        self.ends = nn.Linear(width, 2)
        self.asked_ends = nn.Linear(width, 2 * width, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                fan_in = weight[0].numel()
                with torch.no_grad():
                    weight.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    def forward(self, batch: ReadingBatch) -> Float[Tensor, "P T 2"]:
        """-inf where there is no token."""
        passages_PTH = functional.relu(self.passage(self._dropped(batch.passages_PTD)))
        questions_PUH = functional.relu(self.question(self._dropped(batch.questions_PUD)))
        outside_PU = ~batch.in_question_PU
        scores_PTU = self.attended(passages_PTH) @ questions_PUH.mT / self.config.width**0.5
        attended_PTH = scores_PTU.masked_fill(outside_PU[:, None], -torch.inf).softmax(-1) @ questions_PUH
        weights_PU = self.weight(questions_PUH).squeeze(-1).masked_fill(outside_PU, -torch.inf).softmax(-1)
        asked_PH = (weights_PU[..., None] * questions_PUH).sum(1)
        units_PTD, units_PUD = (functional.normalize(x, dim=-1) for x in (batch.passages_PTD, batch.questions_PUD))
        nearest_PT = (units_PTD @ units_PUD.mT).masked_fill(outside_PU[:, None], -1.0).amax(-1)
        seen = [
            passages_PTH,
            attended_PTH,
            passages_PTH * attended_PTH,
            passages_PTH * asked_PH[:, None],
            batch.matches_PTM,
            nearest_PT[..., None],
        ]
        x_PTH = functional.relu(self.mixed(self._dropped(torch.cat(seen, -1))))
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            masked_PTH = norm(x_PTH) * batch.in_passage_PT[..., None]
            x_PTH = x_PTH + self._dropped(functional.glu(convolution(masked_PTH.mT), 1).mT)
        asked_P2H = self.asked_ends(asked_PH).unflatten(-1, (2, -1)) / self.config.width**0.5
        logits_PT2: Tensor = self.ends(x_PTH) + x_PTH @ asked_P2H.mT
        return logits_PT2.masked_fill(~batch.in_passage_PT[..., None], -torch.inf)

    def _dropped(self, x: Tensor) -> Tensor:
        """Dropout from the reader's own generator."""
        if not self.training or self.config.dropout == 0:
            return x
        kept = torch.rand(x.shape, generator=self._generator) >= self.config.dropout
        return x * kept / (1 - self.config.dropout)


def span_loss(
    logits_PT2: Float[Tensor, "P T 2"], starts_Q: Int64[Tensor, " Q"], ends_Q: Int64[Tensor, " Q"]
) -> Float[Tensor, ""]:
    """Mean nats of start and end over all tokens of a question's passages, of which the first holds the answer.

    P is a multiple of Q: the passages of a question lie together.
    """
    logits_QS2 = logits_PT2.unflatten(0, (len(starts_Q), -1)).flatten(1, 2)
    return functional.cross_entropy(logits_QS2[..., 0], starts_Q) + functional.cross_entropy(logits_QS2[..., 1], ends_Q)


def best_spans(
    logits_PT2: Float[Tensor, "P T 2"], longest: int
) -> tuple[Float[Tensor, " P"], Int64[Tensor, " P"], Int64[Tensor, " P"]]:
    """Score, first and last token of the best span of each passage that has at most `longest` tokens."""
    num_tokens = logits_PT2.shape[1]
    scores_PTT = logits_PT2[:, :, None, 0] + logits_PT2[:, None, :, 1]
    allowed_TT = torch.ones(num_tokens, num_tokens, dtype=torch.bool).triu().tril(longest - 1)
    scores_P, places_P = scores_PTT.masked_fill(~allowed_TT, -torch.inf).flatten(1).max(1)
    return scores_P, places_P // num_tokens, places_P % num_tokens


class SpanReaderModule(StepModule):
    """Teaches a reader: AdamW on one cycle of rates, gradients clipped to length 1."""

    def __init__(
        self,
        reader: SpanReader,
        lessons: Callable[[], tuple[ReadingBatch, Tensor, Tensor]],
        *,
        num_steps: int,
        learning_rate: float,
        weight_decay: float,
    ) -> None:
        """`lessons`: the passages of one step, first and last token of each question's answer."""
        super().__init__(num_steps)
        self.reader, self._lessons = reader, lessons
        self._optimizer = torch.optim.AdamW(
            reader.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, learning_rate, total_steps=num_steps, cycle_momentum=False
        )

    def step(self, number: int) -> Tensor:
        batch, starts_Q, ends_Q = self._lessons()
        loss = span_loss(self.reader(batch), starts_Q, ends_Q)
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.reader.parameters(), 1.0)
        self._optimizer.step()
        self._schedule.step()
        return loss
