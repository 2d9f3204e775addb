"""Ids and labels as int64, whatever kind of whole number they come as; nothing that would be rounded on the way.

numpy mixes int64 and uint64 to float64, which has no number for every id: then one chunk is named and another deleted.
"""

import numpy as np
from jaxtyping import Int64, Shaped
from numpy import ndarray

from retrieval.errors import UserError


def whole_numbers(given: Shaped[ndarray, "*any"], what: str) -> Int64[ndarray, " N"]:
    """The same numbers as int64; empty is fine. UserError, with `what` they are, for other types and other shapes."""
    numbers = np.asarray(given)
    if numbers.ndim != 1:
        raise UserError(f"{what} have shape {numbers.shape}; give one in a row for each chunk")
    if numbers.dtype.kind not in "iu" and numbers.size:
        raise UserError(f"{what} are {numbers.dtype}; give whole numbers, such as int64")
    if numbers.dtype.kind == "u" and numbers.size and numbers.max() > np.iinfo(np.int64).max:
        raise UserError(f"{what} go to {numbers.max()}; the largest is {np.iinfo(np.int64).max}")
    return numbers.astype(np.int64, copy=False)
