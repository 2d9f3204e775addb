"""A table of whole numbers, most of them 0, in the bits that the others need.

In one stream of bits: how many are not 0 (Elias gamma code), two widths, then for each its distance from the last one
(Rice code: Golomb 1966 with a power of 2) and the number less one in as many bits as the largest takes.

Shape legend: V numbers, K of them not 0.
"""

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

_GAP_BITS, _NUMBER_BITS = 5, 6  # of the two widths


def pack_sparse(numbers_V: Int64[ndarray, " V"]) -> bytes:
    """About log2(V / K) + 1.5 bits for the place of each number that is not 0, and log2 of the largest for itself."""
    places_K = np.flatnonzero(numbers_V)
    gaps = (np.diff(places_K, prepend=-1) - 1).tolist()
    most = int(numbers_V.max(initial=0))
    low, width = max(0, (len(numbers_V) // max(1, len(gaps))).bit_length() - 1), (max(1, most) - 1).bit_length()
    text = [_gamma(len(gaps) + 1), f"{low:0{_GAP_BITS}b}", f"{width:0{_NUMBER_BITS}b}"]
    for gap, number in zip(gaps, numbers_V[places_K].tolist(), strict=True):
        text += ["1" * (gap >> low), "0", _binary(gap & ((1 << low) - 1), low), _binary(number - 1, width)]
    bits = np.frombuffer("".join(text).encode(), dtype=np.uint8) - ord("0")
    return np.packbits(bits).tobytes()


def unpack_sparse(content: bytes, num: int) -> tuple[Int64[ndarray, " V"], int]:
    """The `num` numbers at the start of the content, and how many bytes they took."""
    text = "".join(map(str, np.unpackbits(np.frombuffer(content, dtype=np.uint8)).tolist()))
    length = text.index("1")
    at = 2 * length + 1
    found = int(text[length:at], 2) - 1
    low, width = (
        int(text[start : start + size], 2) for start, size in ((at, _GAP_BITS), (at + _GAP_BITS, _NUMBER_BITS))
    )
    at += _GAP_BITS + _NUMBER_BITS
    numbers_V, place = np.zeros(num, dtype=np.int64), -1
    for _ in range(found):
        ones = text.index("0", at) - at
        at += ones + 1
        place += (ones << low) + int(text[at : at + low] or "0", 2) + 1
        at += low
        numbers_V[place] = int(text[at : at + width] or "0", 2) + 1
        at += width
    return numbers_V, (at + 7) // 8


def _binary(number: int, width: int) -> str:
    return f"{number:0{width}b}" if width else ""


def _gamma(number: int) -> str:
    """Of 1 or more: as many zeros as bits follow the first 1."""
    return "0" * (number.bit_length() - 1) + f"{number:b}"
