"""Stored weights: exact sizes, exact or bounded values, flipped bits."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from models.precisions import BEST_STEP, MIDRISE_BITS, PRECISIONS
from models.weight_packing import flip_bits, pack, unpack

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
    num_steps = math.prod(shape[:-2])
    assert 2 * num_steps <= len(content) <= 2 * num_steps + math.ceil(bits * weight.numel() / 8)
    back = unpack(content, {"w": shape}, precision)["w"]
    steps = np.frombuffer(content[: 2 * num_steps], "<f2").astype(np.float32)
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


MIXED_PRECISIONS = {"router": "midrise2", "scaled": "int4", "rest": "float16"}


def mixed_weights():
    """Of an FFN stored in midrise4: experts, a bias, and three arrays apart."""
    shapes = {"w_in": (3, 20, 30), "bias": (30,), "router": (20, 8), "scaled": (6, 5), "rest": (4, 9)}
    shapes["w_out"] = (30, 17)
    generator = torch.Generator().manual_seed(7)
    return {name: (1 + len(name)) * torch.randn(*shape, generator=generator) for name, shape in shapes.items()}


def shapes_of(weights):
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def fixed_bits(weights):
    """The same at fixed bits, one array after another: each alone, its codes from its levels."""
    parts = []
    for name, weight in weights.items():
        bits = {"midrise4": 4, "midrise2": 2}.get(MIXED_PRECISIONS.get(name, "midrise4"))
        if weight.dim() == 1 or bits is None:
            parts.append(pack({name: weight}, MIXED_PRECISIONS.get(name, "midrise4")))
            continue
        steps = np.sqrt(np.square(weight.double().numpy()).mean((-2, -1), keepdims=True)) * BEST_STEP[bits]
        steps, half = steps.astype("<f2"), 2 ** (bits - 1)
        codes = np.floor(weight.numpy() / steps.astype(np.float32)).clip(-half, half - 1).astype(int).ravel()
        stored = sum(int(code) % 2**bits << bits * place for place, code in enumerate(codes))
        parts += [steps.tobytes(), stored.to_bytes((bits * len(codes) + 7) // 8, "little")]
    return b"".join(parts)


def test_both_forms_hold_the_same_weights_and_the_smaller_is_stored():
    """What was stored at fixed bits, before there was another form, is still read."""
    weights = mixed_weights()
    fixed, content = fixed_bits(weights), pack(weights, "midrise4", MIXED_PRECISIONS)
    num_levels = 3 * 20 * 30 + 30 * 17
    assert len(content) < len(fixed) - 0.07 * num_levels * 4 / 8
    back = unpack(content, shapes_of(weights), "midrise4", MIXED_PRECISIONS)
    of_fixed = unpack(fixed, shapes_of(weights), "midrise4", MIXED_PRECISIONS)
    assert list(back) == list(of_fixed) == list(weights)
    assert all(torch.equal(back[name], of_fixed[name]) for name in weights)
    for name, weight in weights.items():
        assert (back[name] - weight).square().mean() < 0.13 * weight.square().mean()


@pytest.mark.parametrize(
    ("precision", "weight"),
    [
        ("midrise1", torch.randn(40, 25, generator=torch.Generator().manual_seed(0))),
        ("midrise2", torch.randn(40, 25, generator=torch.Generator().manual_seed(0)).sign()),  # outer levels alone
    ],
)
def test_codes_that_no_model_makes_smaller_keep_their_fixed_bits(precision, weight):
    bits = MIDRISE_BITS[precision]
    content = pack({"w": weight}, precision)
    assert len(content) == 2 + 1000 * bits / 8
    step, stored = np.frombuffer(content[:2], "<f2")[0], int.from_bytes(content[2:], "little")
    read = np.array([stored >> (bits * place) & (2**bits - 1) for place in range(1000)])
    codes = np.where(read >= 2 ** (bits - 1), read - 2**bits, read)
    back = unpack(content, {"w": (40, 25)}, precision)["w"]
    assert back.flatten().tolist() == ((codes + 0.5) * float(step)).astype(np.float32).tolist()
    assert torch.equal(back.sign(), weight.sign())


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1, 0.5, 1.0])
def test_coded_weights_with_flipped_bits_are_other_weights_of_the_same_levels(rate):
    weight = torch.randn(2, 30, 40, generator=torch.Generator().manual_seed(3))
    content = pack({"w": weight}, "midrise3")
    stored = unpack(content, {"w": (2, 30, 40)}, "midrise3")["w"]
    for seed in range(10):
        damaged = content[:4] + flip_bits(content[4:], rate, seed=seed)  # the two steps stay
        back = unpack(damaged, {"w": (2, 30, 40)}, "midrise3")["w"]
        for one, other in zip(back, stored, strict=True):
            assert torch.isin(one, other.unique()).all()
        assert torch.equal(back, stored) == (damaged == content)
        assert unpack(flip_bits(content, rate, seed=seed), {"w": (2, 30, 40)}, "midrise3")["w"].shape == stored.shape


def test_a_cut_stream_is_read_and_content_of_no_possible_length_is_noticed():
    weights = mixed_weights()
    fixed, num_code_bytes = fixed_bits(weights), (3 * 20 * 30 + 30 * 17) // 2 + 20 * 8 // 4
    least = len(fixed) - num_code_bytes
    cut = unpack(pack(weights, "midrise4", MIXED_PRECISIONS)[:least], shapes_of(weights), "midrise4", MIXED_PRECISIONS)
    assert shapes_of(cut) == shapes_of(weights)
    assert torch.equal(cut["bias"], weights["bias"].half().float())
    for content in (fixed[: least - 1], fixed + b"\1"):
        with pytest.raises(AssertionError, match="another shape"):
            unpack(content, shapes_of(weights), "midrise4", MIXED_PRECISIONS)


@pytest.mark.parametrize("precision", ["midrise1", "midrise4"])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_weights_that_are_not_finite_come_back_so(precision):
    weight = torch.randn(40, 25, generator=torch.Generator().manual_seed(0))
    weight[3, 4] = math.nan
    assert unpack(pack({"w": weight}, precision), {"w": (40, 25)}, precision)["w"].isnan().all()
