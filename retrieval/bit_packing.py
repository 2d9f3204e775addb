"""Non-negative integers at b bits each: what a payload costs when nothing is wasted but the last byte's rest."""

import numpy as np
from jaxtyping import Int64
from numpy import ndarray


def packed_size(count: int, bits: int) -> int:
    """Bytes that `count` integers of `bits` bits take: ceil(count * bits / 8)."""
    return (count * bits + 7) // 8


def pack(values_N: Int64[ndarray, " N"], bits: int) -> bytes:
    """`packed_size(N, bits)` bytes, lowest bit first; bits = 0 is one candidate only, so every value must be 0.

    ValueError where a value does not fit.
    """
    if len(values_N) and not (values_N.min() >= 0 and values_N.max() < 1 << bits):
        raise ValueError(f"values {values_N.min()} to {values_N.max()} do not fit in {bits} bits")
    bits_NB = np.empty((len(values_N), bits), dtype=np.uint8)
    for bit in range(bits):
        bits_NB[:, bit] = (values_N >> bit) & 1
    return np.packbits(bits_NB.reshape(-1), bitorder="little").tobytes()


def unpack(packed: bytes, count: int, bits: int) -> Int64[ndarray, " N"]:
    """The `count` integers that `pack` was given; ValueError where `packed` has another length than they take."""
    if len(packed) != packed_size(count, bits):
        raise ValueError(f"{count} values of {bits} bits take {packed_size(count, bits)} bytes, not {len(packed)}")
    flat = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=count * bits, bitorder="little")
    bits_NB = flat.reshape(count, bits)
    values_N = np.zeros(count, dtype=np.int64)
    for bit in range(bits):
        values_N |= bits_NB[:, bit].astype(np.int64) << bit
    return values_N
