"""The gated encoder: Johnson-Lindenstrauss, the code that is hit, and how many facts it hits."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from models.closed_form.gated_jl import gated_jl_memory, johnson_lindenstrauss, smallest_decoder
from models.closed_form.value_directions import margin_optimal_directions


def facts_of(num_facts, dim, num_values, seed=0):
    generator = torch.Generator().manual_seed(seed)
    keys = functional.normalize(torch.randn(num_facts, dim, generator=generator), dim=1)
    codes = functional.normalize(torch.randn(num_values, dim, generator=generator), dim=1)
    return keys, torch.randint(num_values, (num_facts,), generator=generator), codes


def outputs(w, keys):
    return (functional.silu(keys @ w["w_gate_DF"]) * (keys @ w["w_in_DF"])) @ w["w_out_FE"]


def test_inner_products_stay_within_the_johnson_lindenstrauss_bound():
    """64 unit vectors, distortion .5: P(one squared length off) <= 2 exp(-(eps^2 - eps^3) J / 4) (Dasgupta and Gupta).

    At J = 512 the 64^2 sums and differences that decide the inner products all hold but with probability .001; then
    |<x, y> - <Jx, Jy>| <= eps.
    """
    distortion, dim = 0.5, 512
    assert 2 * 64**2 * math.exp(-(distortion**2 - distortion**3) * dim / 4) < 0.001
    vectors = facts_of(64, 1024, 1)[0].double()
    compressed = vectors @ johnson_lindenstrauss(dim, 1024, generator=torch.Generator().manual_seed(1)).T
    assert float((compressed @ compressed.T - vectors @ vectors.T).abs().max()) <= distortion


def test_inner_products_deviate_as_said():
    one = functional.normalize(torch.ones(1, 6).double())
    generator = torch.Generator().manual_seed(0)
    lengths = [float((one @ johnson_lindenstrauss(8, 6, generator=generator).T).square().sum()) for _ in range(4000)]
    assert np.mean(lengths) == pytest.approx(1.0, abs=0.04)
    assert np.std(lengths) == pytest.approx(math.sqrt(2 / 8), rel=0.1)


def test_decoder_is_the_first_size_at_which_every_code_keeps_its_margin():
    codes = facts_of(1, 16, 16)[2].double()
    decoder, directions = smallest_decoder(
        codes, torch.arange(len(codes)), most=21, generator=torch.Generator().manual_seed(0)
    )
    expected, margins = margin_optimal_directions(codes @ decoder.T)
    assert float(margins.min()) >= 0.05
    assert torch.equal(directions, expected)
    fewer = smallest_decoder(
        codes, torch.arange(len(codes)), most=len(decoder) - 1, generator=torch.Generator().manual_seed(0)
    )[0]
    assert float(margin_optimal_directions(codes @ fewer.T)[1].min()) < 0.05


def test_every_key_hits_its_compressed_direction():
    keys, value_ids, codes = facts_of(40, 16, 16)
    w = gated_jl_memory(keys, value_ids, codes, units=24, generator=torch.Generator().manual_seed(5))
    decoder, directions = smallest_decoder(
        codes.double(), torch.arange(len(codes)), most=24, generator=torch.Generator().manual_seed(5)
    )
    assert torch.equal(w["w_out_FE"][: len(decoder)], decoder.float())
    expected = directions[value_ids] @ decoder
    assert outputs(w, keys).numpy() == pytest.approx(expected.numpy(), abs=1e-3)
    assert (outputs(w, keys) @ codes.T).argmax(dim=1).equal(value_ids)


def test_holds_the_facts_that_its_equations_allow_and_not_twice_as_many():
    units, dim = 21, 16
    codes = facts_of(1, dim, 16)[2].double()
    rows = len(
        smallest_decoder(codes, torch.arange(len(codes)), most=units, generator=torch.Generator().manual_seed(5))[0]
    )
    equations = units // rows * dim
    for num_facts, holds in ((equations, True), (2 * equations, False)):
        keys, value_ids, _ = facts_of(num_facts, dim, 16, seed=1)
        w = gated_jl_memory(keys, value_ids, codes, units=units, generator=torch.Generator().manual_seed(5))
        right = (outputs(w, keys) @ codes.float().T).argmax(dim=1).eq(value_ids).double().mean()
        assert (float(right) >= 0.99) == holds
