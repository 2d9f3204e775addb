"""Sorted codes against a decoder of one bit after the other, and against the number of multisets."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.sorted_codes import expected_bytes, pack_sorted, sorting_order, unpack_sorted


def codes_of(bits: int, counts: list[int], seed: int, *, few: bool = False) -> np.ndarray:
    """Random codes, `few` of them different, sorted within their groups."""
    rng = np.random.default_rng(seed)
    bits_Nb = rng.integers(0, 2, (sum(counts), bits))
    if few:
        bits_Nb[:, 3:] = 0
    codes = np.packbits(bits_Nb.astype(np.uint8), axis=1, bitorder="little")
    return codes[sorting_order(codes, bits, counts)]


@given(
    bits=st.integers(1, 70),
    counts=st.lists(st.integers(0, 60), min_size=1, max_size=5).filter(any),
    seed=st.integers(0, 2**32),
    few=st.booleans(),
)
def test_what_was_packed_comes_back(bits: int, counts: list[int], seed: int, few: bool) -> None:
    codes = codes_of(bits, counts, seed, few=few)
    packed = pack_sorted(codes, bits, counts)
    assert np.array_equal(unpack_sorted(packed, bits, counts), codes)
    for wrong in (packed[:-1], packed + b"\0", packed + b"\1"):
        with pytest.raises(ValueError, match=f"do not hold {sum(counts)} sorted codes of {bits} bits"):
            unpack_sorted(wrong, bits, counts)


def read_bit_by_bit(packed: bytes, bits: int, counts: list[int]) -> list[str]:
    """Of codes of at most 32 bits."""
    text = "".join(f"{byte:08b}"[::-1] for byte in packed)
    widths = [
        max(0, math.floor(math.log2(math.log(2) * 2**bits / n))) if n and 2**bits / n > 1.5 else 0 for n in counts
    ]
    low, unary = 0, sum(width * count for width, count in zip(widths, counts, strict=True))
    found = []
    for width, count in zip(widths, counts, strict=True):
        number = 0
        for _ in range(count):
            end = text.index("1", unary)
            number += (end - unary) << width | int(text[low : low + width][::-1] or "0", 2)
            low, unary = low + width, end + 1
            found.append(f"{number:0{bits}b}")
    return found


@pytest.mark.parametrize(("bits", "counts"), [(5, [40, 3]), (12, [7, 0, 90]), (20, [300]), (32, [5, 5])])
def test_the_bits_are_those_that_the_layout_says(bits: int, counts: list[int]) -> None:
    codes = codes_of(bits, counts, 8)
    texts = ["".join(map(str, row)) for row in np.unpackbits(codes, axis=1, count=bits, bitorder="little").tolist()]
    assert read_bit_by_bit(pack_sorted(codes, bits, counts), bits, counts) == texts
    stops = np.cumsum([0, *counts]).tolist()
    for start, stop in pairwise(stops):
        assert texts[start:stop] == sorted(texts[start:stop])


@pytest.mark.parametrize(("bits", "count"), [(18, 4000), (20, 4000), (20, 500), (28, 16000), (48, 1000)])
def test_uniform_codes_take_hardly_more_than_their_multiset(bits: int, count: int) -> None:
    size = len(pack_sorted(codes_of(bits, [count], 3), bits, [count]))
    every = 2.0**bits
    multisets = math.lgamma(min(every, 1e15) + count) - math.lgamma(min(every, 1e15)) - math.lgamma(count + 1)
    least = multisets / math.log(2) + count * max(0.0, math.log2(every / 1e15))
    assert least / 8 - 1 <= size <= (least + 0.2 * count) / 8 + 1
    assert size < bits * count / 8
    assert expected_bytes(bits, [count]) == pytest.approx(size, rel=0.01)


def test_the_order_is_by_group_then_code_and_keeps_equal_ones() -> None:
    codes = np.array([[3], [1], [2], [1], [3], [2]], dtype=np.uint8)
    # Bits from the lowest: 11, 10, 01, 10 in one group, 11, 01 in the other.
    assert sorting_order(codes, 2, [4, 2]).tolist() == [2, 1, 3, 0, 5, 4]
    with pytest.raises(ValueError, match="codes do not lie sorted within their group"):
        pack_sorted(codes, 2, [4, 2])


@given(flips=st.lists(st.integers(0, 10**6), min_size=1, max_size=30), bits=st.sampled_from([9, 20, 40]))
def test_damaged_codes_are_read_as_far_as_they_can_be(flips: list[int], bits: int) -> None:
    counts = [40, 0, 25]
    whole = np.frombuffer(pack_sorted(codes_of(bits, counts, 5), bits, counts), dtype=np.uint8).copy()
    for flip in flips:
        whole[flip // 8 % len(whole)] ^= 1 << flip % 8
    read = unpack_sorted(whole.tobytes(), bits, counts, damaged=True)
    assert read.shape == (65, (bits + 7) // 8)
    # No bit beyond those of a code.
    assert not np.unpackbits(read, axis=1, bitorder="little")[:, bits:].any()


def test_nothing_takes_no_bytes() -> None:
    assert pack_sorted(np.empty((0, 3), dtype=np.uint8), 20, [0, 0]) == b""
    assert unpack_sorted(b"", 20, [0, 0]).shape == (0, 3)
