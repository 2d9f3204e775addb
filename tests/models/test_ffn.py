"""FFN kinds against their formulas, and widths at equal parameters."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from models.ffn import FFN
from models.ffn_kinds import KINDS, hidden_units, num_params, training_flops


def reference(ffn, x):
    """The same, in numpy."""
    h = x @ ffn.w_in_DF.detach().numpy()
    if ffn.kind == "relu":
        h = np.maximum(h, 0)
    elif ffn.kind == "gelu":
        h = h * 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(h / math.sqrt(2)))
    else:
        gate = x @ ffn.w_gate_DF.detach().numpy()
        h = gate / (1 + np.exp(-gate)) * h
    return h @ ffn.w_out_FE.detach().numpy()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [0, 1, 7])
def test_forward_is_the_formula(kind, batch):
    ffn = FFN(kind, 5, 9, 3, generator=torch.Generator().manual_seed(0))
    x = np.random.default_rng(0).standard_normal((batch, 5)).astype(np.float32)
    with torch.no_grad():
        assert ffn(torch.from_numpy(x)).numpy() == pytest.approx(reference(ffn, x), abs=1e-5)


@settings(max_examples=50, deadline=None)
@given(kind=st.sampled_from(KINDS), dim_in=st.integers(1, 40), dim_out=st.integers(1, 40), width=st.integers(1, 60))
def test_counted_parameters_are_the_modules_and_never_more_than_the_dense_ones(kind, dim_in, dim_out, width):
    ffn = FFN(kind, dim_in, width, dim_out, generator=torch.Generator().manual_seed(0))
    counted = num_params(kind, width, dim_in, dim_out)
    assert counted == sum(weight.numel() for weight in ffn.parameters())
    dense, unit = width * (dim_in + dim_out), counted // hidden_units(kind, width, dim_in, dim_out)
    assert counted == unit if counted > dense else dense - counted < unit  # within one unit; at least one unit


def test_swiglu_width_is_two_thirds_of_the_dense_one():
    assert hidden_units("swiglu", 32, 16, 16) == 21
    assert hidden_units("relu", 32, 16, 16) == 32


def test_initial_weights_come_from_the_generator_alone():
    torch.manual_seed(1)
    one = FFN("swiglu", 4, 6, 4, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(2)
    two = FFN("swiglu", 4, 6, 4, generator=torch.Generator().manual_seed(3))
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_training_flops_are_those_that_torch_counts(kind):
    facts, dim_in, width, dim_out, num_values = 50, 24, 12, 8, 40
    generator = torch.Generator().manual_seed(0)
    ffn = FFN(kind, dim_in, width, dim_out, generator=generator)
    keys, codes = torch.randn(facts, dim_in, generator=generator), torch.randn(num_values, dim_out, generator=generator)
    with FlopCounterMode(display=False) as counter:
        (ffn(keys) @ codes.T).sum().backward()
    assert counter.get_total_flops() == facts * training_flops(kind, width, dim_in, dim_out, num_values)
