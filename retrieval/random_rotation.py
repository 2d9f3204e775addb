"""A rotation, or random waves, that a seed gives: on no disk, in no sum.

Shape legend: N vectors, D dimensions before, E after.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

_WAVES = 0x5741  # a stream of their own: waves drawn from the numbers that keys were drawn from are not random to them
_ROWS_AT_ONCE = 1 << 16  # of float64: a million vectors of 384 would take 3 GB


@lru_cache(maxsize=2)  # the segments of a store have the same; weights and index of a comparison may have two
def random_rotation(dim: int, to: int, seed: int) -> Float64[ndarray, "D E"]:
    """Haar-random, orthonormal along its shorter side (QR of a Gaussian with the signs fixed; Mezzadri 2007)."""
    tall = np.random.default_rng(seed).standard_normal((max(dim, to), min(dim, to)))
    orthonormal, triangular = np.linalg.qr(tall)
    orthonormal *= np.sign(np.diag(triangular))
    rotation = np.ascontiguousarray(orthonormal if to <= dim else orthonormal.T)
    rotation.flags.writeable = False
    return rotation


@lru_cache(maxsize=2)
def random_waves(
    dim: int, to: int, bandwidth: float, seed: int
) -> tuple[Float64[ndarray, "D E"], Float64[ndarray, " E"]]:
    """Frequencies, Gaussian of standard deviation `bandwidth`, and phases (Rahimi and Recht 2007)."""
    rng = np.random.default_rng([seed, _WAVES])
    waves_DE, phases_E = bandwidth * rng.standard_normal((dim, to)), rng.uniform(0.0, 2 * np.pi, to)
    waves_DE.flags.writeable = phases_E.flags.writeable = False
    return waves_DE, phases_E


def rotated(
    vectors_ND: Float32[ndarray, "N D"],
    rotation_DE: Float64[ndarray, "D E"],
    phases_E: Float64[ndarray, " E"] | None = None,
) -> Float32[ndarray, "N E"]:
    """The vectors after the rotation, of length 1 again; with phases, the cosines of waves."""
    rotated_NE = np.empty((len(vectors_ND), rotation_DE.shape[1]), dtype=np.float32)
    for start in range(0, len(vectors_ND), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        # In float64, so that a vector gets the same bits alone and among others (LSH keeps signs of tiny numbers).
        moved = vectors_ND[rows].astype(np.float64) @ rotation_DE
        if phases_E is not None:
            moved = np.cos(moved + phases_E)
        moved /= np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        rotated_NE[rows] = moved
    return rotated_NE
