"""Values on a line: the linear solves against gradients by torch, and more facts than gradient descent stores."""

import math

import pytest
import torch
from torch.nn import functional

from models.closed_form.value_line import _Margins, _Rows, _Scores, _Weights, value_line_memory


def facts_of(num_facts, dim, num_values, seed=0):
    generator = torch.Generator().manual_seed(seed)
    keys = functional.normalize(torch.randn(num_facts, dim, generator=generator), dim=1)
    codes = functional.normalize(torch.randn(num_values, dim, generator=generator), dim=1)
    return keys, torch.randint(num_values, (num_facts,), generator=generator), codes


def answers(w, keys, codes):
    gates = functional.silu(keys @ w["w_gate_DF"] + w["b_gate_F"])
    return ((gates * (keys @ w["w_in_DF"] + w["b_in_F"])) @ w["w_out_FE"] + w["b_out_E"]) @ codes.T


def flat(weights: _Weights):
    return torch.cat(
        [weights.gate_IF.flatten(), weights.in_IF.flatten(), weights.read_out_FV.flatten(), weights.bias_V]
    )


def weights_of(point, inputs, units, columns):
    gate, in_, read_out, bias = point.split([inputs * units, inputs * units, units * columns, columns])
    return _Weights(
        gate_IF=gate.reshape(inputs, units),
        in_IF=in_.reshape(inputs, units),
        read_out_FV=read_out.reshape(units, columns),
        bias_V=bias,
    )


def outputs_of(weights, inputs):
    gates = functional.silu(inputs @ weights.gate_IF)
    return (gates * (inputs @ weights.in_IF)) @ weights.read_out_FV + weights.bias_V


def check_rows(phase, inputs, point, columns, squares_of):
    """The Gram matrix is that of the gradients, and these times what is missing are the gradient that torch finds."""
    rows: _Rows = phase.rows(weights_of(point, inputs.shape[1], 3, columns))
    # Moving by one row alone shows that row's gradient.
    gradients = torch.stack([flat(rows.moved(alone)) - point for alone in torch.eye(len(rows.missing_R)).double()])
    assert rows.gram_RR.numpy() == pytest.approx((gradients @ gradients.T).numpy(), abs=1e-9)
    at = point.clone().requires_grad_()
    squares = squares_of(outputs_of(weights_of(at, inputs.shape[1], 3, columns), inputs))
    (expected,) = torch.autograd.grad(0.5 * squares, at)
    assert (-gradients.T @ rows.missing_R).numpy() == pytest.approx(expected.numpy(), abs=1e-9)
    assert rows.loss(weights_of(point, inputs.shape[1], 3, columns)) == pytest.approx(float(squares.detach()))


def test_rows_of_scores_are_the_gradients_that_torch_finds():
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(12, 4, generator=generator).double(), torch.randn(12, generator=generator).double()
    point = torch.randn(2 * 4 * 3 + 3 + 1, generator=generator).double()
    check_rows(_Scores(inputs, targets, 1.0), inputs, point, 1, lambda out: (out[:, 0] - targets).square().sum())


def test_rows_of_margins_are_the_gradients_that_torch_finds():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(12, 4, generator=generator).double()
    value_ids = torch.randint(5, (12,), generator=generator)
    point = torch.randn(2 * 4 * 3 + 3 * 5 + 5, generator=generator).double()

    def squares(logits):
        total = torch.zeros(())
        for fact, value in enumerate(value_ids.tolist()):
            for wrong in set(range(5)) - {value}:
                gap = (logits[fact, value] - logits[fact, wrong]) / abs(value - wrong)
                total = total + (0.15 - gap).clamp(min=0).square()
        return total

    check_rows(_Margins(inputs, value_ids, torch.arange(5).double(), 1.0, 0.99), inputs, point, 5, squares)


@pytest.mark.parametrize("seed", range(2))
def test_more_than_gradient_descent_stores_at_these_parameters(seed):
    """2.64 bits per parameter is what a trained SwiGLU reached at 16 dimensions and values."""
    keys, value_ids, codes = facts_of(700, 16, 16, seed)
    w = value_line_memory(keys, value_ids, codes, units=20, generator=torch.Generator().manual_seed(100 + seed))
    assert 700 * math.log2(16) / sum(weight.numel() for weight in w.values()) > 2.7
    assert all(weight.dtype == torch.float32 for weight in w.values())
    assert float(answers(w, keys, codes).argmax(dim=1).eq(value_ids).double().mean()) >= 0.985


def test_too_many_facts_end_with_the_solves_allowed():
    keys, value_ids, codes = facts_of(300, 8, 8)
    w = value_line_memory(keys, value_ids, codes, units=8, max_solves=12, generator=torch.Generator().manual_seed(0))
    assert all(bool(weight.isfinite().all()) for weight in w.values())
    assert float(answers(w, keys, codes).argmax(dim=1).eq(value_ids).double().mean()) < 0.99


def test_two_values_and_fewer_values_than_dimensions():
    keys, value_ids, codes = facts_of(60, 8, 2)
    w = value_line_memory(keys, value_ids, codes, units=8, generator=torch.Generator().manual_seed(0))
    assert answers(w, keys, codes).argmax(dim=1).eq(value_ids).double().mean() >= 0.99


@pytest.mark.parametrize("num_values", [1, 9])
def test_codes_that_no_line_fits_are_refused(num_values):
    keys, value_ids, codes = facts_of(10, 8, num_values)
    with pytest.raises(ValueError, match="linearly independent"):
        value_line_memory(keys, value_ids, codes, units=4, generator=torch.Generator().manual_seed(0))
