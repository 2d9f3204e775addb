"""Mixture of experts: a router sends each key to a few of many small FFNs.

Shape legend: B batch, D input dimension, S routed experts, K experts a key, F hidden units of one expert, X shared
experts, E output dimension, J choices (B x K), P blocks, G choices a block.
Sources: Shazeer et al. 2017 (arXiv 1701.06538); Fedus et al. 2022 (arXiv 2101.03961) for gate and auxiliary loss; Wang
et al. 2024 (arXiv 2408.15664) for the bias; Dai et al. 2024 (arXiv 2401.06066) for shared experts; Gale et al. 2022
(arXiv 2211.15841) for blocks instead of a capacity that drops keys.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from models.expert_kinds import ExpertsConfig
from models.ffn import ACTIVATIONS, FFN, uniform
from models.precisions import BITS, Precision


class ExpertsFFN(FFN):
    """Sum of gate * expert over the experts chosen, plus the shared experts.

    The gate is the softmax over all routed experts, times their number: 1 on average. It is not normalised over the
    chosen: with one expert it would be 1 for every key, and the router would never learn. No key is ever dropped.
    Which of two experts a key goes to whose scores agree to within float32 rounding is left open.
    """

    bias_S: Tensor | None

    def __init__(self, config: ExpertsConfig, dim_in: int, dim_out: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        experts, units, gated = config.experts, config.units(dim_in), config.activation == "swiglu"
        self._activation = ACTIVATIONS[config.activation]

        def into(*shape: int) -> nn.Parameter:
            return uniform(*shape, fan_in=dim_in, generator=generator)

        self.w_router_DS = into(dim_in, experts)
        self.w_in_SDF = into(experts, dim_in, units)
        self.w_gate_SDF = into(experts, dim_in, units) if gated else None
        self.w_out_SFE = uniform(experts, units, dim_out, fan_in=units, generator=generator)
        # Together they are one FFN: the sum of their outputs is that of one hidden layer.
        units *= config.shared
        self.shared_in_DF = into(dim_in, units) if units else None
        self.shared_gate_DF = into(dim_in, units) if units and gated else None
        self.shared_out_FE = uniform(units, dim_out, fan_in=units, generator=generator) if units else None
        # A buffer: it changes which expert answers, so it is stored with the weights.
        self.register_buffer("bias_S", torch.zeros(experts) if config.balancing == "bias" else None)
        self._auxiliary: Tensor | None = None
        self._excess_S: Tensor | None = None

    def forward(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
        logits_BS = x_BD @ self.w_router_DS
        gates_BS = self.config.experts * logits_BS.softmax(dim=1)
        experts_BK = self._chosen(logits_BS)
        if self.training:
            self._watch_balance(gates_BS, experts_BK)
        y_BKE = self._routed(x_BD, experts_BK)
        y_BE = (gates_BS.gather(1, experts_BK)[:, :, None] * y_BKE).sum(dim=1)
        if self.shared_in_DF is None or self.shared_out_FE is None:
            return y_BE
        return y_BE + self._hidden(x_BD, self.shared_in_DF, self.shared_gate_DF) @ self.shared_out_FE

    def _chosen(self, logits_BS: Tensor) -> Tensor:
        scores_BS = logits_BS if self.bias_S is None else logits_BS + self.bias_S
        return scores_BS.topk(self.config.top_k, dim=1).indices

    def _hidden(self, x: Tensor, w_in: Tensor, w_gate: Tensor | None) -> Tensor:
        if w_gate is None:
            return self._activation(x @ w_in)
        return self._activation(x @ w_gate) * (x @ w_in)

    def _routed(self, x_BD: Tensor, experts_BK: Tensor) -> Tensor:
        """Output (B, K, E) of each chosen expert.

        The choices are sorted by expert and cut into blocks of the size of an even share; each block meets the
        weights of its expert. At most 2 S blocks, however uneven the choice: half of the rows are empty at worst.
        """
        experts_J = experts_BK.flatten()
        size = max(1, -(-len(experts_J) // self.config.experts))
        counts_S = experts_J.bincount(minlength=self.config.experts)
        blocks_S = (counts_S + size - 1) // size
        expert_of_block_P = torch.repeat_interleave(blocks_S)
        # The j-th choice of an expert, in sorted order, goes to the j-th row of the expert's blocks.
        order_J = experts_J.argsort(stable=True)
        shift_S = size * (blocks_S.cumsum(0) - blocks_S) - (counts_S.cumsum(0) - counts_S)
        choices_J = torch.arange(len(experts_J), device=x_BD.device)
        rows_J = torch.empty_like(experts_J)
        rows_J[order_J] = choices_J + shift_S[experts_J[order_J]]
        # Rows that no choice fills compute the first key, and nobody reads them.
        keys_R = torch.zeros(size * len(expert_of_block_P), dtype=torch.int64, device=x_BD.device)
        keys_R[rows_J] = choices_J // self.config.top_k
        # index_select and not brackets: on a CPU a whole training step takes up to half the time.
        x_PGD = x_BD.index_select(0, keys_R).unflatten(0, (-1, size))
        w_gate_PDF = None if self.w_gate_SDF is None else self.w_gate_SDF.index_select(0, expert_of_block_P)
        hidden_PGF = self._hidden(x_PGD, self.w_in_SDF.index_select(0, expert_of_block_P), w_gate_PDF)
        y_PGE = hidden_PGF @ self.w_out_SFE.index_select(0, expert_of_block_P)
        y_BKE: Tensor = y_PGE.flatten(0, 1).index_select(0, rows_J).unflatten(0, experts_BK.shape)
        return y_BKE

    def _watch_balance(self, gates_BS: Tensor, experts_BK: Tensor) -> None:
        if self.config.balancing == "none":
            return
        num_experts, num_choices = self.config.experts, experts_BK.numel()
        # S times an expert's choices: as many as there are in all, where use is even.
        scaled_S = num_experts * experts_BK.flatten().bincount(minlength=num_experts)
        if self.config.balancing == "auxiliary":
            load_S = scaled_S.to(gates_BS.dtype) / num_choices
            self._auxiliary = self.config.auxiliary_coefficient * (load_S * gates_BS.mean(dim=0)).mean()
        else:
            self._excess_S = scaled_S - num_choices

    def auxiliary_loss(self) -> Tensor | None:
        """coefficient * S * sum over experts of (share of the choices) * (mean softmax): Fedus et al., equation 4."""
        return self._auxiliary

    def step_done(self, progress: float) -> None:
        """Moves the biases against the sign of each expert's excess load."""
        self._auxiliary = None  # it holds the graph of its step
        if self.bias_S is not None and self._excess_S is not None:
            # At a constant rate the choice of some keys would change with every step to the last.
            self.bias_S -= self.config.bias_rate * (1 - progress) * self._excess_S.sign()

    def input_matrices(self) -> list[Tensor]:
        every = (self.w_in_SDF, self.w_gate_SDF, self.shared_in_DF, self.shared_gate_DF)
        return [matrix for matrix in every if matrix is not None]

    def read_outs(self) -> list[Tensor]:
        return [matrix for matrix in (self.w_out_SFE, self.shared_out_FE) if matrix is not None]

    def learning_rate_factors(self) -> Mapping[str, float]:
        return {"w_router_DS": self.config.router_rate_factor}

    def stored_apart(self, precision: Precision) -> Mapping[str, Precision]:
        router = self.config.router_precision
        return {"w_router_DS": router} if BITS[router] > BITS[precision] else {}

    def divergence_suspects(self) -> Mapping[str, float]:
        of_balancing = {"none": (), "auxiliary": ("auxiliary_coefficient",), "bias": ("bias_rate",)}
        names = ("router_rate_factor", *of_balancing[self.config.balancing])
        return {name: getattr(self.config, name) / getattr(ExpertsConfig, name) for name in names}

    def slot_counts(self, x_BD: Float[Tensor, "B D"]) -> Int64[Tensor, " S"]:
        """How many of these keys each routed expert answers."""
        return self._chosen(x_BD @ self.w_router_DS).flatten().bincount(minlength=self.config.experts)
