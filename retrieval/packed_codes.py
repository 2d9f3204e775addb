"""Codes of flat LSH and PQ indexes at exactly their bits. FAISS gives each vector whole bytes, so 20 bits pay for 24.

What is stored of such an index is its codes and, where anything was trained (codebooks, thresholds, transforms), the
serialised index without vectors. What FAISS makes of the two is the index that it would have read itself.

Shape legend: N vectors, B bytes of a code.
"""

from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from retrieval.bit_flips import flip_bits
from retrieval.bit_packing import pack_codes, unpack_codes
from retrieval.faiss_factory import innermost


def bits_of_packed(index: Any) -> int | None:
    """Bits of a vector where its code is stored at exactly them; None for an index that is stored as FAISS writes it.

    That is LSH, and PQ whose codes are no whole bytes (else nothing is gained, and FAISS's file can stay mapped), alone
    or behind transforms; in lists, graphs and refinements FAISS knows codes of whole bytes only.
    """
    from retrieval._faiss import faiss

    inner = innermost(index)
    if isinstance(inner, faiss.IndexLSH):
        return int(inner.nbits)
    if isinstance(inner, faiss.IndexPQ) and inner.pq.M * inner.pq.nbits % 8:
        return int(inner.pq.M * inner.pq.nbits)
    return None


def has_trained_part(index: Any) -> bool:
    """Whether it holds more than its factory string says, as all do but a plain LSH, of which nothing is learnt."""
    from retrieval._faiss import faiss

    return not isinstance(index, faiss.IndexLSH) or bool(index.rotate_data or index.train_thresholds)


def codes_of(index: Any) -> UInt8[ndarray, "N B"]:
    """As FAISS has them in memory, behind any transforms; a copy."""
    from retrieval._faiss import faiss

    inner = innermost(index)
    return np.asarray(faiss.vector_to_array(inner.codes)).reshape(inner.ntotal, inner.code_size)


def packed(index: Any) -> bytes:
    """The codes of an index that has `bits_of_packed`: ceil(N * bits / 8) bytes."""
    return pack_codes(codes_of(index), bits_of_packed(index) or 0)


def fill(index: Any, codes: bytes, num_vectors: int) -> None:
    """Give an empty, trained index the codes of `packed`. ValueError where they are of another number of vectors."""
    bits = bits_of_packed(index)
    if bits is None:
        raise ValueError("an index of this kind has no packed codes")
    inner = innermost(index)
    inner.add_sa_codes(unpack_codes(codes, num_vectors, bits))
    index.ntotal = inner.ntotal


def flip_stored_bits(index: Any, rate: float, rng: np.random.Generator) -> None:
    """Flip every bit that is stored of the codes of a flat index with probability `rate`, in place.

    The bits that fill up a byte in memory are on no disk where codes are packed, and stay 0.
    """
    from retrieval._faiss import faiss

    codes_NB, bits = codes_of(index), bits_of_packed(index)
    stored = codes_NB.tobytes() if bits is None else pack_codes(codes_NB, bits)
    stored_B = np.frombuffer(stored, dtype=np.uint8).copy()
    flip_bits(stored_B, 8 * len(stored_B) if bits is None else bits * len(codes_NB), rate, rng)
    read_B = stored_B if bits is None else unpack_codes(stored_B.tobytes(), len(codes_NB), bits).reshape(-1)
    faiss.copy_array_to_vector(read_B, innermost(index).codes)
