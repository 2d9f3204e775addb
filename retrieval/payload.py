"""Labels of chunks as the bytes of one file: each at the bits that its group needs, or entropy-coded, the smaller.

A fixed payload is the sizes of the groups (none for a single one: it is the index's), then the labels of one group
after the other. A coded one is a stream by asymmetric numeral systems (J. Duda, arXiv:1311.2540, as `constriction` has
it): each group's labels by how often each label was counted. The counts are given to whoever reads it, and so are the
sizes of groups where the counts are of these very chunks; only other sizes stand before the stream.

Shape legend: N chunks, G groups, M labels of a group, S of them that occur, B bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from retrieval.bit_flips import flip_bits
from retrieval.bit_packing import pack, packed_size, unpack

_SIZE = np.dtype("<u4")  # of one group
_WORD = np.dtype("<u4")  # of a stream
_MOST_OCCURRING = 1 << 23  # the coder's probabilities have 24 bits

LabelCounts = Sequence[Int64[ndarray, " _"]]
"""for each group how often each of its labels occurs"""


@dataclass(frozen=True)
class Payload:
    """What a file holds, and which of the two forms it has."""

    content: bytes
    is_coded: bool = False


def count_labels(
    labels_N: Int64[ndarray, " N"], groups_N: Int64[ndarray, " N"], num_labels_G: Sequence[int]
) -> tuple[Int64[ndarray, " _"], ...]:
    """How often each label occurs, for each group."""
    starts_G = np.cumsum([0, *num_labels_G])
    counts = np.bincount(starts_G[groups_N] + labels_N, minlength=starts_G[-1]).astype(np.int64)
    return tuple(np.split(counts, starts_G[1:-1]))


def pack_payload(
    labels_N: Int64[ndarray, " N"],
    groups_N: Int64[ndarray, " N"],
    label_bits_G: Sequence[int],
    counts_G: LabelCounts | None = None,
) -> Payload:
    """The smaller of the two forms; fixed without counts, and for a label that they do not know.

    `groups_N`: non-decreasing. ValueError for a label that its group's bits do not hold.
    """
    fixed = Payload(_fixed(labels_N, groups_N, label_bits_G))
    stream = None if counts_G is None else _coded(labels_N, groups_N, counts_G)
    return fixed if stream is None or len(stream) >= len(fixed.content) else Payload(stream, is_coded=True)


def unpack_payload(
    payload: Payload, num_chunks: int, label_bits_G: Sequence[int], counts_G: LabelCounts | None = None
) -> tuple[Int64[ndarray, " N"], Int64[ndarray, " N"]]:
    """Labels and groups; ValueError where it is not that of so many chunks, at so many bits or by such counts."""
    if payload.is_coded:
        labels, sizes_G = _decoded(payload.content, num_chunks, counts_G or ())
    else:
        labels, sizes_G = _unpacked(payload.content, num_chunks, label_bits_G)
    return np.concatenate(labels), np.repeat(np.arange(len(sizes_G)), sizes_G)


def labels_of_flipped_bits(
    payload: Payload,
    groups_N: Int64[ndarray, " N"],
    label_bits_G: Sequence[int],
    counts_G: LabelCounts | None,
    *,
    rate: float,
    rng: np.random.Generator,
) -> Int64[ndarray, " N"]:
    """What is read once every bit of the labels was flipped with probability `rate`; the sizes of groups stay.

    Of fixed bits each label suffers alone, and may be one that its group does not have; of a stream everything is lost
    that is read after a flip.
    """
    sizes_G = np.bincount(groups_N, minlength=len(label_bits_G)).tolist()
    head = _head_bytes(sizes_G, counts_G if payload.is_coded else None)
    flipped_B = np.frombuffer(payload.content, dtype=np.uint8)[head:].copy()
    flip_bits(flipped_B, 8 * len(flipped_B), rate, rng)
    if payload.is_coded:
        assert counts_G is not None, "what is coded was counted"
        return np.concatenate(_of_stream(_coder(flipped_B.tobytes()), sizes_G, counts_G))
    content = payload.content[:head] + flipped_B.tobytes()
    return np.concatenate(_unpacked(content, len(groups_N), label_bits_G)[0])


def payload_note(payload: Payload, counts_G: LabelCounts | None) -> dict[str, Any]:
    """What a manifest says of a payload: its form, and the counts that were given, those of a group in one line."""
    note: dict[str, Any] = {"payload": "coded" if payload.is_coded else "fixed"}
    if counts_G is not None:
        note["label_counts"] = [" ".join(map(str, counts.tolist())) for counts in counts_G]
    return note


def noted_payload(note: Mapping[str, Any]) -> tuple[bool, LabelCounts | None]:
    """Whether a payload is coded, and the counts that were given: what `payload_note` said, or nothing before that."""
    counts_G = note.get("label_counts")
    if counts_G is not None:
        counts_G = tuple(np.array(counts.split(), dtype=np.int64) for counts in counts_G)
    return note.get("payload") == "coded", counts_G


def _head_bytes(sizes_G: Sequence[int], counts_G: LabelCounts | None) -> int:
    """Of the sizes of groups, where neither the index nor the counts tell them."""
    is_told = len(sizes_G) <= 1 or (counts_G is not None and sum(map(_total, counts_G)) == sum(sizes_G))
    return 0 if is_told else _SIZE.itemsize * len(sizes_G)


def _fixed(labels_N: ndarray, groups_N: ndarray, label_bits_G: Sequence[int]) -> bytes:
    sizes_G = np.bincount(groups_N, minlength=len(label_bits_G))
    head = sizes_G.astype(_SIZE).tobytes() if len(sizes_G) > 1 else b""
    labels_by_group = np.split(labels_N, np.cumsum(sizes_G)[:-1])
    return head + b"".join(pack(labels, bits) for labels, bits in zip(labels_by_group, label_bits_G, strict=True))


def _unpacked(content: bytes, num_chunks: int, label_bits_G: Sequence[int]) -> tuple[list[ndarray], list[int]]:
    num_groups = len(label_bits_G)
    start = num_groups * _SIZE.itemsize if num_groups > 1 else 0
    sizes_G = np.frombuffer(content[:start], dtype=_SIZE).tolist() if start else [num_chunks]
    labels = []
    for size, bits in zip(sizes_G, label_bits_G, strict=True):
        stop = start + packed_size(size, bits)
        labels.append(unpack(content[start:stop], size, bits))
        start = stop
    if sum(sizes_G) != num_chunks or start != len(content):
        raise _not_the_labels(content, num_chunks)
    return labels, sizes_G


def _not_the_labels(content: bytes, num_chunks: int) -> ValueError:
    return ValueError(f"{len(content)} bytes do not hold the labels of {num_chunks} chunks")


def _total(counts: ndarray) -> int:
    return int(counts.sum())


def _model(counts_S: ndarray) -> Any:
    return constriction.stream.model.Categorical(counts_S / counts_S.sum(), perfect=False)


def _is_of(labels_by_group: Sequence[ndarray], counts_G: LabelCounts) -> bool:
    """Whether the counts are of these very labels."""
    return all(
        np.array_equal(np.bincount(labels, minlength=len(counts)), counts)
        for labels, counts in zip(labels_by_group, counts_G, strict=True)
    )


def _coded(labels_N: ndarray, groups_N: ndarray, counts_G: LabelCounts) -> bytes | None:
    """None where the counts cannot tell these labels: they are of others, or of more than the coder takes."""
    sizes_G = np.bincount(groups_N, minlength=len(counts_G))
    labels_by_group = np.split(labels_N, np.cumsum(sizes_G)[:-1])
    if sum(map(_total, counts_G)) == len(labels_N) and not _is_of(labels_by_group, counts_G):
        return None  # a reader takes counts of so many for counts of these
    coder = constriction.stream.stack.AnsCoder()
    for labels, counts in reversed(list(zip(labels_by_group, counts_G, strict=True))):  # what comes last is read first
        occurring_S = np.flatnonzero(counts)
        if len(occurring_S) > _MOST_OCCURRING or not np.isin(labels, occurring_S).all():
            return None
        if len(labels) and len(occurring_S) > 1:
            symbols = np.searchsorted(occurring_S, labels).astype(np.int32)
            coder.encode_reverse(symbols, _model(counts[occurring_S]))
    head = sizes_G.astype(_SIZE).tobytes() if _head_bytes(sizes_G.tolist(), counts_G) else b""
    # The last word is never 0, so zero bytes at the end go without saying.
    stream: bytes = coder.get_compressed().astype(_WORD).tobytes()
    return head + stream.rstrip(b"\0")


def _decoded(content: bytes, num_chunks: int, counts_G: LabelCounts) -> tuple[list[ndarray], list[int]]:
    sizes_G = [_total(counts) for counts in counts_G]
    is_of_these = sum(sizes_G) == num_chunks
    head = 0
    if not is_of_these and len(counts_G) == 1:
        sizes_G = [num_chunks]
    elif not is_of_these:
        head = _SIZE.itemsize * len(counts_G)
        sizes_G = np.frombuffer(content[:head], dtype=_SIZE).tolist()
    if len(sizes_G) != len(counts_G) or sum(sizes_G) != num_chunks or content[head:].endswith(b"\0"):
        raise _not_the_labels(content, num_chunks)
    if any(size and not counts.any() for size, counts in zip(sizes_G, counts_G, strict=True)):
        raise _not_the_labels(content, num_chunks)
    coder = _coder(content[head:])
    labels_by_group = _of_stream(coder, sizes_G, counts_G)
    if not coder.is_empty() or (is_of_these and not _is_of(labels_by_group, counts_G)):
        raise _not_the_labels(content, num_chunks)
    return labels_by_group, sizes_G


def _coder(stream: bytes) -> Any:
    words = np.frombuffer(stream + bytes(-len(stream) % _WORD.itemsize), dtype=_WORD)
    words = np.trim_zeros(words, "b")  # after a flip the last may be 0, which the coder refuses
    return constriction.stream.stack.AnsCoder(words.astype(np.uint32))


def _of_stream(coder: Any, sizes_G: Sequence[int], counts_G: LabelCounts) -> list[ndarray]:
    labels_by_group = []
    for size, counts in zip(sizes_G, counts_G, strict=True):
        occurring_S = np.flatnonzero(counts)
        symbols = np.zeros(size, dtype=np.int64)
        if size and len(occurring_S) > 1:
            symbols = coder.decode(_model(counts[occurring_S]), size)
        labels_by_group.append(occurring_S[symbols])
    return labels_by_group
