"""Entropy-coded codes of mid-rise weights, beside the shares, the entropy and the damage that one expects of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from models.coded_levels import decoded, encoded, shares

STEPS = {1: 1.5958, 2: 0.9957, 3: 0.5860, 4: 0.3352}  # Max 1960, table II
NORMAL, UNIFORM, LOWEST, HIGHEST = "normal", "uniform", "lowest", "highest"


def codes_of(size, bits, drawn, seed=0):
    rng, half = np.random.default_rng(seed), 2 ** (bits - 1)
    if drawn == NORMAL:
        return np.floor(rng.standard_normal(size) / STEPS[bits]).clip(-half, half - 1).astype(np.int8)
    if drawn == UNIFORM:
        return rng.integers(-half, half, size).astype(np.int8)
    return np.full(size, -half if drawn == LOWEST else half - 1, dtype=np.int8)


def expected_shares(bits):
    inner = STEPS[bits] * np.arange(1 - 2 ** (bits - 1), 2 ** (bits - 1))
    return np.diff(norm.cdf(np.concatenate([[-np.inf], inner, [np.inf]])))


@pytest.mark.parametrize("bits", STEPS)
def test_the_shares_are_those_of_a_normal_variable(bits):
    assert shares(bits).sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(shares(bits), expected_shares(bits), atol=3e-5)
    # Whole numbers of one denominator, not floats that differ from machine to machine.
    whole = shares(bits) * np.rint(2**16 * expected_shares(bits)).sum()
    np.testing.assert_allclose(whole, np.rint(whole), atol=1e-9)


ARRAYS = st.lists(
    st.tuples(st.integers(0, 300), st.sampled_from(list(STEPS)), st.sampled_from([NORMAL, UNIFORM, LOWEST, HIGHEST])),
    max_size=4,
)


@settings(max_examples=100)
@given(arrays=ARRAYS, seed=st.integers(0, 1000))
def test_what_comes_back_is_what_was_coded(arrays, seed):
    codes = [codes_of(size, bits, drawn, seed) for size, bits, drawn in arrays]
    stream = encoded(zip(codes, [bits for _, bits, _ in arrays], strict=True))
    assert not stream.endswith(b"\0")
    back = decoded(stream, [(size, bits) for size, bits, _ in arrays])
    assert len(back) == len(codes)
    for one, other in zip(back, codes, strict=True):
        assert one.dtype == np.int8 and np.array_equal(one, other)


@pytest.mark.parametrize("size", [100, 2_000, 20_000])
@pytest.mark.parametrize("bits", STEPS)
def test_normal_weights_take_their_entropy(bits, size):
    codes = codes_of(size, bits, NORMAL, seed=size)
    bound = -np.log2(expected_shares(bits)[codes + 2 ** (bits - 1)]).sum() / 8
    assert bound - 1 <= len(encoded([(codes, bits)])) <= 1.01 * bound + 8
    # On average the entropy itself, of four bits 3.6.
    entropy = -(expected_shares(bits) * np.log2(expected_shares(bits))).sum()
    assert 8 * bound / size == pytest.approx(entropy, rel=0.5 / size**0.5)


def test_arrays_share_one_end_of_a_stream():
    """Each end may cost up to four bytes: twenty arrays have one."""
    codes = codes_of(20 * 37, 3, NORMAL)
    assert len(encoded([(part, 3) for part in codes.reshape(20, 37)])) == len(encoded([(codes, 3)]))


def test_streams_of_today_are_read_tomorrow():
    rows = ([*range(-8, 8)], 4), ([3, -4, 0, -1], 3), ([-2, 1], 2)
    arrays = [(np.array(codes, dtype=np.int8), bits) for codes, bits in rows]
    stream = bytes.fromhex("9251e9e6ab0613f148c401ca905b01")
    assert encoded(arrays) == stream
    read = decoded(stream, [(16, 4), (4, 3), (2, 2)])
    assert [part.tolist() for part in read] == [part.tolist() for part, _ in arrays]


@pytest.mark.parametrize("bits", STEPS)
def test_damage_makes_other_codes_and_no_error(bits):
    codes, half = codes_of(400, bits, NORMAL), 2 ** (bits - 1)
    stream = encoded([(codes, bits)])
    rng = np.random.default_rng(1)
    damaged = [stream[:length] for length in range(0, len(stream), 7)]
    damaged += [stream[:-1] + b"\0", bytes(len(stream)), b"\xff" * len(stream), rng.bytes(len(stream))]
    for content in damaged:
        (back,) = decoded(content, [(400, bits)])
        assert back.shape == (400,) and -half <= back.min() and back.max() < half
        assert not np.array_equal(back, codes)


def test_what_was_read_before_a_flip_is_kept():
    """A stream is read from its end."""
    codes = codes_of(1000, 4, NORMAL)
    stream = bytearray(encoded([(codes, 4)]))
    wrong = []
    for place in (len(stream) // 2, len(stream) // 5):
        flipped = stream.copy()
        flipped[place] ^= 1
        (back,) = decoded(bytes(flipped), [(1000, 4)])
        wrong.append(int(np.flatnonzero(back != codes)[0]))
    assert 450 < wrong[0] < 550 and 750 < wrong[1] < 850


def test_codes_that_no_number_gave_are_coded_by_their_lowest_bits():
    (back,) = decoded(encoded([(np.array([-128, 127, 3, -5], np.int8), 2)]), [(4, 2)])
    assert back.tolist() == [0, -1, -1, -1]
