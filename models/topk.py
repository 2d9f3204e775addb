"""k winners take all: a ReLU layer of which only the k most active units of each key speak.

Shape legend: B batch, D input dimension, F hidden units, E output dimension, K winners.
Sources: Makhzani and Frey 2013 (arXiv 1312.5663) for the layer, Bengio et al. 2013 (arXiv 1308.3432) for the
straight-through gradient.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from models.ffn import HiddenLayerFFN
from models.ffn_kinds import TopKConfig

ANNEALED_UNTIL = 0.5
"""share of the training after which the number of winners no longer falls"""


class TopKFFN(HiddenLayerFFN):
    """winners(relu(x W_in)) W_out. Ties beyond the k-th unit go to the units that torch.topk names."""

    def __init__(self, config: TopKConfig, dim_in: int, dim_out: int, *, generator: torch.Generator) -> None:
        super().__init__(dim_in, config.units(dim_in), dim_out, bias=False, generator=generator)
        self.units, self._last = config.units(dim_in), config.active_units(dim_in)
        self.annealed, self.straight_through = config.annealed, config.gradient == "straight_through"
        self.winners = self.units if config.annealed else self._last

    def hidden(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B F"]:
        h_BF = functional.relu(x_BD @ self.w_in_DF)
        # Annealing belongs to training: what is stored answers with the last number of winners.
        winners = self.winners if self.training else self._last
        if winners == self.units:
            return h_BF
        top_BK, units_BK = h_BF.topk(winners, dim=1)
        winners_BF = torch.zeros_like(h_BF).scatter(1, units_BK, top_BK)
        return h_BF + (winners_BF - h_BF).detach() if self.straight_through else winners_BF

    def is_settled(self) -> bool:
        return self.winners == self._last

    def step_done(self, progress: float) -> None:
        if self.annealed:
            silenced = min(1.0, progress / ANNEALED_UNTIL) * (self.units - self._last)
            self.winners = self.units - round(silenced)
