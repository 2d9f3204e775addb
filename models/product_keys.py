"""Product-key retrieval, and the two memories that read by it: a table of outputs, and one-neuron experts (PEER).

Shape legend: B batch, D input dimension, E output dimension, H heads, Q dimension of all queries, X of one, C of half
of one, N sub-keys of a half, P pairs of sub-keys, K slots that a head reads, J = H K, S = N^2 slots.
Sources: Lample et al. 2019 (arXiv 1907.05242); He 2024 (arXiv 2407.04153) for the experts.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from models.ffn import ACTIVATIONS, FFN
from models.memory_kinds import OneNeuronExpertsConfig, ProductKeyRetrieval, ProductKeysConfig, reads_densely
from models.precisions import BITS, Precision


def normal(*shape: int, std: float, generator: torch.Generator) -> nn.Parameter:
    """Normally distributed around 0."""
    return nn.Parameter(std * torch.randn(*shape, generator=generator))


def spread(
    weights_BJ: Float[Tensor, "B J"], slots_BJ: Int64[Tensor, "B J"], num_slots: int
) -> Float[Tensor, "B {num_slots}"]:
    """The weights at their slots, added where a slot comes twice, 0 elsewhere."""
    return weights_BJ.new_zeros(len(weights_BJ), num_slots).scatter_add(1, slots_BJ, weights_BJ)


def read(
    rows_SE: Float[Tensor, "S E"], weights_BJ: Float[Tensor, "B J"], slots_BJ: Int64[Tensor, "B J"]
) -> Float[Tensor, "B E"]:
    """Weighted sum of the rows at these slots. No (B, S) array unless the table is small."""
    if reads_densely(len(rows_SE), slots_BJ.shape[1]):
        return spread(weights_BJ, slots_BJ, len(rows_SE)) @ rows_SE
    read_BE: Tensor = functional.embedding_bag(slots_BJ, rows_SE, per_sample_weights=weights_BJ, mode="sum")
    return read_BE


class ProductKeys(nn.Module):
    """From an input to the slots it reads, and their weights.

    A slot's score is the sum of the scores of its two sub-keys, so the best k slots lie among the pairs of the best k
    sub-keys of each half. The weights of a head's slots come from one softmax: slots compete, and the scores learn.
    """

    mean_Q: Tensor
    variance_Q: Tensor

    def __init__(self, config: ProductKeyRetrieval, dim_in: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.heads, self.num_sub_keys, self.top_k = config.heads, config.sub_keys, config.top_k
        self.norm, self.scored = config.query_norm, config.weighting == "scored"
        dim_queries, dim_half = config.heads * config.dim_key, config.dim_key // 2
        # Inputs of length 1 start with queries and scores of variance 1: no slot is out of the race.
        self.w_query_DQ = normal(dim_in, dim_queries, std=1.0, generator=generator)
        shape = (config.heads, 2, config.sub_keys, dim_half)
        self.sub_keys_H2NC = normal(*shape, std=1 / math.sqrt(dim_half), generator=generator)
        if self.norm == "batch":
            self.register_buffer("mean_Q", torch.zeros(dim_queries))
            self.register_buffer("variance_Q", torch.ones(dim_queries))

    def queries(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B H 2 C"]:
        """Two halves for each head, normalised."""
        query_BQ = x_BD @ self.w_query_DQ
        if self.norm == "batch":
            # One key has no variance.
            training = self.training and len(x_BD) > 1
            query_BQ = functional.batch_norm(query_BQ, self.mean_Q, self.variance_Q, training=training)
        query_BHX = query_BQ.unflatten(1, (self.heads, -1))
        if self.norm == "layer":
            query_BHX = functional.layer_norm(query_BHX, query_BHX.shape[2:])
        halves_BH2C: Tensor = query_BHX.unflatten(2, (2, -1))
        return halves_BH2C

    def forward(self, x_BD: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B J"], Int64[Tensor, "B J"]]:
        """Weights and numbers of the slots, each head's in falling order of score."""
        scores_BH2N = torch.einsum("bhpc,hpnc->bhpn", self.queries(x_BD), self.sub_keys_H2NC)
        top_BH2K, sub_keys_BH2K = scores_BH2N.topk(min(self.top_k, self.num_sub_keys), dim=3)
        pairs_BHP = (top_BH2K[:, :, 0, :, None] + top_BH2K[:, :, 1, None, :]).flatten(2)
        pair_slots_BHP = self.num_sub_keys * sub_keys_BH2K[:, :, 0, :, None] + sub_keys_BH2K[:, :, 1, None, :]
        score_BHK, chosen_BHK = pairs_BHP.topk(self.top_k, dim=2)
        slots_BHK = pair_slots_BHP.flatten(2).gather(2, chosen_BHK)
        weights_BHK = score_BHK.softmax(dim=2)
        if self.scored:
            weights_BHK = weights_BHK * score_BHK
        return weights_BHK.flatten(1), slots_BHK.flatten(1)


class ProductKeyFFN(FFN):
    """What both memories have in common: slots, and a learning rate for them."""

    def __init__(self, config: ProductKeyRetrieval, dim_in: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.retrieval = ProductKeys(config, dim_in, generator=generator)
        self._num_slots, self._slot_rate_factor = config.num_slots, config.slot_rate_factor
        self._router_precision = config.router_precision

    def learning_rate_factors(self) -> Mapping[str, float]:
        of_slots = [name for name, _ in self.named_parameters(recurse=False)]
        return dict.fromkeys(of_slots, self._slot_rate_factor)

    def stored_apart(self, precision: Precision) -> Mapping[str, Precision]:
        router = self._router_precision or precision
        names = [name for name, _ in self.named_parameters() if name.startswith("retrieval.")]
        return dict.fromkeys(names, router) if BITS[router] > BITS[precision] else {}

    def divergence_suspects(self) -> Mapping[str, float]:
        return {"slot_rate_factor": self._slot_rate_factor}

    def drawn_for_unit_inputs(self) -> list[Tensor]:
        return [self.retrieval.w_query_DQ]

    def slot_counts(self, x_BD: Float[Tensor, "B D"]) -> Int64[Tensor, " S"] | None:
        _, slots_BJ = self.retrieval(x_BD)
        counts_S: Tensor = slots_BJ.flatten().bincount(minlength=self._num_slots)
        return counts_S


class ProductKeyMemory(ProductKeyFFN):
    """Sum of weight * value over the slots read."""

    def __init__(self, config: ProductKeysConfig, dim_in: int, dim_out: int, *, generator: torch.Generator) -> None:
        super().__init__(config, dim_in, generator=generator)
        self.values_SE = normal(config.num_slots, dim_out, std=1 / math.sqrt(dim_out), generator=generator)

    def forward(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
        return read(self.values_SE, *self.retrieval(x_BD))

    def read_outs(self) -> list[Tensor]:
        return [self.values_SE]


class OneNeuronExperts(ProductKeyFFN):
    """Sum of weight * activation(x . u) v over the experts chosen."""

    def __init__(
        self, config: OneNeuronExpertsConfig, dim_in: int, dim_out: int, *, generator: torch.Generator
    ) -> None:
        super().__init__(config, dim_in, generator=generator)
        self.u_SD = normal(config.num_slots, dim_in, std=1.0, generator=generator)
        self.v_SE = normal(config.num_slots, dim_out, std=1 / math.sqrt(dim_out), generator=generator)
        self.activation = config.activation
        self._activation = ACTIVATIONS[config.activation]

    def forward(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
        weights_BJ, slots_BJ = self.retrieval(x_BD)
        if reads_densely(self._num_slots, slots_BJ.shape[1]):
            hidden_BS = self._activation(x_BD @ self.u_SD.T)
            return (spread(weights_BJ, slots_BJ, self._num_slots) * hidden_BS) @ self.v_SE
        u_BJD = functional.embedding(slots_BJ, self.u_SD)
        hidden_BJ = self._activation(torch.einsum("bjd,bd->bj", u_BJD, x_BD))
        return read(self.v_SE, weights_BJ * hidden_BJ, slots_BJ)

    def read_outs(self) -> list[Tensor]:
        return [self.v_SE]

    def drawn_for_unit_inputs(self) -> list[Tensor]:
        return [*super().drawn_for_unit_inputs(), self.u_SD]
