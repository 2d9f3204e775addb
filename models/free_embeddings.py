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
from torch import Tensor
from torch.nn import functional


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


def solved(
    dim: int, num_documents: int, *, top_k: int, seeds: tuple[int, ...], config: FreeEmbeddingsConfig
) -> Bool[Tensor, " S"]:
    """For each seed, whether training found vectors with which every set of `top_k` documents is somebody's answer."""
    sets_QK = all_sets(num_documents, top_k)
    vectors = [_unit(seed, num_documents + len(sets_QK), dim) for seed in seeds]
    together = torch.stack(vectors)
    documents_SND = together[:, :num_documents].clone().requires_grad_()
    queries_SQD = together[:, num_documents:].clone().requires_grad_()
    optimizer = torch.optim.Adam([documents_SND, queries_SQD], lr=config.learning_rate)
    is_solved_S = torch.zeros(len(seeds), dtype=torch.bool)
    best_S = torch.full((len(seeds),), math.inf)
    stale_S = torch.zeros(len(seeds))
    for step in range(1, config.steps + 1):
        scores_SQN = queries_SQD @ documents_SND.transpose(1, 2) / config.temperature
        wanted_SQK = sets_QK.expand(len(seeds), -1, -1)
        loss_S = -functional.log_softmax(scores_SQN, dim=2).gather(2, wanted_SQK).mean((1, 2))
        optimizer.zero_grad(set_to_none=True)
        loss_S.sum().backward()
        optimizer.step()
        with torch.no_grad():
            for vectors_SMD in (documents_SND, queries_SQD):
                vectors_SMD.div_(vectors_SMD.norm(dim=2, keepdim=True))
            is_better_S = loss_S < best_S - _LEAST_GAIN
            best_S = torch.where(is_better_S, loss_S, best_S)
            stale_S = torch.where(is_better_S, 0, stale_S + 1)
            if step % config.look_every == 0:
                is_solved_S |= answers_all(queries_SQD, documents_SND, sets_QK)
                if bool((is_solved_S | (stale_S >= config.patience)).all()):
                    break
    return is_solved_S


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
