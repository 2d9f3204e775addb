"""Weights as the bytes they are stored in, and back: what is evaluated is what is stored; and how they are disturbed.

Shape legend: I inputs, O outputs of one matrix; X experts, of which each has a matrix.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, nn

from models.coded_levels import decoded, encoded
from models.ffn import FFN
from models.precisions import BEST_STEP, INTEGER_BITS, MIDRISE_BITS, Precision

LEAST_STEP = 2.0**-14
"""the smallest normal float16: a matrix of zeros has a step too"""


def pack(
    weights: Mapping[str, Tensor], rest: Precision, apart: Mapping[str, Precision] = MappingProxyType({})
) -> bytes:
    """Arrays (..., I, O), one after another, without a header; those named in `apart` in the precision said there.

    Integers: symmetric, one float16 scale for each output (column) of each matrix, before the array. Mid-rise: one
    float16 step for each matrix. Codes of fewer than 8 bits fill the bytes without gaps. Vectors (biases) are stored as
    float16.

    Where it is smaller, all mid-rise codes together are one entropy-coded stream at the end. Integers keep their fixed
    bits: so they are deployed, and so their bytes have been counted wherever they are quoted.
    """
    parts: list[bytes] = []
    levels: dict[int, tuple[ndarray, int]] = {}  # by the place of the part that holds them at fixed bits
    for name, weight in weights.items():
        w_XIO, precision = weight.detach().cpu().numpy(), apart.get(name, rest)
        if w_XIO.ndim > 1 and precision in INTEGER_BITS:
            bits = INTEGER_BITS[precision]
            scale_X1O = column_scales(w_XIO, bits)
            codes_XIO = np.rint(w_XIO / scale_X1O.astype(np.float32)).astype(np.int8)
            parts += [scale_X1O.astype("<f2").tobytes(), _pack_codes(codes_XIO, bits)]
        elif w_XIO.ndim > 1 and precision in MIDRISE_BITS:
            bits = MIDRISE_BITS[precision]
            step_X11, half = matrix_steps(w_XIO, bits), 2 ** (bits - 1)
            codes_XIO = np.floor(w_XIO / step_X11.astype(np.float32)).clip(-half, half - 1).astype(np.int8)
            parts += [step_X11.astype("<f2").tobytes(), _pack_codes(codes_XIO, bits)]
            levels[len(parts) - 1] = codes_XIO.ravel(), bits
        else:
            with np.errstate(over="ignore"):  # whoever stores weights asks whether they are finite still
                parts.append(w_XIO.astype("<f4" if precision == "float32" else "<f2").tobytes())
    others = [part for place, part in enumerate(parts) if place not in levels]
    return min(b"".join(parts), b"".join([*others, encoded(levels.values())]), key=len)


def unpack(
    content: bytes,
    shapes: Mapping[str, Sequence[int]],
    rest: Precision,
    apart: Mapping[str, Precision] = MappingProxyType({}),
) -> dict[str, Tensor]:
    """The arrays that `pack` stored, in float32; of damaged content of the same length other numbers, and no error.

    Its length tells which form it has: what is shorter than fixed bits would be is coded.
    """
    precisions = {name: apart.get(name, rest) for name in shapes}
    sizes = {name: _num_bytes(shape, precisions[name]) for name, shape in shapes.items()}
    levels = {
        name: (math.prod(shape), MIDRISE_BITS[precisions[name]])
        for name, shape in shapes.items()
        if len(shape) > 1 and precisions[name] in MIDRISE_BITS
    }
    fixed = sum(map(sum, sizes.values()))
    stream_start = fixed - sum(sizes[name][1] for name in levels)
    assert stream_start <= len(content) <= fixed, "the packed weights are of another shape or precision"
    coded: dict[str, ndarray] = {}
    if len(content) < fixed:
        coded = dict(zip(levels, decoded(content[stream_start:], levels.values()), strict=True))
    weights: dict[str, Tensor] = {}
    position = 0

    def take(num_bytes: int) -> bytes:
        nonlocal position
        position += num_bytes
        return content[position - num_bytes : position]

    for name, shape in shapes.items():
        precision, (num_first, num_codes) = precisions[name], sizes[name]
        first, midrise = take(num_first), precision in MIDRISE_BITS
        if num_codes:
            bits = (MIDRISE_BITS if midrise else INTEGER_BITS)[precision]
            codes = coded[name] if name in coded else _unpack_codes(take(num_codes), math.prod(shape), bits)
            scale_X1O = np.frombuffer(first, "<f2").reshape(*shape[:-2], 1, 1 if midrise else shape[-1])
            with np.errstate(invalid="ignore", over="ignore"):  # flipped bits can make a scale infinite
                w_XIO = (codes.reshape(shape).astype(np.float32) + 0.5 * midrise) * scale_X1O.astype(np.float32)
        else:
            w_XIO = np.frombuffer(first, "<f4" if precision == "float32" else "<f2").astype(np.float32).reshape(shape)
        weights[name] = torch.from_numpy(np.ascontiguousarray(w_XIO))
    return weights


def _num_bytes(shape: Sequence[int], precision: Precision) -> tuple[int, int]:
    """Of one array: its scales or steps, or its floats where it has no codes; then its codes at fixed bits."""
    size = math.prod(shape)
    if len(shape) < 2 or precision in ("float32", "float16"):
        return size * (4 if precision == "float32" else 2), 0
    if precision in MIDRISE_BITS:
        return 2 * math.prod(shape[:-2]), (size * MIDRISE_BITS[precision] + 7) // 8
    return 2 * math.prod(shape[:-2]) * shape[-1], (size * INTEGER_BITS[precision] + 7) // 8


def load_packed(ffn: FFN, content: bytes, precision: Precision) -> None:
    """Give an FFN the parameters and buffers that `pack` stored of one like it."""
    shapes = {name: tuple(weight.shape) for name, weight in ffn.state_dict().items()}
    ffn.load_state_dict(unpack(content, shapes, precision, ffn.stored_apart(precision)))


def packed(ffn: FFN, precision: Precision) -> bytes:
    """Its parameters and buffers as they are stored."""
    return pack(ffn.state_dict(), precision, ffn.stored_apart(precision))


def add_noise(module: nn.Module, relative_noise: float, generator: torch.Generator) -> None:
    """Gaussian noise on every parameter, in units of its root mean square."""
    with torch.no_grad():
        for weight in module.parameters():
            rms = weight.square().mean().sqrt()
            weight.add_(relative_noise * rms * torch.randn(weight.shape, generator=generator))


def column_scales(w_XIO: ndarray, bits: int) -> ndarray:
    """float16 (..., 1, O): the step between two codes, such that the largest weight of a column is the largest code."""
    scale_X1O = np.abs(w_XIO).max(axis=-2, keepdims=True) / (2 ** (bits - 1) - 1)
    # Rounded up, so that the largest weight still fits.
    with np.errstate(over="ignore"):
        rounded_up: ndarray = np.nextafter(scale_X1O.astype(np.float16), np.float16(np.inf))
    return rounded_up


def matrix_steps(w_XIO: ndarray, bits: int) -> ndarray:
    """float16 (..., 1, 1): the step between two of 2^bits levels, in proportion to the matrix's RMS."""
    rms_X11 = np.sqrt(np.square(w_XIO, dtype=np.float64).mean(axis=(-2, -1), keepdims=True))
    with np.errstate(over="ignore"):
        steps: ndarray = np.maximum(BEST_STEP[bits] * rms_X11, LEAST_STEP).astype(np.float16)
    return steps


def _pack_codes(codes: ndarray, bits: int) -> bytes:
    """Two's complement, the lowest `bits` of each, one after another."""
    if bits == 8:
        return codes.tobytes()
    bits_NB = np.unpackbits(codes.reshape(-1, 1).view(np.uint8), axis=1, count=bits, bitorder="little")
    return np.packbits(bits_NB, bitorder="little").tobytes()


def _unpack_codes(packed: bytes, count: int, bits: int) -> ndarray:
    stored = np.frombuffer(packed, dtype=np.uint8)
    if bits == 8:
        return stored.view(np.int8)
    bits_NB = np.unpackbits(stored, count=count * bits, bitorder="little").reshape(count, bits)
    sign_N1 = bits_NB[:, -1:]
    whole_N8 = np.concatenate([bits_NB, np.repeat(sign_N1, 8 - bits, axis=1)], axis=1)
    return np.packbits(whole_N8, axis=1, bitorder="little").view(np.int8)[:, 0]


def flip_bits(content: bytes, rate: float, *, seed: int) -> bytes:
    """Every bit flipped with probability `rate`, independently."""
    stored = np.frombuffer(content, dtype=np.uint8)
    bits = np.random.default_rng(seed).random((len(stored), 8)) < rate
    return bytes(stored ^ np.packbits(bits, axis=1)[:, 0])
