"""Integers and codes at b bits each: what they cost when nothing is wasted but the last byte's rest.

Shape legend: N integers or codes, B bytes of a code, b bits of one.
"""

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray

_CODES_AT_ONCE = 1 << 16  # a multiple of 8, so that every block of them ends with a byte


def packed_size(count: int, bits: int) -> int:
    """Bytes that `count` integers of `bits` bits take: ceil(count * bits / 8)."""
    return (count * bits + 7) // 8


def pack(values_N: Int64[ndarray, " N"], bits: int) -> bytes:
    """`packed_size(N, bits)` bytes, lowest bit first; bits = 0 is one candidate only, so every value must be 0.

    ValueError where a value does not fit.
    """
    if len(values_N) and not (values_N.min() >= 0 and values_N.max() < 1 << bits):
        raise ValueError(f"values {values_N.min()} to {values_N.max()} do not fit in {bits} bits")
    return np.packbits(bits_of(values_N, bits), bitorder="little").tobytes()


def unpack(packed: bytes, count: int, bits: int) -> Int64[ndarray, " N"]:
    """The `count` integers that `pack` was given; ValueError where `packed` has another length than they take."""
    if len(packed) != packed_size(count, bits):
        raise ValueError(f"{count} values of {bits} bits take {packed_size(count, bits)} bytes, not {len(packed)}")
    flat = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=count * bits, bitorder="little")
    return numbers_of(flat, bits, count)


def bits_of(numbers_N: Int64[ndarray, " N"], width: int) -> UInt8[ndarray, " b"]:
    """The lowest `width` bits of each number, one number after the other, the lowest bit first."""
    bits_Nb = np.empty((len(numbers_N), width), dtype=np.uint8)
    for place in range(width):
        bits_Nb[:, place] = (numbers_N >> place) & 1
    return bits_Nb.reshape(-1)


def numbers_of(bits_b: UInt8[ndarray, " b"], width: int, count: int) -> Int64[ndarray, " N"]:
    """The `count` numbers whose `bits_of` these are."""
    numbers_N = np.zeros(count, dtype=np.int64)
    for place in range(width):
        numbers_N |= bits_b[place::width].astype(np.int64) << place
    return numbers_N


def pack_codes(codes_NB: UInt8[ndarray, "N B"], bits: int) -> bytes:
    """The first `bits` bits of each code, one after the other: `packed_size(N, bits)` bytes, lowest bit first."""
    if bits == 8 * codes_NB.shape[1]:
        return codes_NB.tobytes()
    blocks = []
    for start in range(0, len(codes_NB), _CODES_AT_ONCE):
        bits_Nb = np.unpackbits(codes_NB[start : start + _CODES_AT_ONCE], axis=1, count=bits, bitorder="little")
        blocks.append(np.packbits(bits_Nb.reshape(-1), bitorder="little").tobytes())
    return b"".join(blocks)


def unpack_codes(packed: bytes, count: int, bits: int) -> UInt8[ndarray, "N B"]:
    """The `count` codes that `pack_codes` was given, each in whole bytes that zeros fill up.

    ValueError where `packed` has another length than they take.
    """
    if len(packed) != packed_size(count, bits):
        raise ValueError(f"{count} codes of {bits} bits take {packed_size(count, bits)} bytes, not {len(packed)}")
    packed_B = np.frombuffer(packed, dtype=np.uint8)
    if bits % 8 == 0:
        return packed_B.reshape(count, bits // 8).copy()
    codes_NB = np.empty((count, packed_size(1, bits)), dtype=np.uint8)
    for start in range(0, count, _CODES_AT_ONCE):
        num = min(_CODES_AT_ONCE, count - start)
        block = packed_B[start * bits // 8 : packed_size(start + num, bits)]
        bits_Nb = np.unpackbits(block, count=num * bits, bitorder="little").reshape(num, bits)
        codes_NB[start : start + num] = np.packbits(bits_Nb, axis=1, bitorder="little")
    return codes_NB
