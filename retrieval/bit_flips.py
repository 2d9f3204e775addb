"""Codes as they are read back from a medium that errs."""

from typing import Any

import numpy as np

_BLOCK_BYTES = 1 << 20
_RARE = 1e-3  # below this rate the chance that one bit is drawn twice does not matter


def flip_bits(flat_codes: Any, rate: float, rng: np.random.Generator) -> None:
    """Flip every bit of the codes of a `faiss.IndexFlatCodes` with probability `rate`, in place."""
    from retrieval._faiss import faiss

    codes = faiss.vector_to_array(flat_codes.codes)
    if rate < _RARE:  # drawing a number for every bit of a large index takes seconds
        flips = rng.integers(8 * len(codes), size=rng.binomial(8 * len(codes), rate))
        np.bitwise_xor.at(codes, flips // 8, (1 << (flips % 8)).astype(np.uint8))
    else:
        for start in range(0, len(codes), _BLOCK_BYTES):
            block = codes[start : start + _BLOCK_BYTES]
            block ^= np.packbits(rng.random(8 * len(block), dtype=np.float32) < rate)
    faiss.copy_array_to_vector(codes, flat_codes.codes)
