"""Seeded one-bit features of a key: the signs of random waves.

Feature f of a key k is the sign of cos(w_f . k / |k| + b_f), with w_f Gaussian of standard deviation `bandwidth` and
b_f uniform: random Fourier features (Rahimi & Recht 2007), cut to their signs (Raginsky & Lazebnik 2009). Two keys at
distance r agree in most features where bandwidth x r is small, and in half of them where it is large. The bandwidth is
therefore a trade: wide, and keys look independent, as perceptrons want them; narrow, and a key that moves a little
keeps its features.

Shape legend: B keys, D key dimension, F features.
"""

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from numpy import ndarray
from torch import Tensor

_STREAM = 0x516E  # a stream of its own: waves drawn from the numbers that keys were drawn from are not random to them


class SignFeatures:
    """Features of which nothing is stored: they follow from the seed."""

    def __init__(self, dim: int, num_features: int, *, bandwidth: float, seed: int) -> None:
        rng = np.random.default_rng([seed, _STREAM])
        # In float64, so that a key's features never depend on how a product was grouped: no sum lies that near to 0.
        self._waves_DF = bandwidth * rng.standard_normal((dim, num_features))
        self._phases_F = rng.uniform(0.0, 2 * np.pi, num_features)

    @property
    def num_bytes(self) -> int:
        """Of what is regenerated from the seed, as held in memory."""
        return int(self._waves_DF.nbytes + self._phases_F.nbytes)

    def cosines(self, keys_BD: Float32[ndarray, "B D"]) -> Float64[ndarray, "B F"]:
        """The waves themselves, before their signs are taken."""
        length_B1 = np.linalg.norm(keys_BD, axis=1, keepdims=True).astype(np.float64)
        angles_BF = (keys_BD / np.maximum(length_B1, 1e-12)) @ self._waves_DF + self._phases_F
        return np.cos(angles_BF)  # type: ignore[no-any-return]

    def __call__(self, keys_BD: Float32[ndarray, "B D"]) -> Float[Tensor, "B F"]:
        """-1 or +1."""
        return torch.from_numpy(np.where(self.cosines(keys_BD) > 0, np.float32(1), np.float32(-1)))
