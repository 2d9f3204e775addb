"""The ridge solve against its normal equations, on both sides of square."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.closed_form.ridge import ridge_solution


@settings(max_examples=50)
@given(
    facts=st.integers(1, 30),
    features=st.integers(1, 30),
    ridge=st.floats(1e-6, 10.0),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_normal_equations_hold(facts, features, ridge, scale):
    rng = np.random.default_rng(facts * 31 + features)
    x, targets = scale * rng.standard_normal((facts, features)), rng.standard_normal((facts, 3))
    w = ridge_solution(torch.from_numpy(x), torch.from_numpy(targets), ridge).numpy()
    penalty = ridge * (x**2).sum(axis=0).mean()
    assert (x.T @ x + penalty * np.eye(features)) @ w == pytest.approx(x.T @ targets, rel=1e-6, abs=1e-8 * scale)


@pytest.mark.parametrize("shape", [(1, 4), (4, 1)])
def test_features_that_are_all_zero_are_answered_by_zeros(shape):
    w = ridge_solution(torch.zeros(shape).double(), torch.ones(shape[0], 3).double(), 1e-9)
    assert torch.equal(w, torch.zeros(shape[1], 3).double())
