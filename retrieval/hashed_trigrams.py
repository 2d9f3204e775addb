"""Vectors of texts without a model: hashed counts of three letters in a row. For tests, dry runs and floors.

Texts that share words are near; nothing is known of what they mean. numpy alone, tens of thousands of texts a second.
"""

import zlib
from collections.abc import Sequence
from unicodedata import normalize

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

HASHED_TRIGRAMS = "hashed-trigrams"
HASHED_DIM = 384


def hashed_trigrams(texts: Sequence[str]) -> Float32[ndarray, "N D"]:
    """Signed counts of the trigrams of each text in lower case, ends marked.

    The hashing trick (Weinberger et al. 2009). Composed and decomposed letters are one; vectors are not
    normalised; the empty text gives zeros.
    """
    vectors_ND = np.zeros((len(texts), HASHED_DIM), dtype=np.float32)
    for row, text in enumerate(texts):
        marked = f" {normalize('NFC', text).lower()} " if text else ""
        for start in range(len(marked) - 2):
            code = zlib.crc32(marked[start : start + 3].encode())
            vectors_ND[row, code % HASHED_DIM] += 1.0 if code >> 31 else -1.0
    return vectors_ND
