"""The precisions that weights can be stored in. Free of torch, so that a config can name them."""

from collections.abc import Mapping
from typing import Literal, get_args

Precision = Literal[
    "float32", "float16", "int8", "int6", "int4", "int3", "midrise4", "midrise3", "midrise2", "midrise1"
]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
INTEGER_BITS: Mapping[str, int] = {name: int(name[3:]) for name in PRECISIONS if name.startswith("int")}
"""bits of a code, for those that store integers and a scale for each column"""
MIDRISE_BITS: Mapping[str, int] = {name: int(name[7:]) for name in PRECISIONS if name.startswith("midrise")}
"""the same for those that store one scale a matrix and no zero: 2^bits levels, evenly spaced, half of them negative"""
BITS: Mapping[str, int] = {"float32": 32, "float16": 16, **INTEGER_BITS, **MIDRISE_BITS}
"""bits of a number, its scale left out; of mid-rise levels at most, as they are entropy-coded where that is smaller"""
BEST_STEP: Mapping[int, float] = {1: 1.5958, 2: 0.9957, 3: 0.5860, 4: 0.3352}
"""bits -> step between two of 2^bits mid-rise levels, in standard deviations, that rounds a normal variable with the
least squared error (Max 1960, table II)"""
