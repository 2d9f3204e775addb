"""Chunks, the bytes that hold them, and the fingerprint of everything that a store is made from.

Shape legend: N chunks, D dimensions, G groups.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain

import numpy as np
from jaxtyping import Float32, Int64, Shaped
from numpy import ndarray

from retrieval.errors import UserError
from retrieval.payload import LabelCounts
from retrieval.sharded_build import bounds_of_shards
from retrieval.vector_index import IndexSpec
from retrieval.whole_numbers import whole_numbers


@dataclass(frozen=True, kw_only=True)
class EncoderId:
    """What made the vectors."""

    name: str | None
    """None where the caller knows a hash alone"""
    revision: str
    """a commit, or a hash of its files"""


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """What a store holds, sorted by group.

    Ids, labels and groups may come as any whole numbers that int64 holds, and are kept as int64. UserError for others,
    for ids that are negative or come twice, for groups that `label_bits_G` does not name, for labels that their group
    does not have, and where there are not as many of one as of the other.
    """

    ids_N: Shaped[ndarray, "..."]
    """external, unique, not negative"""
    vectors_ND: Float32[ndarray, "N D"]
    """of unit norm"""
    labels_N: Shaped[ndarray, "..."]
    """payload: 0, 1, ... within the group"""
    groups_N: Shaped[ndarray, "..."]
    """0 to G - 1, non-decreasing; a search can be restricted to one"""
    label_bits_G: Sequence[int]
    """bits a label, for each group: ceil(log2(its candidates)), 0 where there is but one"""
    texts: Sequence[str] | None = None
    """None where chunks are vectors alone"""
    places: Sequence[str] | None = None
    """where each text stands, for people: `notes.txt 120-240`, empty where nobody knows; None where none has a place"""
    named_labels_G: Sequence[int] = ()
    """labels that each group has, where they are fewer than its bits can name"""
    label_counts_G: LabelCounts | None = None
    """how often each of these labels occurs in the store, where that is known to all without being stored here; labels
    are then entropy-coded. None where nobody knows"""

    def __post_init__(self) -> None:
        for name in ("ids_N", "labels_N", "groups_N"):
            object.__setattr__(self, name, whole_numbers(getattr(self, name), f"chunk {name.removesuffix('_N')}"))
        for name in ("ids_N", "labels_N", "groups_N", "texts", "places"):
            given, num = getattr(self, name), len(self.vectors_ND)
            if given is not None and len(given) != num:
                raise UserError(f"chunk {name.removesuffix('_N')}: {len(given)} for {num} vectors; give one for each")
        if len(self.num_labels_G) != len(self.label_bits_G):
            raise UserError(
                f"chunk groups: named_labels_G has {len(self.num_labels_G)} and label_bits_G {len(self.label_bits_G)}; "
                "give both for each group"
            )
        bits_G = [max(0, number - 1).bit_length() for number in self.num_labels_G]
        assert bits_G == list(self.label_bits_G), "bits that hold the labels, and no more"
        if self.label_counts_G is not None:
            assert list(map(len, self.label_counts_G)) == self.num_labels_G, "a count for each label"
        for row in np.flatnonzero((self.groups_N < 0) | (self.groups_N >= len(self.label_bits_G)))[:1].tolist():
            raise UserError(
                f"chunk id {self.ids_N[row]} is of group {self.groups_N[row]}, and label_bits_G names "
                f"{len(self.label_bits_G)} groups, from 0"
            )
        assert (np.diff(self.groups_N) >= 0).all(), "chunks lie sorted by group"
        if (negative := self.ids_N[self.ids_N < 0]).size:
            raise UserError(f"chunk id {negative[0]} is negative; ids are 0 or more")
        ids, counts = np.unique(self.ids_N, return_counts=True)
        if (repeated := ids[counts > 1]).size:
            raise UserError(f"chunk id {repeated[0]} comes twice; ids are unique")
        self.check_labels(self.num_labels_G)

    @property
    def num_labels_G(self) -> Sequence[int]:
        """Labels that each group has."""
        return list(self.named_labels_G) or [1 << bits for bits in self.label_bits_G]

    def check_labels(self, num_labels_G: Sequence[int]) -> None:
        """UserError for a label that a group with so many of them does not have."""
        num_labels_N = np.asarray(num_labels_G, dtype=np.int64)[self.groups_N]
        for row in np.flatnonzero((self.labels_N < 0) | (self.labels_N >= num_labels_N))[:1].tolist():
            raise UserError(
                f"chunk id {self.ids_N[row]} has label {self.labels_N[row]}, and its group {num_labels_N[row]} labels, "
                "from 0 (facts of values that a store has not seen: `python -m retromem index add`)"
            )

    def parts(self, num_parts: int) -> "list[Chunks]":
        """The same chunks in so many runs, one after the other; fewer where there are not so many chunks."""
        bounds = bounds_of_shards(len(self.ids_N), num_parts)
        return [self.in_order(slice(start, stop)) for start, stop in bounds]

    def in_order(self, rows_N: Int64[ndarray, " N"] | slice) -> "Chunks":
        """The same chunks in another order of each group, or a run of them."""

        def of_rows(texts: Sequence[str] | None) -> Sequence[str] | None:
            if texts is None:
                return None
            return texts[rows_N] if isinstance(rows_N, slice) else [texts[row] for row in rows_N.tolist()]

        return replace(
            self,
            ids_N=self.ids_N[rows_N],
            vectors_ND=np.ascontiguousarray(self.vectors_ND[rows_N]),
            labels_N=self.labels_N[rows_N],
            groups_N=self.groups_N[rows_N],
            texts=of_rows(self.texts),
            places=of_rows(self.places),
        )

    def fingerprint(self, spec: IndexSpec, encoder: EncoderId | None) -> str:
        """sha256 over all that goes into a store: chunks, index, encoder. The same inputs have it on every machine."""
        head = {
            "dim": self.vectors_ND.shape[1],
            "encoder": None if encoder is None else asdict(encoder),
            "has_texts": self.texts is not None,
            "index": asdict(spec),
            "has_places": self.places is not None,
            "num_chunks": len(self.ids_N),
            "num_labels": self.num_labels_G,
        }
        if self.label_counts_G is not None:
            head["label_counts"] = [counts.tolist() for counts in self.label_counts_G]
        digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
        for numbers in (self.ids_N, self.labels_N, self.groups_N):
            digest.update(np.ascontiguousarray(numbers, dtype="<i8").data)
        digest.update(np.ascontiguousarray(self.vectors_ND, dtype="<f4").data)
        for text in chain(self.texts or (), self.places or ()):
            encoded = text.encode()
            digest.update(len(encoded).to_bytes(8, "little"))  # or "ab", "c" would be "a", "bc"
            digest.update(encoded)
        return digest.hexdigest()


def npy_bytes(array: ndarray) -> bytes:
    """The file that `numpy.load` reads, without pickle."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
