"""Sparse memory layers that a config can name: product keys, one-neuron experts, hashed lookup. Free of torch."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from models.dial_checks import check_above_zero, check_one_or_more
from models.ffn_kinds import Dense, FFNConfig
from models.precisions import Precision

if TYPE_CHECKING:
    import torch

    from models.ffn import FFN

DENSE_READ_FACTOR = 16
"""Tables of up to so many slots for each slot read are multiplied whole: on a CPU quicker than gathering rows."""


def slots_multiplied(num_slots: int, num_read: int) -> int:
    """Slots that one key is multiplied with: those it reads, or the whole table where that is quicker."""
    return num_slots if reads_densely(num_slots, num_read) else num_read


def reads_densely(num_slots: int, num_read: int) -> bool:
    """Whether the whole table is multiplied."""
    return num_slots <= DENSE_READ_FACTOR * num_read


@dataclass(frozen=True, kw_only=True)
class ProductKeyRetrieval:
    """Which of sub_keys^2 slots a key reads: those whose two sub-keys agree best with the halves of a query."""

    sub_keys: int = 16
    """of each half, for each head; their pairs are the slots, which all heads share"""
    heads: int = 8
    """queries for each key, each with sub-keys of its own; one head alone trains badly"""
    dim_key: int = 4
    """dimension of a query: two halves"""
    top_k: int = 4
    """slots that each head reads"""
    query_norm: Literal["none", "batch", "layer"] = "none"
    """batch: its running means and variances are stored, and counted as parameters"""
    weighting: Literal["scored", "softmax"] = "scored"
    """of the slots read: softmax over their scores as published, or that times the score, so that they bear a sign"""
    slot_rate_factor: float = 1.0
    """learning rate of the slots' own weights, times that of the rest"""
    router_precision: Precision | None = None
    """of queries and sub-keys, where the slots are stored in fewer bits; that of the slots where empty"""

    def __post_init__(self) -> None:
        check_one_or_more(sub_keys=self.sub_keys, heads=self.heads, dim_key=self.dim_key, top_k=self.top_k)
        if self.top_k > self.num_slots:
            raise ValueError(f"top_k {self.top_k} is more than the {self.num_slots} slots of sub_keys {self.sub_keys}")
        if self.dim_key % 2:
            raise ValueError(f"dim_key must be even, since a query has two halves, not {self.dim_key}")
        if self.weighting == "softmax" and self.top_k == 1:
            raise ValueError(
                "top_k must be 2 or more for weighting softmax: of a single score it is 1, and learns nothing"
            )
        if self.query_norm == "layer" and self.dim_key < 4:
            raise ValueError(
                f"query_norm layer over {self.dim_key} numbers leaves only their order: dim_key must be 4 or more"
            )
        check_above_zero(slot_rate_factor=self.slot_rate_factor)

    @property
    def size(self) -> int | None:
        return self.sub_keys

    @property
    def num_slots(self) -> int:
        """All pairs of sub-keys."""
        return self.sub_keys**2

    @property
    def slots_read(self) -> int:
        """By all heads together, twice where two heads read the same."""
        return self.heads * self.top_k

    def _settings(self) -> str:
        return (
            f"-{self.heads}x{self.dim_key}-top{self.top_k}"
            + ("" if self.query_norm == "none" else f"-{self.query_norm}norm")
            + ("-softmax" if self.weighting == "softmax" else "")
            + ("" if self.slot_rate_factor == 1 else f"-rate{self.slot_rate_factor:g}")
            + ("" if self.router_precision is None else f"-router-{self.router_precision}")
        )

    def _retrieval_params(self, dim_in: int) -> int:
        statistics = 2 if self.query_norm == "batch" else 0
        return self.heads * self.dim_key * (dim_in + self.sub_keys + statistics)

    def _retrieval_flops(self, dim_in: int) -> int:
        return self.heads * self.dim_key * (4 * dim_in + 6 * self.sub_keys)

    def _nearest(self, size: int) -> int:
        """Sub-keys that make slots enough to be read."""
        return max(size, math.ceil(math.sqrt(self.top_k)))


@dataclass(frozen=True, kw_only=True)
class ProductKeysConfig(ProductKeyRetrieval):
    """Product-key memory: each slot holds an output (Lample et al. 2019, arXiv 1907.05242)."""

    kind: Literal["product_keys"] = "product_keys"

    @property
    def family(self) -> str:
        return "product-keys" + self._settings()

    @property
    def label(self) -> str:
        return f"{self.family}-{self.num_slots}"

    def resized(self, size: int) -> "ProductKeysConfig":
        return replace(self, sub_keys=self._nearest(size))

    def num_params(self, dim_in: int, dim_out: int) -> int:
        return self._retrieval_params(dim_in) + self.num_slots * dim_out

    def num_active_params(self, dim_in: int, dim_out: int) -> int:
        return self._retrieval_params(dim_in) + min(self.slots_read, self.num_slots) * dim_out

    def training_flops(self, dim_in: int, dim_out: int) -> int:
        return self._retrieval_flops(dim_in) + slots_multiplied(self.num_slots, self.slots_read) * 6 * dim_out

    def build(self, dim_in: int, dim_out: int, *, generator: "torch.Generator") -> "FFN":
        from models.product_keys import ProductKeyMemory

        return ProductKeyMemory(self, dim_in, dim_out, generator=generator)


@dataclass(frozen=True, kw_only=True)
class OneNeuronExpertsConfig(ProductKeyRetrieval):
    """PEER: each slot is an expert of one hidden unit, activation(x . u) v (He 2024, arXiv 2407.04153)."""

    kind: Literal["peer"] = "peer"
    activation: Dense = "gelu"
    """of each expert's hidden unit"""

    @property
    def family(self) -> str:
        return f"peer-{self.activation}" + self._settings()

    @property
    def label(self) -> str:
        return f"{self.family}-{self.num_slots}"

    def resized(self, size: int) -> "OneNeuronExpertsConfig":
        return replace(self, sub_keys=self._nearest(size))

    def num_params(self, dim_in: int, dim_out: int) -> int:
        return self._retrieval_params(dim_in) + self.num_slots * (dim_in + dim_out)

    def num_active_params(self, dim_in: int, dim_out: int) -> int:
        return self._retrieval_params(dim_in) + min(self.slots_read, self.num_slots) * (dim_in + dim_out)

    def training_flops(self, dim_in: int, dim_out: int) -> int:
        an_expert = 4 * dim_in + 6 * dim_out
        return self._retrieval_flops(dim_in) + slots_multiplied(self.num_slots, self.slots_read) * an_expert

    def build(self, dim_in: int, dim_out: int, *, generator: "torch.Generator") -> "FFN":
        from models.product_keys import OneNeuronExperts

        return OneNeuronExperts(self, dim_in, dim_out, generator=generator)


@dataclass(frozen=True, kw_only=True)
class LookupConfig(FFNConfig):
    """Hashed lookup: the key's content names one row of each table (the n-gram tables of Engram, arXiv 2601.07372).

    What is hashed are the signs of seeded random projections. Keys of one direction are one key; noise that turns a
    single sign (at 64 signs a turn of 3 degrees does) names other rows, and nothing is left of the answer.
    """

    kind: Literal["lookup"] = "lookup"
    rows: int = 128
    """of each table"""
    tables: int = 8
    """hash functions, a table each"""
    gate: Literal["linear", "sigmoid", "none"] = "linear"
    """factor of each table's row, computed from the key: x . g, its sigmoid, or 1"""
    num_signs: int = 64
    """random hyperplanes; fewer forgive more noise and confuse more keys"""
    hash_seed: int = 0
    """of hyperplanes and hash functions, which are drawn again instead of stored"""

    def __post_init__(self) -> None:
        check_one_or_more(rows=self.rows, tables=self.tables, num_signs=self.num_signs)

    @property
    def family(self) -> str:
        return (
            f"lookup-{self.tables}tables"
            + ("" if self.gate == "linear" else f"-gate-{self.gate}")
            + ("" if self.num_signs == 64 else f"-{self.num_signs}signs")
            + ("" if self.hash_seed == 0 else f"-hash{self.hash_seed}")
        )

    @property
    def size(self) -> int | None:
        return self.rows

    def resized(self, size: int) -> "LookupConfig":
        return replace(self, rows=size)

    def _gate_params(self, dim_in: int) -> int:
        return 0 if self.gate == "none" else self.tables * dim_in

    def num_params(self, dim_in: int, dim_out: int) -> int:
        return self._gate_params(dim_in) + self.tables * self.rows * dim_out

    def num_active_params(self, dim_in: int, dim_out: int) -> int:
        return self._gate_params(dim_in) + self.tables * dim_out

    def training_flops(self, dim_in: int, dim_out: int) -> int:
        hashing = 2 * self.num_signs * (dim_in + self.tables)
        gated = self.gate != "none"  # then the backward pass has two products, else one
        reading = slots_multiplied(self.tables * self.rows, self.tables) * (4 + 2 * gated) * dim_out
        return hashing + 4 * self._gate_params(dim_in) + reading

    def build(self, dim_in: int, dim_out: int, *, generator: "torch.Generator") -> "FFN":
        from models.lookup import HashedLookup

        return HashedLookup(self, dim_in, dim_out, generator=generator)
