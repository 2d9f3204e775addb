"""Codes of flat LSH and PQ indexes at exactly their bits. FAISS gives each vector whole bytes, so 20 bits pay for 24.

What is stored of such an index is its codes, sorted within their groups where a store may choose the order of its
chunks (see `sorted_codes`), and, where anything was trained (codebooks, thresholds, transforms), the serialised index
without vectors. What FAISS makes of the two is the index that it would have read itself.

Shape legend: N vectors, B bytes of a code, G groups.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray

from retrieval.bit_flips import flip_bits
from retrieval.bit_packing import pack_codes, unpack_codes
from retrieval.faiss_factory import innermost
from retrieval.sorted_codes import pack_sorted, sorting_order, unpack_sorted

SHORT_CODE_BITS = 64
"""of a product code in whole bytes that is packed all the same: being sorted saves a good part of it"""


def bits_of_packed(index: Any) -> int | None:
    """Bits of a vector where its code is stored at exactly them; None for an index that is stored as FAISS writes it.

    That is LSH, and PQ but for long codes of whole bytes (where little is gained, and FAISS's file can stay mapped),
    alone or behind transforms; in lists, graphs and refinements FAISS knows codes of whole bytes only.
    """
    from retrieval._faiss import faiss

    inner = innermost(index)
    if isinstance(inner, faiss.IndexLSH):
        return int(inner.nbits)
    if isinstance(inner, faiss.IndexPQ):
        bits = int(inner.pq.M * inner.pq.nbits)
        return bits if is_packed_product(bits) else None
    return None


def is_packed_product(bits: int) -> bool:
    """Whether product codes of so many bits a vector are packed."""
    return bits <= SHORT_CODE_BITS or bits % 8 != 0


def has_trained_part(index: Any) -> bool:
    """Whether it holds more than its factory string says, as all do but a plain LSH, of which nothing is learnt."""
    from retrieval._faiss import faiss

    return not isinstance(index, faiss.IndexLSH) or bool(index.rotate_data or index.train_thresholds)


def codes_of(index: Any) -> UInt8[ndarray, "N B"]:
    """As FAISS has them in memory, behind any transforms; a copy."""
    from retrieval._faiss import faiss

    inner = innermost(index)
    return np.asarray(faiss.vector_to_array(inner.codes)).reshape(inner.ntotal, inner.code_size)


def sort_codes(index: Any, counts_G: Sequence[int]) -> Int64[ndarray, " N"] | None:
    """Sort them within groups of so many, in place, and return where each was; None where they are not packed."""
    from retrieval._faiss import faiss

    bits = bits_of_packed(index)
    if bits is None:
        return None
    codes_NB = codes_of(index)
    order_N = sorting_order(codes_NB, bits, counts_G)
    faiss.copy_array_to_vector(codes_NB[order_N].reshape(-1), innermost(index).codes)
    return order_N


def packed(index: Any, counts_G: Sequence[int] | None) -> bytes:
    """The codes of an index that has `bits_of_packed`: ceil(N * bits / 8) bytes, fewer where they lie sorted in groups
    of so many."""
    codes_NB, bits = codes_of(index), bits_of_packed(index) or 0
    return pack_codes(codes_NB, bits) if counts_G is None else pack_sorted(codes_NB, bits, counts_G)


def fill(index: Any, codes: bytes, num_vectors: int, counts_G: Sequence[int] | None) -> None:
    """Give an empty, trained index the codes of `packed`. ValueError where they are of another number of vectors."""
    bits = bits_of_packed(index)
    if bits is None:
        raise ValueError("an index of this kind has no packed codes")
    inner = innermost(index)
    inner.add_sa_codes(
        unpack_codes(codes, num_vectors, bits) if counts_G is None else unpack_sorted(codes, bits, counts_G)
    )
    index.ntotal = inner.ntotal


def flip_stored_bits(index: Any, rate: float, rng: np.random.Generator, counts_G: Sequence[int] | None) -> None:
    """Flip every bit that is stored of the codes of a flat index with probability `rate`, in place.

    The bits that fill up a byte in memory are on no disk where codes are packed, and stay 0. Of sorted codes a flip
    moves all that follow in their group, or in the store.
    """
    from retrieval._faiss import faiss

    codes_NB, bits = codes_of(index), bits_of_packed(index)
    stored = codes_NB.tobytes() if bits is None else packed(index, counts_G)
    stored_B = np.frombuffer(stored, dtype=np.uint8).copy()
    is_exact = bits is not None and counts_G is None
    flip_bits(stored_B, bits * len(codes_NB) if is_exact and bits else 8 * len(stored_B), rate, rng)
    if bits is None:
        read_NB = stored_B
    elif counts_G is None:
        read_NB = unpack_codes(stored_B.tobytes(), len(codes_NB), bits)
    else:
        read_NB = unpack_sorted(stored_B.tobytes(), bits, counts_G, damaged=True)
    faiss.copy_array_to_vector(read_NB.reshape(-1), innermost(index).codes)
