"""Embeddings without an encoder: free vectors of queries and documents, trained until every query finds its own.

The protocol of Weller et al. (2025, "On the Theoretical Limitations of Embedding-Based Retrieval"): every set of k of N
documents is the answer of one query; unit vectors, InfoNCE over all documents, Adam. No encoder can do better in so
many dimensions, by this training. Several seeds are trained as one batch.

Shape legend: S seeds, N documents, Q queries, K documents that answer a query, D dimensions.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from models.step_module import StepModule, take_steps


@dataclass(frozen=True, kw_only=True)
class FreeEmbeddingsConfig:
    """As published, but for the looks at whether it is solved, which come more often."""

    steps: int = 100_000
    """at most"""
    learning_rate: float = 0.01
    """of Adam"""
    temperature: float = 0.1
    """of InfoNCE"""
    patience: int = 1000
    """steps without a loss lower by 1e-5 after which a seed is given up"""
    look_every: int = 50
    """steps between two looks"""


_LEAST_GAIN = 1e-5


def all_sets(num_documents: int, top_k: int) -> Int64[Tensor, "Q K"]:
    """Every set of `top_k` of the documents."""
    return torch.tensor(list(itertools.combinations(range(num_documents), top_k)))


def answers_all(
    queries_SQD: Float[Tensor, "S Q D"], documents_SND: Float[Tensor, "S N D"], sets_QK: Int64[Tensor, "Q K"]
) -> Bool[Tensor, " S"]:
    """Whether the K most similar documents of every query are its own."""
    scores_SQN = queries_SQD @ documents_SND.transpose(1, 2)
    wanted_SQK = sets_QK.expand(len(scores_SQN), -1, -1)
    lowest_SQ = scores_SQN.gather(2, wanted_SQK).amin(2)
    others_SQN = scores_SQN.scatter(2, wanted_SQK, -math.inf)
    return (lowest_SQ > others_SQN.amax(2)).all(1)


class FreeEmbeddingsModule(StepModule):
    """Several seeds as one batch."""

    def __init__(
        self, dim: int, num_documents: int, *, top_k: int, seeds: tuple[int, ...], config: FreeEmbeddingsConfig
    ) -> None:
        super().__init__(config.steps)
        self.config, self.sets_QK = config, all_sets(num_documents, top_k)
        together = torch.stack([_unit(seed, num_documents + len(self.sets_QK), dim) for seed in seeds])
        self.documents_SND = nn.Parameter(together[:, :num_documents].clone())
        self.queries_SQD = nn.Parameter(together[:, num_documents:].clone())
        self._optimizer = torch.optim.Adam([self.documents_SND, self.queries_SQD], lr=config.learning_rate)
        self.is_solved_S = torch.zeros(len(seeds), dtype=torch.bool)
        self._best_S = torch.full((len(seeds),), math.inf)
        self._stale_S = torch.zeros(len(seeds))

    def step(self, number: int) -> Tensor:
        config = self.config
        scores_SQN = self.queries_SQD @ self.documents_SND.transpose(1, 2) / config.temperature
        wanted_SQK = self.sets_QK.expand(len(scores_SQN), -1, -1)
        loss_S = -functional.log_softmax(scores_SQN, dim=2).gather(2, wanted_SQK).mean((1, 2))
        self._descend(loss_S.sum())
        with torch.no_grad():
            for vectors_SMD in (self.documents_SND, self.queries_SQD):
                vectors_SMD.div_(vectors_SMD.norm(dim=2, keepdim=True))
            is_better_S = loss_S < self._best_S - _LEAST_GAIN
            self._best_S = torch.where(is_better_S, loss_S, self._best_S)
            self._stale_S = torch.where(is_better_S, 0, self._stale_S + 1)
            if (number + 1) % config.look_every == 0:
                self.is_solved_S |= answers_all(self.queries_SQD, self.documents_SND, self.sets_QK)
                self.is_over = bool((self.is_solved_S | (self._stale_S >= config.patience)).all())
        return loss_S.mean()


def solved(
    dim: int, num_documents: int, *, top_k: int, seeds: tuple[int, ...], config: FreeEmbeddingsConfig
) -> Bool[Tensor, " S"]:
    """For each seed, whether training found vectors with which every set of `top_k` documents is somebody's answer."""
    module = FreeEmbeddingsModule(dim, num_documents, top_k=top_k, seeds=seeds, config=config)
    take_steps(module)
    return module.is_solved_S


def critical_n(
    dim: int, *, top_k: int, seeds: tuple[int, ...], config: FreeEmbeddingsConfig, low: int, high: int
) -> int:
    """The most documents all of whose sets at least half of the seeds can answer, `low` to `high`."""

    def reaches(num_documents: int) -> bool:
        found_S = solved(dim, num_documents, top_k=top_k, seeds=seeds, config=config)
        return 2 * int(found_S.sum()) >= len(seeds)

    return most_reached(reaches, low=low, high=high)


def most_reached(reaches: Callable[[int], bool], *, low: int, high: int) -> int:
    """The largest number up to `high` that `reaches`, one or two failures below it forgiven; `low` is taken to reach.

    Upwards by a third, back by bisection, then one by one, since one size may fail where one of the next two is solved.
    """
    reached, first_failed = low, low + 1
    while first_failed <= high and reaches(first_failed):
        reached, first_failed = first_failed, math.ceil(1.3 * first_failed)
    first_failed = min(first_failed, high + 1)
    while first_failed - reached > 1:
        middle = (reached + first_failed) // 2
        reached, first_failed = (middle, first_failed) if reaches(middle) else (reached, middle)
    for beyond in range(reached + 2, min(reached + 3, high) + 1):
        if reaches(beyond):
            reached = beyond
    return reached


def _unit(seed: int, num: int, dim: int) -> Float[Tensor, "M D"]:
    vectors_MD = torch.randn(num, dim, generator=torch.Generator().manual_seed(seed))
    return functional.normalize(vectors_MD, dim=1)
