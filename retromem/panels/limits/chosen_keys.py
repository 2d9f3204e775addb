"""Keys that stand where random ones would: those of an encoder in fewer dimensions, and Gaussian ones shaped like them.

Shape legend: N facts of a table, M keys that a panel needs at most, D key dimension, K dimension of the encoder.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Float32
from numpy import ndarray
from torch import Tensor
from torch.nn import functional

from retrieval.errors import Refused
from retromem.measure.trained_ffn import KeyTable, random_table

_TURN_SEEDS = 50_000
"""another stream than those of keys, codes and weights"""


def chosen_keys(
    keys: str, encoder_keys_MK: Float32[ndarray, "M K"] | None, dim: int, *, seed: int
) -> Float[Tensor, "M D"] | None:
    """The encoder's keys in `dim` random orthogonal directions, or Gaussian ones (`shaped`); None where they are None.

    Refused where the encoder has fewer dimensions.
    """
    if encoder_keys_MK is None:
        return None
    num_dims = encoder_keys_MK.shape[1]
    if num_dims < dim:
        raise Refused(
            f"keys: {keys}: the encoder's have {num_dims} dimensions, and {dim} are asked for; take another one"
        )
    generator = torch.Generator().manual_seed(_TURN_SEEDS + seed)
    turn_KD = torch.linalg.qr(torch.randn(num_dims, dim, generator=generator)).Q
    keys_MD = functional.normalize(torch.from_numpy(encoder_keys_MK) @ turn_KD)
    return shaped(keys_MD, generator) if keys == "shaped" else keys_MD


def shaped(keys_MD: Float[Tensor, "M D"], generator: torch.Generator) -> Float[Tensor, "M D"]:
    """Gaussian keys with the mean and the covariance of these, of unit length."""
    mean_D, covariance_DD = keys_MD.double().mean(0), torch.cov(keys_MD.double().T)
    # Tiny directions may come out a little below 0.
    factor_DD = torch.linalg.cholesky(covariance_DD + 1e-6 * torch.eye(len(mean_D)).double())
    drawn_MD = mean_D + torch.randn(keys_MD.shape, generator=generator).double() @ factor_DD.T
    return functional.normalize(drawn_MD).float()


def in_place_of(random_ND: Float[Tensor, "N D"], keys_MD: Float[Tensor, "M D"] | None) -> Float[Tensor, "N D"]:
    """The first of the chosen keys, as many as there are random ones; these where none were chosen."""
    if keys_MD is None:
        return random_ND
    assert len(keys_MD) >= len(random_ND), f"{len(random_ND)} facts, but {len(keys_MD)} keys: num_keys is too small"
    return keys_MD[: len(random_ND)]


def key_table(
    num_facts: int, dim: int, num_values: int, keys_MD: Float[Tensor, "M D"] | None, *, seed: int
) -> KeyTable:
    """The random table of this seed, with the chosen keys."""
    table = random_table(num_facts, dim, num_values, seed=seed)
    return replace(table, keys_ND=in_place_of(table.keys_ND, keys_MD))
