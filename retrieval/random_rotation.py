"""A rotation that a seed gives: on no disk, in no sum.

Shape legend: D dimensions before, E after.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float64
from numpy import ndarray


@lru_cache(maxsize=1)  # the segments of a store have the same
def random_rotation(dim: int, to: int, seed: int) -> Float64[ndarray, "D E"]:
    """Haar-random, orthonormal along its shorter side (QR of a Gaussian with the signs fixed; Mezzadri 2007)."""
    tall = np.random.default_rng(seed).standard_normal((max(dim, to), min(dim, to)))
    orthonormal, triangular = np.linalg.qr(tall)
    orthonormal *= np.sign(np.diag(triangular))
    rotation = np.ascontiguousarray(orthonormal if to <= dim else orthonormal.T)
    rotation.flags.writeable = False
    return rotation
