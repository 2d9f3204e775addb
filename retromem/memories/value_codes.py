"""Frozen unit codes of values: what weights learn to point at. They come from a seed and are stored nowhere.

Shape legend: V values, E code dimension.
"""

import hashlib

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from retromem.seam import ValueTable


def value_codes(values: ValueTable, dim: int, *, seed: int) -> Float32[ndarray, "V E"]:
    """Random unit codes; row v depends on (seed, relation, value) alone, so a new value changes no other row."""
    codes_VE = np.empty((values.num_values, dim), dtype=np.float32)
    for relation, name in enumerate(values.relations):
        for value_id in values.candidates(relation):
            value = str(value_id) if values.strings is None else values.strings[value_id]
            digest = hashlib.sha256(f"{seed}\0{name}\0{value}".encode()).digest()
            code_E = np.random.default_rng(int.from_bytes(digest[:16], "big")).standard_normal(dim)
            codes_VE[value_id] = code_E / np.linalg.norm(code_E)
    return codes_VE
