"""Frozen unit codes of values: what weights learn to point at. They come from a seed and are stored nowhere.

Shape legend: V values, E code dimension.
"""

import hashlib

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from retrieval.errors import Refused
from retromem.seam import ValueTable


def value_codes(values: ValueTable, dim: int, *, seed: int) -> Float32[ndarray, "V E"]:
    """Random unit codes; row v depends on (seed, relation, value) alone, so a new value changes no other row.

    In one dimension there are two, +1 and -1: the first value of a relation has the one, the second the other. Refused
    where a relation has more.
    """
    if dim == 1:
        return _signs(values)
    codes_VE = np.empty((values.num_values, dim), dtype=np.float32)
    for relation, name in enumerate(values.relations):
        for value_id in values.candidates(relation):
            value = str(value_id) if values.strings is None else values.strings[value_id]
            digest = hashlib.sha256(f"{seed}\0{name}\0{value}".encode()).digest()
            code_E = np.random.default_rng(int.from_bytes(digest[:16], "big")).standard_normal(dim)
            codes_VE[value_id] = code_E / np.linalg.norm(code_E)
    return codes_VE


def _signs(values: ValueTable) -> Float32[ndarray, "V 1"]:
    most = int(values.num_candidates_R().max(initial=0))
    if most > 2:
        raise Refused(f"{most:,} values have two codes between them in one dimension: code_dim must be 2 or more")
    places_V = np.concatenate([np.arange(num) for num in values.num_candidates_R()])
    return (1.0 - 2.0 * places_V[:, None]).astype(np.float32)
