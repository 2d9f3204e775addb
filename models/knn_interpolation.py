"""kNN-LM: the next token by a decoder, interpolated with the tokens that followed its nearest stored states.

    p = w p_knn + (1 - w) p_decoder,   p_knn(v) = sum over neighbours with token v of softmax(similarity / T)

T and w are fitted on the training texts, where a state never finds those of its own text. w is one number, or one for
each of several equally large buckets of the best similarity.

Shape legend: N states, K neighbours, D dimension of a state, V tokens, G temperatures tried, U buckets.
Sources: Khandelwal et al. 2020 (arXiv 1911.00172); weights by buckets of similarity, He, Neubig and Berg-Kirkpatrick
2021 (2109.04212), section 4. Unlike theirs, similarity is the cosine of the states that the read-out is given.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from models.decoder import Decoder, Past

LookUpStates = Callable[[Tensor], tuple[Tensor, Tensor]]
"""from states (N, D) to similarities (N, K), -inf where there is no more, and the tokens (N, K) that followed"""
_TEMPERATURES = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
_ROUNDS = 100


def share_by_token(
    similarities_NK: Float[Tensor, "N K"], tokens_NK: Int64[Tensor, "N K"], num_tokens: int, temperature: float
) -> Float[Tensor, "N V"]:
    """p_knn of every token; zeros where there is no neighbour."""
    weights_NK = torch.nan_to_num((similarities_NK / temperature).softmax(-1))
    p_NV = weights_NK.new_zeros(len(weights_NK), num_tokens)
    return p_NV.scatter_add(1, tokens_NK.clamp(min=0), weights_NK)


@dataclass(frozen=True)
class Interpolation:
    """What is fitted."""

    temperature: float
    edges: tuple[float, ...]
    """best similarities at which the next bucket begins, rising"""
    weights: tuple[float, ...]
    """of p_knn, by bucket: one more than edges"""

    def weights_of(self, best_N: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """For states whose nearest neighbour is so similar; 0 for those that have none."""
        edges_U = torch.tensor(self.edges, dtype=best_N.dtype)
        weights_N = torch.tensor(self.weights, dtype=best_N.dtype)[
            torch.bucketize(best_N.contiguous(), edges_U, right=True)
        ]
        return torch.where(best_N.isfinite(), weights_N, 0.0)


def fit_interpolation(
    p_decoder_N: Float[Tensor, " N"],
    similarities_NK: Float[Tensor, "N K"],
    is_true_NK: Bool[Tensor, "N K"],
    *,
    buckets: int,
) -> Interpolation:
    """Temperature and weights of the highest likelihood of the tokens that were there. `p_decoder_N`: what the decoder
    gives them; `is_true_NK`: neighbours that name them."""
    best_N = similarities_NK[:, 0].contiguous()
    shares = torch.arange(1, buckets, dtype=torch.float32) / buckets
    finite_N = best_N[best_N.isfinite()]
    edges_U = torch.quantile(finite_N, shares) if len(finite_N) and buckets > 1 else shares[:0]
    bucket_N = torch.bucketize(best_N, edges_U, right=True)
    fitted: list[tuple[float, float, tuple[float, ...]]] = []
    for temperature in _TEMPERATURES:
        weights_NK = torch.nan_to_num((similarities_NK / temperature).softmax(-1))
        p_knn_N = (weights_NK * is_true_NK).sum(-1)
        of_buckets = []
        nats = 0.0
        for number in range(len(edges_U) + 1):
            inside_N = bucket_N == number
            weight = best_weight(p_knn_N[inside_N], p_decoder_N[inside_N])
            of_buckets.append(weight)
            mixed_N = weight * p_knn_N[inside_N] + (1 - weight) * p_decoder_N[inside_N]
            nats += float(mixed_N.clamp(min=1e-30).log().sum())
        fitted.append((nats, temperature, tuple(of_buckets)))
    _, temperature, weights = max(fitted)
    return Interpolation(temperature, tuple(edges_U.tolist()), weights)


def best_weight(p_knn_N: Tensor, p_decoder_N: Tensor) -> float:
    """Of p_knn, for the highest likelihood, which is concave in it: by expectation maximisation; 0 where there is
    nothing to fit on."""
    weight = torch.tensor(0.5)
    if not len(p_knn_N):
        return 0.0
    for _ in range(_ROUNDS):
        from_knn_N = weight * p_knn_N
        weight = (from_knn_N / (from_knn_N + (1 - weight) * p_decoder_N).clamp(min=1e-30)).mean()
    return float(weight)


@dataclass(frozen=True)
class KnnReading:
    """Reads as a decoder does; its logits are log-probabilities of the interpolation."""

    decoder: Decoder
    look_up: LookUpStates
    interpolation: Interpolation

    def read(self, tokens_BT: Tensor, **settings: Any) -> tuple[Tensor, Past]:
        """As `Decoder.read`."""
        return self.decoder.read(tokens_BT, **settings)

    def logits(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        """Of the next token."""
        p_NV = self.decoder.logits(hidden).softmax(-1).flatten(0, -2)
        similarities_NK, tokens_NK = self.look_up(hidden.flatten(0, -2))
        knn_NV = share_by_token(similarities_NK, tokens_NK, p_NV.shape[1], self.interpolation.temperature)
        weights_N1 = self.interpolation.weights_of(similarities_NK[:, 0])[:, None]
        mixed_NV = torch.lerp(p_NV, knn_NV, weights_N1)
        return mixed_NV.clamp(min=1e-30).log().view(*hidden.shape[:-1], -1)
