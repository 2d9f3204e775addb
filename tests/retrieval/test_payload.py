"""Payloads of fixed bits and entropy-coded ones: their bytes, what comes back, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy import ndarray

from retrieval.payload import (
    Payload,
    count_labels,
    labels_of_flipped_bits,
    noted_payload,
    pack_payload,
    payload_note,
    unpack_payload,
)

FIXED_LABELS_N, FIXED_GROUPS_N = np.array([4, 0, 3, 0, 19, 7, 8]), np.array([0, 0, 0, 1, 2, 2, 2])


def bits_of(num_labels_G: list[int]) -> list[int]:
    return [math.ceil(math.log2(number)) for number in num_labels_G]


def entropy_bits(labels_N: ndarray, groups_N: ndarray) -> float:
    """Of labels of each group by their own frequencies, one after the other."""
    total = 0.0
    for group in set(groups_N.tolist()):
        of_group = labels_N[groups_N == group].tolist()
        total -= sum(math.log2(of_group.count(label) / len(of_group)) for label in of_group)
    return total


def zipf_labels(num: int, num_labels: int, exponent: float, seed: int = 0) -> ndarray:
    shares = np.arange(1, num_labels + 1) ** -exponent
    return np.random.default_rng(seed).choice(num_labels, num, p=shares / shares.sum())


def coded_of(labels_N: ndarray, groups_N: ndarray, num_labels_G: list[int]) -> tuple[Payload, tuple[ndarray, ...]]:
    counts_G = count_labels(labels_N, groups_N, num_labels_G)
    return pack_payload(labels_N, groups_N, bits_of(num_labels_G), counts_G), counts_G


def test_fixed_bits_are_sizes_of_groups_and_then_labels_bit_by_bit() -> None:
    payload = pack_payload(FIXED_LABELS_N, FIXED_GROUPS_N, (3, 0, 5))
    # 4, 0, 3 in three bits each, the lowest first: 001 000 110; then 19, 7, 8 in five: 11001 11100 00010.
    labels = bytes([0b11_000_100, 0b0]) + bytes([0b111_10011, 0b0_01000_00])
    assert payload == Payload(np.array([3, 1, 3], dtype="<u4").tobytes() + labels, is_coded=False)
    labels_N, groups_N = unpack_payload(payload, 7, (3, 0, 5))
    assert (labels_N.tolist(), groups_N.tolist()) == ([4, 0, 3, 0, 19, 7, 8], [0, 0, 0, 1, 2, 2, 2])
    # One group alone is as large as the index: its size is not written.
    alone = pack_payload(np.array([4, 0, 3]), np.zeros(3, dtype=np.int64), (3,))
    assert alone.content == labels[:2]
    labels_N, groups_N = unpack_payload(alone, 3, (3,))
    assert (labels_N.tolist(), groups_N.tolist()) == ([4, 0, 3], [0, 0, 0])
    # A group at the end without any chunk.
    assert pack_payload(np.array([1]), np.array([0]), (1, 4)).content == bytes([1, 0, 0, 0, 0, 0, 0, 0, 1])
    for num_chunks, damaged in ((6, payload.content), (8, payload.content), (7, payload.content + b"\0")):
        with pytest.raises(ValueError, match=f"{len(damaged)} bytes do not hold the labels of {num_chunks} chunks"):
            unpack_payload(Payload(damaged), num_chunks, (3, 0, 5))


def test_counts_are_those_of_each_group() -> None:
    counts_G = count_labels(FIXED_LABELS_N, FIXED_GROUPS_N, [5, 1, 20])
    assert [np.flatnonzero(counts).tolist() for counts in counts_G] == [[0, 3, 4], [0], [7, 8, 19]]
    assert [len(counts) for counts in counts_G] == [5, 1, 20] and sum(map(sum, counts_G)) == 7


@st.composite
def labels_of_groups(draw: st.DrawFn) -> tuple[ndarray, ndarray, list[int]]:
    """Up to four groups, some empty, of labels that are one and the same, skewed or uniform."""
    labels, groups, num_labels_G = [], [], []
    for group in range(draw(st.integers(1, 4))):
        num_labels = draw(st.integers(1, 300))
        size = draw(st.sampled_from([0, 1, 2, 7, 400]))
        exponent = draw(st.sampled_from([0.0, 1.0, 3.0, 50.0]))
        labels.append(zipf_labels(size, num_labels, exponent, draw(st.integers(0, 9))))
        groups.append(np.full(size, group))
        num_labels_G.append(num_labels)
    return np.concatenate(labels).astype(np.int64), np.concatenate(groups).astype(np.int64), num_labels_G


@given(labels_of_groups())
@example((np.zeros(400, dtype=np.int64), np.zeros(400, dtype=np.int64), [300]))
def test_what_was_packed_comes_back_in_no_more_than_its_entropy(
    given_labels: tuple[ndarray, ndarray, list[int]],
) -> None:
    labels_N, groups_N, num_labels_G = given_labels
    bits_G = bits_of(num_labels_G)
    payload, counts_G = coded_of(labels_N, groups_N, num_labels_G)
    fixed = pack_payload(labels_N, groups_N, bits_G)
    assert not fixed.is_coded
    for packed in (payload, fixed):
        again_N, of_groups_N = unpack_payload(packed, len(labels_N), bits_G, counts_G)
        np.testing.assert_array_equal(again_N, labels_N)
        np.testing.assert_array_equal(of_groups_N, groups_N)
    bound = 8 + 1.001 * entropy_bits(labels_N, groups_N) / 8
    assert len(payload.content) <= min(bound, len(fixed.content)) or not payload.is_coded
    assert payload.is_coded or len(fixed.content) <= bound


def test_values_as_skewed_as_countries_of_cities_take_their_entropy() -> None:
    """4,000 of 150 by Zipf's law, and the same in four groups: no sizes of groups are written."""
    labels_N, groups_N = zipf_labels(4000, 150, 1.0), np.zeros(4000, dtype=np.int64)
    for of_groups_N in (groups_N, np.repeat(np.arange(4), 1000)):
        num_labels_G = [150] * (int(of_groups_N[-1]) + 1)
        payload, _ = coded_of(labels_N, of_groups_N, num_labels_G)
        entropy_bytes = entropy_bits(labels_N, of_groups_N) / 8
        assert payload.is_coded
        assert entropy_bytes - 2 <= len(payload.content) <= entropy_bytes + 8 + 0.001 * entropy_bytes
        assert len(payload.content) < 0.75 * 4000


def test_one_value_alone_takes_no_byte() -> None:
    labels_N, groups_N = np.array([7] * 50 + [2] * 30), np.repeat([0, 1], [50, 30])
    payload, counts_G = coded_of(labels_N, groups_N, [9, 9])
    assert payload == Payload(b"", is_coded=True)
    np.testing.assert_array_equal(unpack_payload(payload, 80, (4, 4), counts_G)[0], labels_N)


def test_fixed_bits_stay_where_they_are_smaller_or_counts_cannot_tell() -> None:
    few_N, none_N = np.array([0, 1, 2, 3]), np.zeros(4, dtype=np.int64)
    assert not coded_of(few_N, none_N, [4])[0].is_coded, "a byte of fixed bits"
    skewed_N = zipf_labels(500, 8, 2.0)
    groups_N = np.zeros(500, dtype=np.int64)
    (counts,) = count_labels(skewed_N, groups_N, [8])
    assert pack_payload(skewed_N, groups_N, (3,), (counts,)).is_coded
    unknown = counts.copy()
    unknown[skewed_N[17]] = 0
    shifted = np.roll(counts, 1)
    for wrong in (unknown, shifted):
        assert pack_payload(skewed_N, groups_N, (3,), (wrong,)) == pack_payload(skewed_N, groups_N, (3,))


def test_a_part_of_what_was_counted_says_how_large_its_groups_are() -> None:
    labels_N, groups_N = zipf_labels(900, 40, 1.5), np.repeat([0, 1, 2], 300)
    counts_G = count_labels(labels_N, groups_N, [40] * 3)
    part = slice(0, 620)
    payload = pack_payload(labels_N[part], groups_N[part], (6,) * 3, counts_G)
    assert payload.is_coded and payload.content[:12] == np.array([300, 300, 20], dtype="<u4").tobytes()
    for given_N, expected_N in zip(unpack_payload(payload, 620, (6,) * 3, counts_G), (labels_N, groups_N), strict=True):
        np.testing.assert_array_equal(given_N, expected_N[part])


def test_a_damaged_stream_is_refused() -> None:
    labels_N, groups_N = zipf_labels(500, 30, 1.0), np.repeat([0, 1], 250)
    payload, counts_G = coded_of(labels_N, groups_N, [30, 30])
    content = payload.content
    other_G = (np.roll(counts_G[0], 1), counts_G[1])
    for damaged, num_chunks, counts in (
        (content[:-1], 500, counts_G),
        (content[4:], 500, counts_G),
        (b"", 500, counts_G),
        (content + b"\0", 500, counts_G),
        (content + b"\1", 500, counts_G),
        (content[:40] + bytes([content[40] ^ 1]) + content[41:], 500, counts_G),
        (content, 499, counts_G),
        (content, 500, other_G),
        (content, 500, (np.zeros(30, dtype=np.int64), counts_G[1])),
        (content, 500, ()),
    ):
        with pytest.raises(ValueError, match=f"{len(damaged)} bytes do not hold the labels of {num_chunks} chunks"):
            unpack_payload(Payload(damaged, is_coded=True), num_chunks, (5, 5), counts)


def test_what_a_manifest_says_of_a_payload() -> None:
    counts_G = (np.array([3, 0, 1]), np.array([12]))
    note = payload_note(Payload(b"", is_coded=True), counts_G)
    assert note == {"payload": "coded", "label_counts": ["3 0 1", "12"]}
    is_coded, again_G = noted_payload(note)
    assert is_coded and again_G is not None and [counts.tolist() for counts in again_G] == [[3, 0, 1], [12]]
    assert payload_note(Payload(b""), None) == {"payload": "fixed"}
    assert noted_payload({"payload": "fixed"}) == noted_payload({}) == (False, None)


def flipped(payload: Payload, groups_N: ndarray, bits_G: list[int], counts_G, rate: float, seed: int = 0) -> ndarray:
    rng = np.random.default_rng(seed)
    return labels_of_flipped_bits(payload, groups_N, bits_G, counts_G, rate=rate, rng=rng)


def test_of_fixed_bits_each_label_suffers_alone_and_of_a_stream_all_behind_a_flip() -> None:
    labels_N, groups_N = zipf_labels(4000, 150, 1.0), np.repeat([0, 1], 2000)
    bits_G = bits_of([150, 150])
    coded, counts_G = coded_of(labels_N, groups_N, [150, 150])
    fixed = pack_payload(labels_N, groups_N, bits_G)
    for payload in (coded, fixed):
        np.testing.assert_array_equal(flipped(payload, groups_N, bits_G, counts_G, 0.0), labels_N)
    # Half of the bits of eight, so one label in 256 stays.
    assert 0.97 < (flipped(fixed, groups_N, bits_G, None, 0.5) != labels_N).mean() < 1
    assert (flipped(fixed, groups_N, bits_G, None, 1.0) == labels_N ^ 255).all()
    assert 0.001 < (flipped(fixed, groups_N, bits_G, None, 0.0005) != labels_N).mean() < 0.02
    for seed in range(5):
        rate = 1.5 / (8 * len(coded.content))
        wrong_N = flipped(coded, groups_N, bits_G, counts_G, rate, seed) != labels_N
        if wrong_N.any():
            first = int(wrong_N.argmax())
            assert wrong_N[first:].mean() > 0.5 or first > 3900, "nothing behind the first flip can be trusted"
    assert any((flipped(coded, groups_N, bits_G, counts_G, 2e-4, seed) != labels_N).any() for seed in range(5))


@given(labels_of_groups(), st.sampled_from([0.001, 0.1, 0.5, 1.0]), st.integers(0, 3))
def test_no_flip_ends_in_an_error(given_labels: tuple[ndarray, ndarray, list[int]], rate: float, seed: int) -> None:
    labels_N, groups_N, num_labels_G = given_labels
    payload, counts_G = coded_of(labels_N, groups_N, num_labels_G)
    read_N = flipped(payload, groups_N, bits_of(num_labels_G), counts_G, rate, seed)
    assert len(read_N) == len(labels_N) and (read_N >= 0).all()
    if payload.is_coded:
        assert (np.concatenate(counts_G)[(np.cumsum([0, *num_labels_G])[groups_N] + read_N)] > 0).all()
