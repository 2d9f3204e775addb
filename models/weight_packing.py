"""Weights as the bytes they are stored in, and back: what is evaluated is what is stored.

Shape legend: I inputs, O outputs of one matrix; X experts, of which each has a matrix.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

Precision = Literal["float32", "float16", "int8"]
PRECISIONS: tuple[str, ...] = get_args(Precision)


def pack(weights: Mapping[str, Tensor], precision: Precision) -> bytes:
    """Arrays (..., I, O), one after another, without a header.

    int8: symmetric, one float16 scale for each output (column) of each matrix, before the array. Vectors (biases) have
    no columns to scale: they are stored as float16.
    """
    parts: list[bytes] = []
    for weight in weights.values():
        w_XIO = weight.detach().cpu().numpy()
        if precision == "int8" and w_XIO.ndim > 1:
            # The scale is rounded up, so that the largest weight still fits into 127 steps of it.
            scale_X1O = np.abs(w_XIO).max(axis=-2, keepdims=True) / 127
            scale_X1O = np.nextafter(scale_X1O.astype(np.float16), np.float16(np.inf))
            parts.append(scale_X1O.astype("<f2").tobytes())
            parts.append(np.rint(w_XIO / scale_X1O.astype(np.float32)).astype(np.int8).tobytes())
        else:
            parts.append(w_XIO.astype("<f4" if precision == "float32" else "<f2").tobytes())
    return b"".join(parts)


def unpack(content: bytes, shapes: Mapping[str, Sequence[int]], precision: Precision) -> dict[str, Tensor]:
    """The arrays that `pack` stored, in float32."""
    weights: dict[str, Tensor] = {}
    position = 0

    def take(dtype: str, count: int) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
        nonlocal position
        taken = np.frombuffer(content, dtype=dtype, count=count, offset=position)
        position += taken.nbytes
        return taken.astype(np.float32)

    for name, shape in shapes.items():
        if precision == "int8" and len(shape) > 1:
            *matrices, _, columns = shape
            scale_X1O = take("<f2", math.prod(matrices) * columns).reshape(*matrices, 1, columns)
            with np.errstate(invalid="ignore", over="ignore"):  # flipped bits can make a scale infinite
                w_XIO = take("i1", math.prod(shape)).reshape(*shape) * scale_X1O
        else:
            w_XIO = take("<f4" if precision == "float32" else "<f2", math.prod(shape)).reshape(*shape)
        weights[name] = torch.from_numpy(np.ascontiguousarray(w_XIO))
    assert position == len(content), "the packed weights are of another shape or precision"
    return weights


def flip_bits(content: bytes, rate: float, *, seed: int) -> bytes:
    """Every bit flipped with probability `rate`, independently."""
    stored = np.frombuffer(content, dtype=np.uint8)
    bits = np.random.default_rng(seed).random((len(stored), 8)) < rate
    return bytes(stored ^ np.packbits(bits, axis=1)[:, 0])
