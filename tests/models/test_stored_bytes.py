"""Stored weights byte by byte, from small matrices worked out by hand; noise and flipped bits from their draws."""

import struct

import numpy as np
import pytest
import torch
from torch import nn

from models.ffn_kinds import DenseConfig
from models.rounding import rounded_weights
from models.weight_packing import add_noise, column_scales, flip_bits, load_packed, matrix_steps, pack, packed, unpack


def halves(*numbers):
    return struct.pack(f"<{len(numbers)}e", *numbers)


def next_half(number):
    return float(np.nextafter(np.float16(number), np.float16(np.inf)))


def bits_of(codes, bits):
    """Two's complement, the lowest bit first, one code after another, zeros up to the next byte."""
    stored = sum((code % 2**bits) << (bits * place) for place, code in enumerate(codes))
    return stored.to_bytes((bits * len(codes) + 7) // 8, "little")


WEIGHTS = {
    "w": torch.tensor([[7.0, -0.5], [-3.0, 2.0], [2.2, 1.0]]),
    "b": torch.tensor([0.1, -2.0]),
    "stack": torch.tensor([[[1.0, 4.0]], [[-3.0, 0.25]]]),  # two matrices of one row
}
SHAPES = {name: tuple(weight.shape) for name, weight in WEIGHTS.items()}


def test_integers_are_scales_and_codes_of_each_column():
    step, other = next_half(7 / 3), next_half(2 / 3)
    codes = [3, round(-0.5 / other), round(-3 / step), 3, round(2.2 / step), round(1 / other)]
    scales = [next_half(abs(x) / 3) for x in (1.0, 4.0, -3.0, 0.25)]
    # Every largest weight is the largest code, 3 of 3 bits.
    expected = halves(step, other) + bits_of(codes, 3) + halves(0.1, -2.0) + halves(*scales) + bits_of([3, 3, -3, 3], 3)
    content = pack(WEIGHTS, "int3")
    assert content == expected
    back = unpack(content, SHAPES, "int3")
    assert back["w"].tolist() == pytest.approx(np.array(codes).reshape(3, 2) * [step, other], rel=1e-7)
    assert back["b"].tolist() == [float(np.float16(0.1)), -2.0]
    assert back["stack"].flatten().tolist() == pytest.approx(
        [3 * scales[0], 3 * scales[1], -3 * scales[2], 3 * scales[3]]
    )
    assert all(weight.dtype == torch.float32 for weight in back.values())


def test_midrise_codes_are_steps_of_each_matrix_and_levels_halfway():
    root_mean_square = (sum(x * x for x in (7.0, 0.5, 3.0, 2.0, 2.2, 1.0)) / 6) ** 0.5
    steps = [float(np.float16(0.9957 * rms)) for rms in (root_mean_square, (17 / 2) ** 0.5, (9.0625 / 2) ** 0.5)]
    codes = [1, -1, -1, 0, 0, 0]  # floor of weight / step, within -2 and 1
    content = pack(WEIGHTS, "midrise2")
    expected = halves(steps[0]) + bits_of(codes, 2) + halves(0.1, -2.0) + halves(*steps[1:])
    assert content == expected + bits_of([0, 1, -2, 0], 2)
    back = unpack(content, SHAPES, "midrise2")
    assert back["w"].flatten().tolist() == pytest.approx([(code + 0.5) * steps[0] for code in codes], rel=1e-7)
    assert back["stack"].flatten().tolist() == pytest.approx(
        [0.5 * steps[1], 1.5 * steps[1], -1.5 * steps[2], 0.5 * steps[2]], rel=1e-7
    )


def test_floats_are_their_own_bytes_and_some_are_stored_apart():
    numbers = {name: weight.flatten().tolist() for name, weight in WEIGHTS.items()}
    singles = {name: struct.pack(f"<{len(found)}f", *found) for name, found in numbers.items()}
    assert pack(WEIGHTS, "float32") == b"".join(singles.values())
    assert pack(WEIGHTS, "float16") == b"".join(halves(*found) for found in numbers.values())
    apart = {"w": "float32", "stack": "int8"}
    content = pack(WEIGHTS, "float16", apart)
    scales = [next_half(abs(x) / 127) for x in numbers["stack"]]
    codes = [round(x / scale) for x, scale in zip(numbers["stack"], scales, strict=True)]
    assert content == singles["w"] + halves(*numbers["b"]) + halves(*scales) + bits_of(codes, 8)
    back = unpack(content, SHAPES, "float16", apart)
    assert torch.equal(back["w"], WEIGHTS["w"]) and back["b"].tolist() == [float(np.float16(0.1)), -2.0]
    expected = [code * scale for code, scale in zip(codes, scales, strict=True)]
    assert back["stack"].flatten().tolist() == pytest.approx(expected, rel=1e-7)


def test_scales_are_the_next_half_above_and_steps_no_smaller_than_the_least():
    w = np.array([[6.0, -0.75, 0.0], [-31.0, 0.5, 0.0]], dtype=np.float32)
    found = column_scales(w, 6)
    assert found.dtype == np.float16 and found.tolist() == [[next_half(1.0), next_half(0.75 / 31), next_half(0.0)]]
    for bits, best in {1: 1.5958, 2: 0.9957, 3: 0.5860, 4: 0.3352}.items():
        both = np.stack([[[3.0, -4.0, 0.0]], [[0.0, 0.0, 0.0]]]).astype(np.float32)
        steps = matrix_steps(both, bits)
        assert steps.dtype == np.float16
        assert steps.tolist() == [[[float(np.float16(best * (25 / 3) ** 0.5))]], [[2.0**-14]]]


@pytest.mark.parametrize("precision", ["int3", "midrise1", "midrise3"])
def test_rounding_in_training_knows_the_least_step_too(precision):
    ffn = DenseConfig(width=3).build(2, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ffn.w_in_DF.zero_()
        ffn.w_out_FE.mul_(1e-5)
    rounded = {name: weight.detach().clone() for name, weight in rounded_weights(ffn, precision).items()}
    load_packed(ffn, packed(ffn, precision), precision)
    for name, weight in ffn.named_parameters():
        assert torch.equal(rounded[name], weight)
    levels = {"int3": 0.0, "midrise1": 2.0**-15, "midrise3": 2.0**-15}
    assert rounded["w_in_DF"].unique().tolist() == [levels[precision]]


def test_noise_is_drawn_in_order_in_units_of_each_weights_root_mean_square():
    module = nn.Linear(3, 2)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[3.0, -1.0, 2.0], [0.0, 5.0, 1.0]]))
        module.bias.copy_(torch.tensor([0.5, -0.25]))
    drawn = torch.Generator().manual_seed(3)
    noise = torch.randn(2, 3, generator=drawn), torch.randn(2, generator=drawn)
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    add_noise(module, 0.3, torch.Generator().manual_seed(3))
    torch.testing.assert_close(module.weight.detach(), before["weight"] + 0.3 * (40 / 6) ** 0.5 * noise[0])
    torch.testing.assert_close(module.bias.detach(), before["bias"] + 0.3 * (0.3125 / 2) ** 0.5 * noise[1])


def test_bits_are_flipped_where_their_draw_lies_below_the_rate():
    content = bytes([0, 255, 129, 7, 64])
    drawn = np.random.default_rng(5).random((5, 8))
    expected = [
        byte ^ sum(2 ** (7 - bit) for bit in range(8) if drawn[place, bit] < 0.3) for place, byte in enumerate(content)
    ]
    assert list(flip_bits(content, 0.3, seed=5)) == expected
    assert flip_bits(content, 0.0, seed=5) == content
    assert list(flip_bits(content, 1.0, seed=5)) == [255 - byte for byte in content]


def test_a_scale_that_no_half_holds_is_stored_as_infinity():
    with np.errstate(over="ignore"):
        content = pack({"w": torch.tensor([[1e6, 1.0]])}, "float16")
    assert unpack(content, {"w": (1, 2)}, "float16")["w"].tolist() == [[np.inf, 1.0]]
    content = pack({"w": torch.full((2, 1), 1e9)}, "midrise1")
    assert unpack(content, {"w": (2, 1)}, "midrise1")["w"].tolist() == [[np.inf], [np.inf]]
