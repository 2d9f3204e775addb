"""A lookup by the last tokens, for decoders. Free of torch."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from models.dial_checks import check_one_or_more
from models.ffn_kinds import FFNConfig

if TYPE_CHECKING:
    import torch

    from models.ngram_lookup import NgramLookup


@dataclass(frozen=True, kw_only=True)
class NgramsConfig(FFNConfig):
    """One row for the last 2, 3 ... tokens each, named by their hash, times a gate computed from the stream (Engram,
    arXiv 2601.07372)."""

    kind: Literal["ngrams"] = "ngrams"
    orders: tuple[int, ...] = (2, 3)
    """lengths of the token sequences that are looked up"""
    rows: int = 1024
    """of the table of each length"""
    hash_seed: int = 0
    """of the hash functions"""

    def __post_init__(self) -> None:
        check_one_or_more(rows=self.rows)
        if not self.orders or min(self.orders) < 1:
            raise ValueError(f"orders must name one length or more, of 1 token or more, not {list(self.orders)}")

    @property
    def family(self) -> str:
        return "ngrams" + "".join(map(str, self.orders)) + (f"-hash{self.hash_seed}" if self.hash_seed else "")

    @property
    def size(self) -> int | None:
        return self.rows

    @property
    def longest(self) -> int:
        """Tokens that the longest of them takes."""
        return max(self.orders)

    def resized(self, size: int) -> "NgramsConfig":
        return replace(self, rows=size)

    def num_params(self, dim_in: int, dim_out: int) -> int:
        return len(self.orders) * (self.rows * dim_out + dim_in)

    def num_active_params(self, dim_in: int, dim_out: int) -> int:
        return len(self.orders) * (dim_out + dim_in)

    def training_flops(self, dim_in: int, dim_out: int) -> int:
        return 6 * self.num_active_params(dim_in, dim_out)

    def build(self, dim_in: int, dim_out: int, *, generator: "torch.Generator") -> "NgramLookup":
        from models.ngram_lookup import NgramLookup

        return NgramLookup(self, dim_in, dim_out, generator=generator)
