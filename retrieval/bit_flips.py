"""Bits as they are read back from a medium that errs."""

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

_BLOCK_BYTES = 1 << 20
_RARE = 1e-3  # below this rate the chance that one bit is drawn twice does not matter


def flip_bits(data_B: UInt8[ndarray, " B"], num_bits: int, rate: float, rng: np.random.Generator) -> None:
    """Flip each of the first `num_bits` bits (of a byte the lowest first) with probability `rate`, in place."""
    if rate < _RARE:  # drawing a number for every bit of a large index takes seconds
        flips = rng.integers(num_bits, size=rng.binomial(num_bits, rate)) if num_bits else np.empty(0, dtype=np.int64)
        np.bitwise_xor.at(data_B, flips // 8, (1 << (flips % 8)).astype(np.uint8))
        return
    for start in range(0, -(-num_bits // 8), _BLOCK_BYTES):
        block = data_B[start : min(start + _BLOCK_BYTES, -(-num_bits // 8))]
        num_here = min(8 * len(block), num_bits - 8 * start)
        block ^= np.packbits(rng.random(num_here, dtype=np.float32) < rate, bitorder="little")
