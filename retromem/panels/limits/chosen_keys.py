"""Keys that stand where random ones would: those of an encoder in fewer dimensions, and Gaussian ones shaped like them.

Shape legend: N facts of a table, M keys that a panel needs at most, D key dimension, K dimension of the encoder.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from retrieval.errors import Refused
from retromem.measure.trained_ffn import KeyTable, random_table

_TURN_SEEDS = 50_000
"""another stream than those of keys, codes and weights"""


@dataclass(frozen=True, kw_only=True)
class ChosenKeys:
    """The keys of a panel, in whatever order its facts are; random ones where none are given."""

    given_MD: Float[Tensor, "M D"] | None = None
    own_MK: Float[Tensor, "M K"] | None = None
    """of the encoder, in all of its dimensions"""

    def in_place_of(self, random_ND: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """The first of them, as many as there are random ones; these where none are given."""
        if self.given_MD is None:
            return random_ND
        num_keys = len(self.given_MD)
        assert num_keys >= len(random_ND), f"{len(random_ND)} facts, but {num_keys} keys: num_keys is too small"
        return self.given_MD[: len(random_ND)]

    def table(self, num_facts: int, dim: int, num_values: int, *, seed: int) -> KeyTable:
        """The random table of this seed, with these keys."""
        table = random_table(num_facts, dim, num_values, seed=seed)
        return replace(table, keys_ND=self.in_place_of(table.keys_ND))


RANDOM_KEYS = ChosenKeys()


def turned(keys: str, own_MK: Float[Tensor, "M K"], dim: int, *, seed: int) -> ChosenKeys:
    """The encoder's keys in `dim` random orthogonal directions, or Gaussian ones like these where `keys` says `shaped`.

    Refused where the encoder has fewer dimensions.
    """
    num_dims = own_MK.shape[1]
    if num_dims < dim:
        raise Refused(
            f"keys: {keys}: the encoder's have {num_dims} dimensions, and {dim} are asked for; take another one"
        )
    generator = torch.Generator().manual_seed(_TURN_SEEDS + seed)
    turn_KD = torch.linalg.qr(torch.randn(num_dims, dim, generator=generator)).Q
    given_MD = functional.normalize(own_MK @ turn_KD)
    return ChosenKeys(given_MD=shaped(given_MD, generator) if keys == "shaped" else given_MD, own_MK=own_MK)


def shaped(keys_MD: Float[Tensor, "M D"], generator: torch.Generator) -> Float[Tensor, "M D"]:
    """Gaussian keys with the mean and the covariance of these, of unit length."""
    mean_D, covariance_DD = keys_MD.double().mean(0), torch.cov(keys_MD.double().T)
    # Tiny directions may come out a little below 0.
    factor_DD = torch.linalg.cholesky(covariance_DD + 1e-6 * torch.eye(len(mean_D)).double())
    drawn_MD = mean_D + torch.randn(keys_MD.shape, generator=generator).double() @ factor_DD.T
    return functional.normalize(drawn_MD).float()
