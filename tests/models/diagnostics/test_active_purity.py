"""Purity over active facts against counting by hand and against all permutations."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.diagnostics.active_purity import active_purity


def purity(activations, labels, *, weighted=False, permutations=100):
    generator = torch.Generator().manual_seed(0)
    return active_purity(activations, labels, weighted=weighted, permutations=permutations, generator=generator)


def by_hand(activations, labels, weighted):
    weights = Counter()
    for activation, label in zip(activations, labels, strict=True):
        if activation > 0:
            weights[int(label)] += activation if weighted else 1
    return max(weights.values()) / sum(weights.values()) if weights else float("nan")


def example(seed, num_facts, units, num_labels):
    rng = np.random.default_rng(seed)
    activations = rng.standard_normal((num_facts, units)) * (rng.random((num_facts, units)) < 0.6)
    return activations, rng.integers(0, num_labels, num_facts)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    num_facts=st.integers(1, 20),
    units=st.integers(1, 6),
    num_labels=st.integers(1, 5),
    weighted=st.booleans(),
)
def test_purity_is_counted(seed, num_facts, units, num_labels, weighted):
    activations, labels = example(seed, num_facts, units, num_labels)
    found = purity(torch.from_numpy(activations), torch.from_numpy(labels), weighted=weighted, permutations=1)
    expected = [by_hand(column, labels, weighted) for column in activations.T]
    assert found.purity_L.tolist() == pytest.approx(expected, nan_ok=True)
    assert found.active_facts_L.tolist() == (activations > 0).sum(0).tolist()
    live = [share for share in expected if not np.isnan(share)]
    assert found.mean.observed == pytest.approx(np.mean(live) if live else float("nan"), nan_ok=True)


@pytest.mark.parametrize("weighted", [False, True])
def test_null_is_the_mean_over_all_permutations(weighted):
    activations, labels = example(15, 6, 4, 3)
    found = purity(torch.from_numpy(activations), torch.from_numpy(labels), weighted=weighted, permutations=2000)
    for unit, column in enumerate(activations.T):
        exact = [by_hand(column, dealt, weighted) for dealt in itertools.permutations(labels)]
        null = found.null_PL[:, unit]
        assert null.mean().item() == pytest.approx(np.mean(exact), abs=4 * np.std(exact) / 2000**0.5 + 1e-9)
        assert min(exact) - 1e-9 <= null.min() <= null.max() <= max(exact) + 1e-9


def test_pure_units_stand_out_and_units_of_one_fact_do_not():
    labels = torch.arange(60) % 6
    of_one_label = (labels[:, None] == torch.arange(3)).float()
    of_one_fact = torch.eye(60)[:, :1]
    dead = torch.zeros(60, 1)
    found = purity(torch.cat([of_one_label, of_one_fact, dead], dim=1), labels)
    assert found.purity_L[:4].tolist() == [1.0] * 4
    assert found.live_L.tolist() == [True] * 4 + [False]
    assert found.share_above_null == 3 / 4
    assert found.mean.null_mean == pytest.approx(float(found.null_PL[:, :4].mean()))
    assert (found.mean.null_P < found.mean.observed).all()
    assert found.null_PL[:, 3].unique().tolist() == [1.0]


def test_units_that_know_nothing_stand_out_once_in_twenty_at_most():
    activations = torch.randn(200, 400, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(5, (200,), generator=torch.Generator().manual_seed(1))
    found = purity(activations, labels)
    # 400 units, each with p at most 1/20: four standard deviations above
    assert found.share_above_null <= 0.05 + 4 * (0.05 * 0.95 / 400) ** 0.5
    assert found.mean.observed == pytest.approx(found.mean.null_mean, abs=0.01)
