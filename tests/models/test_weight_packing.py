"""Stored weights: exact sizes, exact or bounded values, flipped bits."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.precisions import PRECISIONS
from models.weight_packing import flip_bits, pack, unpack

BITS = {"float32": 32, "float16": 16, "int8": 8, "int6": 6, "int4": 4, "int3": 3}


@settings(max_examples=60, deadline=None)
@given(
    precision=st.sampled_from(PRECISIONS),
    shapes=st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=3).map(tuple), min_size=1, max_size=3),
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 1000),
)
def test_what_comes_back_is_what_is_stored(precision, shapes, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = {str(n): scale * torch.randn(*shape, generator=generator) for n, shape in enumerate(shapes)}
    content = pack(weights, precision)
    expected, integers = 0, precision.startswith("int")
    for weight in weights.values():
        if integers and weight.dim() == 1:
            expected += 2 * weight.numel()
        else:
            scales = 2 * weight.numel() // weight.shape[-2] if integers else 0
            expected += math.ceil(BITS[precision] * weight.numel() / 8) + scales
    assert len(content) == expected
    back = unpack(content, {name: tuple(w.shape) for name, w in weights.items()}, precision)
    for name, weight in weights.items():
        largest = weight.abs() if weight.dim() == 1 else weight.abs().amax(dim=-2, keepdim=True)
        bound = {"float32": 0.0, "float16": 1e-3}.get(precision, 0.51 / (2 ** (BITS[precision] - 1) - 1))
        bound = (1e-3 if integers and weight.dim() == 1 else bound) * largest + (1e-6 if precision != "float32" else 0)
        assert ((back[name] - weight).abs() <= bound).all()
    again = pack(back, precision)
    assert unpack(again, {name: tuple(w.shape) for name, w in weights.items()}, precision).keys() == back.keys()


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_packing_twice_changes_nothing(precision):
    weights = {"w": torch.randn(5, 3, generator=torch.Generator().manual_seed(0))}
    content = pack(weights, precision)
    assert pack(unpack(content, {"w": (5, 3)}, precision), precision) == content


def test_a_matrix_of_zeros_survives():
    back = unpack(pack({"w": torch.zeros(3, 2)}, "int8"), {"w": (3, 2)}, "int8")
    assert torch.equal(back["w"], torch.zeros(3, 2))


def test_a_wrong_shape_is_noticed():
    with pytest.raises(AssertionError, match="another shape"):
        unpack(pack({"w": torch.ones(3, 2)}, "float32"), {"w": (2, 2)}, "float32")


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_bits_are_flipped_at_the_rate(rate):
    content = np.random.default_rng(0).bytes(4000)
    flipped = np.frombuffer(flip_bits(content, rate, seed=1), dtype=np.uint8)
    share = np.unpackbits(flipped ^ np.frombuffer(content, dtype=np.uint8)).mean()
    assert share == pytest.approx(rate, abs=0.02)


@pytest.mark.parametrize("precision", ["int6", "int4", "int3"])
def test_codes_are_twos_complement_without_gaps(precision):
    bits = BITS[precision]
    most = 2 ** (bits - 1) - 1
    codes = [most, -most, 0, 1, -1, 2, -2]
    content = pack({"w": torch.tensor(codes, dtype=torch.float32)[:, None]}, precision)
    step = np.nextafter(np.float16(1), np.float16(2))
    assert np.frombuffer(content[:2], "<f2")[0] == step
    stored = int.from_bytes(content[2:], "little")
    read = [stored >> (bits * row) & (2**bits - 1) for row in range(7)]
    assert [code - 2**bits if code > most else code for code in read] == codes
    back = unpack(content, {"w": (7, 1)}, precision)["w"][:, 0]
    assert back.tolist() == [code * float(step) for code in codes]
