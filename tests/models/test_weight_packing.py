"""Stored weights: exact sizes, exact or bounded values, flipped bits."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from models.precisions import MIDRISE_BITS, PRECISIONS
from models.weight_packing import BEST_STEP, flip_bits, pack, unpack

BITS = {"float32": 32, "float16": 16, "int8": 8, "int6": 6, "int4": 4, "int3": 3}


@settings(max_examples=60)
@given(
    precision=st.sampled_from([name for name in PRECISIONS if name not in MIDRISE_BITS]),
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


@settings(max_examples=60)
@given(
    precision=st.sampled_from(list(MIDRISE_BITS)),
    shape=st.lists(st.integers(1, 7), min_size=2, max_size=3).map(tuple),
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 1000),
)
def test_midrise_levels_are_the_nearest_of_as_many_as_the_bits_can_name(precision, shape, scale, seed):
    weight = scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    bits = MIDRISE_BITS[precision]
    content = pack({"w": weight}, precision)
    assert len(content) == 2 * math.prod(shape[:-2]) + math.ceil(bits * weight.numel() / 8)
    back = unpack(content, {"w": shape}, precision)["w"]
    steps = np.frombuffer(content[: 2 * math.prod(shape[:-2])], "<f2").astype(np.float32)
    for matrix, stored, step in zip(weight.view(-1, *shape[-2:]), back.view(-1, *shape[-2:]), steps, strict=True):
        assert step == pytest.approx(BEST_STEP[bits] * float(matrix.square().mean().sqrt()), rel=1e-3, abs=1e-4)
        levels = float(step) * (torch.arange(2**bits) - (2**bits - 1) / 2)
        assert torch.isin(stored, levels).all()
        nearest = (matrix[..., None] - levels).abs().amin(-1)
        assert ((matrix - stored).abs() <= nearest + 1e-5 * step).all()


@pytest.mark.parametrize("bits", BEST_STEP)
def test_the_steps_are_those_that_round_a_normal_variable_best(bits):
    x = norm.ppf((np.arange(200_000) + 0.5) / 200_000)

    def squared_error(step):
        return np.square(x - step * (np.floor(x / step).clip(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) + 0.5)).mean()

    best = minimize_scalar(squared_error, bounds=(0.1, 2.0), method="bounded").x
    assert best == pytest.approx(BEST_STEP[bits], rel=2e-3)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_packing_twice_changes_nothing(precision):
    weights = {"w": torch.randn(5, 3, generator=torch.Generator().manual_seed(0))}
    content = pack(weights, precision)
    assert pack(unpack(content, {"w": (5, 3)}, precision), precision) == content


def test_a_matrix_of_zeros_survives():
    back = unpack(pack({"w": torch.zeros(3, 2)}, "int8"), {"w": (3, 2)}, "int8")
    assert torch.equal(back["w"], torch.zeros(3, 2))


def test_a_matrix_of_zeros_has_a_step_too():
    back = unpack(pack({"w": torch.zeros(3, 2)}, "midrise2"), {"w": (3, 2)}, "midrise2")
    assert torch.allclose(back["w"], torch.zeros(3, 2), atol=1e-4)


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
