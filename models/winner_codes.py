"""Sparse binary codes of keys: the few units that a random projection makes highest (k winners take all).

Unit f of a key k is at w_f . k with w_f a random direction: the nearer two keys lie, the more winners they share
(Dasgupta, Stevens and Navlakha 2017 hash so, after the fly). With a bandwidth it is at cos(w_f . k / |k| + b_f), the
wave of which `models.sign_features` keeps the sign: all but the nearest keys then share winners by chance alone, K / F
of them, and a key that moves a little has others.

Shape legend: B keys, D key dimension, F units, K winners.
"""

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy import ndarray
from torch import Tensor

from models.sign_features import SignFeatures

_STREAM = 0x316E  # of its own: directions drawn from the numbers that keys were drawn from are not random to them


class WinnerCodes:
    """Codes of which nothing is stored: they follow from the seed."""

    def __init__(self, dim: int, num_units: int, *, winners: int, bandwidth: float | None, seed: int) -> None:
        self._winners = winners
        self._waves: SignFeatures | None = None
        if bandwidth is not None:
            self._waves = SignFeatures(dim, num_units, bandwidth=bandwidth, seed=seed)
            return
        # In float64, so that a key's winners never depend on how a product was grouped.
        drawn_DF = np.random.default_rng([seed, _STREAM]).standard_normal((dim, num_units))
        self._directions_DF = drawn_DF / np.linalg.norm(drawn_DF, axis=0)

    @property
    def num_bytes(self) -> int:
        """Of what is regenerated from the seed, as held in memory."""
        return self._directions_DF.nbytes if self._waves is None else self._waves.num_bytes

    def __call__(self, keys_BD: Float32[ndarray, "B D"]) -> Int64[Tensor, "B K"]:
        """The winners of each key, highest first."""
        heights_BF = keys_BD @ self._directions_DF if self._waves is None else self._waves.cosines(keys_BD)
        return torch.from_numpy(heights_BF).topk(self._winners, dim=1).indices
