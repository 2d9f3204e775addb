"""Rows of tables that the last tokens name, times a gate computed from the stream.

Shape legend: B positions, D dimension of the stream, E output dimension, W last tokens, O orders (lengths), R rows of a
table, S = O R rows.
Sources: Engram (arXiv 2601.07372); Carter and Wegman 1979 for the hash.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from models.ffn import FFN, uniform
from models.lookup import PRIME
from models.ngram_kinds import NgramsConfig
from models.product_keys import normal, read


class NgramLookup(FFN):
    """Sum over the orders of sigmoid(x . w) * row. The hash functions are drawn from a seed and not stored."""

    multipliers_OW: Tensor

    def __init__(self, config: NgramsConfig, dim_in: int, dim_out: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        num_orders = len(config.orders)
        self.rows_SE = normal(num_orders * config.rows, dim_out, std=1 / math.sqrt(dim_out), generator=generator)
        self.w_gate_DO = uniform(dim_in, num_orders, fan_in=dim_in, generator=generator)
        of_hash = torch.Generator().manual_seed(config.hash_seed)
        multipliers_OW = torch.randint(1, PRIME, (num_orders, config.longest), generator=of_hash)
        for order, length in enumerate(config.orders):
            multipliers_OW[order, : config.longest - length] = 0  # shorter ones do not see the earlier tokens
        self.register_buffer("multipliers_OW", multipliers_OW, persistent=False)

    def row_ids(self, last_BW: Int64[Tensor, "B W"]) -> Int64[Tensor, "B O"]:
        """One row of each order's table, counted through all tables. `last_BW`: the position's own token last; -1 where
        the text had not begun."""
        hash_BO = last_BW.new_zeros(len(last_BW), len(self.config.orders))
        for place in range(last_BW.shape[1]):  # each product below 2^62: token ids are below 2^31
            hash_BO = (hash_BO + (last_BW[:, place, None] + 1) * self.multipliers_OW[:, place]).remainder(PRIME)
        orders_O = torch.arange(len(self.config.orders), device=last_BW.device)
        return hash_BO.remainder(self.config.rows) + self.config.rows * orders_O

    def forward(  # type: ignore[override]
        self, x_BD: Float[Tensor, "B D"], last_BW: Int64[Tensor, "B W"]
    ) -> Float[Tensor, "B E"]:
        return read(self.rows_SE, (x_BD @ self.w_gate_DO).sigmoid(), self.row_ids(last_BW))

    def read_outs(self) -> list[Tensor]:
        return [self.rows_SE]
