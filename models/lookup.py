"""Hashed lookup: one row of each table, named by the key's content, times a gate computed from the key.

Shape legend: B batch, D input dimension, E output dimension, G signs, T tables, R rows of a table, S = T R rows.
Sources: Engram (arXiv 2601.07372) for hashed tables with a gate; Charikar 2002 for signs of random projections;
Carter and Wegman 1979 for the hash of the signs.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from models.ffn import FFN
from models.memory_kinds import LookupConfig
from models.product_keys import normal, read

PRIME = 2**31 - 1
"""sums of fewer than 2^22 numbers below it are exact in float64"""


class HashedLookup(FFN):
    """Sum over the tables of gate * row. Hash functions are drawn from a seed and not stored."""

    planes_DG: Tensor
    multipliers_GT: Tensor

    def __init__(self, config: LookupConfig, dim_in: int, dim_out: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self._rows, self._num_tables = config.rows, config.tables
        # One matrix for all tables: a row of table t stands at t R + its number.
        num_rows = config.tables * config.rows
        self.rows_SE = normal(num_rows, dim_out, std=1 / math.sqrt(dim_out), generator=generator)
        self._gate = config.gate
        if config.gate != "none":
            self.w_gate_DT = normal(dim_in, config.tables, std=1.0, generator=generator)
        of_hash = torch.Generator().manual_seed(config.hash_seed)
        # In float64 no sign depends on the order in which a batch is summed, and integers are exact.
        planes_DG = torch.randn(dim_in, config.num_signs, generator=of_hash, dtype=torch.float64)
        multipliers_GT = torch.randint(PRIME, (config.num_signs, config.tables), generator=of_hash).double()
        self.register_buffer("planes_DG", planes_DG, persistent=False)
        self.register_buffer("multipliers_GT", multipliers_GT, persistent=False)

    def row_ids(self, x_BD: Float[Tensor, "B D"]) -> Int64[Tensor, "B T"]:
        """One row of each table, counted through all tables."""
        signs_BG = (x_BD.double() @ self.planes_DG > 0).double()
        hash_BT = (signs_BG @ self.multipliers_GT).remainder(PRIME).remainder(self._rows).long()
        return hash_BT + self._rows * torch.arange(self._num_tables, device=x_BD.device)

    def _gates(self, x_BD: Tensor) -> Tensor:
        if self._gate == "none":
            return x_BD.new_ones(len(x_BD), self._num_tables)
        gate_BT = x_BD @ self.w_gate_DT
        return gate_BT.sigmoid() if self._gate == "sigmoid" else gate_BT

    def forward(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
        return read(self.rows_SE, self._gates(x_BD), self.row_ids(x_BD))

    def read_outs(self) -> list[Tensor]:
        return [self.rows_SE]

    def drawn_for_unit_inputs(self) -> list[Tensor]:
        return [] if self._gate == "none" else [self.w_gate_DT]

    def slot_counts(self, x_BD: Float[Tensor, "B D"]) -> Int64[Tensor, " S"] | None:
        return self.row_ids(x_BD).flatten().bincount(minlength=len(self.rows_SE))
