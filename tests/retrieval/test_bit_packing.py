import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.bit_packing import pack, packed_size, unpack


@given(bits=st.integers(0, 62), data=st.data())
def test_what_was_packed_comes_back_in_exactly_the_bytes_it_needs(bits: int, data: st.DataObject) -> None:
    values = np.array(data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=40)), dtype=np.int64)
    packed = pack(values, bits)
    assert len(packed) == packed_size(len(values), bits) == -(-len(values) * bits // 8)
    np.testing.assert_array_equal(unpack(packed, len(values), bits), values)


def test_lowest_bit_comes_first() -> None:
    assert pack(np.array([0b001, 0b110, 0b101], dtype=np.int64), 3) == bytes([0b01_110_001, 0b1])


def test_no_bits_hold_one_candidate() -> None:
    assert pack(np.zeros(5, dtype=np.int64), 0) == b""
    np.testing.assert_array_equal(unpack(b"", 5, 0), np.zeros(5))


@pytest.mark.parametrize(("value", "bits"), [(8, 3), (1, 0), (-1, 3)])
def test_a_value_that_does_not_fit_is_refused(value: int, bits: int) -> None:
    with pytest.raises(ValueError, match=f"do not fit in {bits} bits"):
        pack(np.array([0, value], dtype=np.int64), bits)


@pytest.mark.parametrize("packed", [b"", b"123", b"1"])
def test_another_length_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="take 2 bytes"):
        unpack(packed, 3, 5)
