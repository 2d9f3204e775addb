"""Codes of vectors that may lie in any order, stored sorted: about log2(N!) bits fewer than one after the other.

Within its group each code is its distance from the one before: the Rice code (Golomb 1966, with a power of two) of the
distance between their leading bits, and the other bits as they are. For uniform codes that is within .2 bits a code of
log2 of the number of multisets, which no coding can beat (random order coding, Severo et al. 2022, arXiv 2107.09202,
comes nearer still).

    low bits of the distances | bits behind the leading ones | high parts of the distances in unary, to the end

Shape legend: N codes, B bytes of a code, b bits of one, G groups.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray

from retrieval.bit_packing import bits_of, numbers_of

_LEADING_BITS = 32
"""of a code, at most, by which it is sorted: more than it takes to tell the codes of one store apart"""


def sorting_order(codes_NB: UInt8[ndarray, "N B"], bits: int, counts_G: Sequence[int]) -> Int64[ndarray, " N"]:
    """Rows of the codes, sorted within each group, equal ones as they were. The groups lie one after the other."""
    leading_N, groups_N = _leading(codes_NB, bits), np.repeat(np.arange(len(counts_G)), counts_G)
    behind = [codes_NB[:, byte] for byte in range(min(bits, _LEADING_BITS) // 8, codes_NB.shape[1])]
    order_N: Int64[ndarray, " N"] = np.lexsort([*behind[::-1], leading_N, groups_N])
    return order_N


def pack_sorted(codes_NB: UInt8[ndarray, "N B"], bits: int, counts_G: Sequence[int]) -> bytes:
    """Codes in their `sorting_order`. ValueError where they lie in another one."""
    leading_N, places = _leading(codes_NB, bits), _places(counts_G)
    low_bits, high_parts = [np.empty(0, dtype=np.uint8)], [np.empty(0, dtype=np.int64)]
    for start, stop in places:
        distances = np.diff(leading_N[start:stop], prepend=0)
        if len(distances) and distances.min() < 0:
            raise ValueError("codes do not lie sorted within their group")
        width = _low_width(bits, stop - start)
        low_bits.append(bits_of(distances & ((1 << width) - 1), width))
        high_parts.append(distances >> width)
    behind_Nb = np.unpackbits(codes_NB, axis=1, count=bits, bitorder="little")[:, _LEADING_BITS:]
    # As many zeros as the number says, and a one.
    ends = np.cumsum(np.concatenate(high_parts) + 1) - 1
    unary = np.zeros(int(ends[-1]) + 1 if len(ends) else 0, dtype=np.uint8)
    unary[ends] = 1
    return np.packbits(np.concatenate([*low_bits, behind_Nb.reshape(-1), unary]), bitorder="little").tobytes()


def unpack_sorted(packed: bytes, bits: int, counts_G: Sequence[int], *, damaged: bool = False) -> UInt8[ndarray, "N B"]:
    """What `pack_sorted` was given, each code in whole bytes that zeros fill up.

    ValueError where `packed` does not hold so many codes; where it may be `damaged`, what can be made of it.
    """
    num_codes, places = sum(counts_G), _places(counts_G)
    widths = [_low_width(bits, count) for count in counts_G]
    num_behind = max(0, bits - _LEADING_BITS)
    stored = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), bitorder="little")
    num_low = sum(width * count for width, count in zip(widths, counts_G, strict=True))
    unary_start = num_low + num_behind * num_codes
    ends = np.flatnonzero(stored[unary_start:])
    used = unary_start + (int(ends[num_codes - 1]) + 1 if 0 < num_codes <= len(ends) else 0)
    if not damaged and (len(ends) != num_codes or len(stored) - used >= 8):
        raise ValueError(f"{len(packed)} bytes do not hold {num_codes} sorted codes of {bits} bits")
    high_N = np.zeros(num_codes, dtype=np.int64)
    read = np.diff(ends[:num_codes], prepend=-1) - 1
    high_N[: len(read)] = read
    leading_N, at = np.empty(num_codes, dtype=np.int64), 0
    for (start, stop), width in zip(places, widths, strict=True):
        low = numbers_of(stored[at : at + width * (stop - start)], width, stop - start)
        leading_N[start:stop] = np.cumsum((high_N[start:stop] << width) | low)
        at += width * (stop - start)
    leading = min(bits, _LEADING_BITS)
    bits_Nb = np.empty((num_codes, bits), dtype=np.uint8)
    for place in range(leading):
        bits_Nb[:, place] = (leading_N >> (leading - 1 - place)) & 1
    bits_Nb[:, leading:] = stored[num_low:unary_start].reshape(num_codes, num_behind)
    return np.packbits(bits_Nb, axis=1, bitorder="little")


def expected_bytes(bits: int, counts_G: Sequence[int]) -> int:
    """Of `pack_sorted` for codes drawn uniformly: what a plan reckons with."""
    total = 0.0
    for count in counts_G:
        width, mean = _low_width(bits, count), 2.0 ** min(bits, _LEADING_BITS) / (count + 1)
        total += count * (1 + width + max(0, bits - _LEADING_BITS)) + count * _expected_high(mean, width)
    return math.ceil(total / 8)


def _expected_high(mean: float, width: int) -> float:
    """Mean of a geometric number of this mean, shifted right by so many bits."""
    stays: float = (mean / (mean + 1)) ** (2.0**width)
    return stays / (1 - stays)


def _low_width(bits: int, count: int) -> int:
    """Bits of a distance that are stored as they are: log2 of the median distance of so many uniform codes."""
    mean = 2.0 ** min(bits, _LEADING_BITS) / max(1, count)
    return max(0, math.floor(math.log2(mean * math.log(2)))) if mean > 1.5 else 0


def _places(counts_G: Sequence[int]) -> list[tuple[int, int]]:
    stops = np.cumsum([0, *counts_G]).tolist()
    return list(pairwise(stops))


def _leading(codes_NB: UInt8[ndarray, "N B"], bits: int) -> Int64[ndarray, " N"]:
    """The first bits of each code as a number, the first one weighing most."""
    num = min(bits, _LEADING_BITS)
    bits_Nb = np.unpackbits(codes_NB, axis=1, count=num, bitorder="little")
    leading_N = np.zeros(len(codes_NB), dtype=np.int64)
    for place in range(num):
        leading_N |= bits_Nb[:, place].astype(np.int64) << (num - 1 - place)
    return leading_N
