"""The two-sided construction against its author's numbers, and its parts against brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from models.ffn_kinds import DenseConfig
from models.two_sided import (
    CROSSING_SHARE,
    OFFSET_PER_UNIT,
    longest_step,
    quadratic_read_out,
    ridge_corrections,
    two_sided,
)

PUBLISHED_FACTS = {16: 696, 32: 3168, 64: 12_800, 128: 51_200}
PUBLISHED_SIGMA90 = 1.52e-5  # d = 32, 2,080 facts


def random_facts(dim, num_facts, seed):
    """The first pairs of a permutation of all (2d)^2, and labels dealt as evenly as possible."""
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(4 * dim * dim)[:num_facts]
    labels = rng.permutation(np.arange(num_facts) % dim)
    return [torch.from_numpy(ids) for ids in (pairs // (2 * dim), pairs % (2 * dim), labels)]


def stored(dim, facts, seed, **options):
    return two_sided(*facts, num_tokens=2 * dim, num_labels=dim, hidden_units=dim, seed=seed, **options)


def answers(w_in, w_out, first, second):
    hidden = functional.relu(w_in[first] + w_in[len(w_in) // 2 + second])
    return (hidden @ w_out).argmax(dim=1)


@pytest.mark.parametrize(
    ("dim", "seed"),
    [
        *((dim, seed) for dim in (16, 32) for seed in range(3)),
        *(pytest.param(64, seed, marks=pytest.mark.slow) for seed in range(3)),
        pytest.param(128, 0, marks=pytest.mark.slow),  # minutes; `make reproduce TIER=full` has the others
    ],
)
def test_published_number_of_facts_at_accuracy_1(dim, seed):
    facts = random_facts(dim, PUBLISHED_FACTS[dim], seed)
    result = stored(dim, facts, seed)
    assert result.accuracy == 1.0
    assert torch.equal(answers(result.w_in_DF, result.w_out_FE, *facts[:2]), facts[2])


@pytest.mark.parametrize("facts_a_square", [0.1, 1.0, 1.5, 2.0, 2.5])
def test_every_smaller_load_is_stored_too(facts_a_square):
    """Also with as many facts a token as units, where a row's system is nearly singular."""
    facts = random_facts(16, int(facts_a_square * 16**2), seed=3)
    # One draw in forty stalls at this size.
    assert any(stored(16, facts, seed=seed, max_iterations=200).accuracy == 1.0 for seed in range(2))


def test_weights_are_those_of_a_plain_relu_ffn_over_two_one_hots():
    dim, (first, second, labels) = 16, random_facts(16, 500, seed=0)
    result = stored(dim, (first, second, labels), seed=0)
    ffn = DenseConfig(kind="relu", width=dim, bias=False).build(4 * dim, dim, generator=torch.Generator())
    ffn.load_state_dict({"w_in_DF": result.w_in_DF, "w_out_FE": result.w_out_FE})
    keys = torch.cat([functional.one_hot(first, 2 * dim), functional.one_hot(second, 2 * dim)], dim=1).float()
    of_ffn = ffn.double()(keys.double()).argmax(dim=1)  # two labels are half a unit apart, on outputs of a hundred
    w_in, w_out = result.w_in_DF.double(), result.w_out_FE.double()
    assert torch.equal(of_ffn, answers(w_in, w_out, first, second))
    assert float((of_ffn == labels).float().mean()) > 0.99  # one draw in forty stalls at this size


def test_active_units_sum_to_what_the_label_asks_for():
    dim, (first, second, labels) = 16, random_facts(16, 600, seed=1)
    w_in = stored(dim, (first, second, labels), seed=0).w_in_DF.double()
    sums = functional.relu(w_in[first] + w_in[2 * dim + second])[:, :-1].sum(dim=1)
    assert float((sums - OFFSET_PER_UNIT * dim - 1 - labels).abs().max()) < 0.301  # a tolerance of .3, and float32
    assert len(w_in[:, -1].unique()) == 1


def test_sigma90_is_within_a_factor_2_of_the_published():
    first, second, labels = random_facts(32, 2080, seed=0)
    result = stored(32, (first, second, labels), seed=0)

    def accuracy(sigma):
        right = []
        for trial in range(20):
            generator = torch.Generator().manual_seed(trial)
            noisy = [
                weights + sigma * weights.square().mean().sqrt() * torch.randn(weights.shape, generator=generator)
                for weights in (result.w_in_DF, result.w_out_FE)
            ]
            right.append((answers(*noisy, first, second) == labels).double().mean())
        return np.mean(right)

    assert accuracy(PUBLISHED_SIGMA90 / 2) > 0.9 > accuracy(PUBLISHED_SIGMA90 * 2)


def test_more_facts_than_numbers_are_not_stored():
    facts = random_facts(16, 1024, seed=0)  # 2 * 32 * 15 = 960 free numbers
    result = stored(16, facts, seed=0, max_iterations=20)
    assert result.iterations == 20
    right = answers(result.w_in_DF, result.w_out_FE, *facts[:2]) == facts[2]
    assert result.accuracy == float(right.double().mean()) < 1.0


def test_seed_decides():
    facts = random_facts(16, 300, seed=0)
    one, same, other = (stored(16, facts, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(one.w_in_DF, same.w_in_DF)
    assert not torch.equal(one.w_in_DF, other.w_in_DF)


def test_a_pair_has_one_label():
    pair = torch.tensor([1, 1])
    with pytest.raises(AssertionError, match="two labels"):
        stored(16, (pair, pair, torch.tensor([0, 1])), seed=0)


@pytest.mark.parametrize("ridge", [1e-3, 0.1])
def test_ridge_corrections_minimise_their_square(ridge):
    rng = np.random.default_rng(0)
    active, missing = rng.random((5, 12, 7)) < 0.5, rng.standard_normal((5, 12))
    active[2, 4:] = False  # fewer facts than units
    missing[2, 4:] = 0.0
    corrections = ridge_corrections(torch.from_numpy(active), torch.from_numpy(missing), ridge)
    for row, fires, wanted in zip(corrections.numpy(), active, missing, strict=True):
        system = np.vstack([fires, np.sqrt(ridge) * np.eye(7)])
        np.testing.assert_allclose(row, np.linalg.lstsq(system, np.append(wanted, np.zeros(7)))[0], atol=1e-9)


def test_ridge_corrections_give_facts_what_they_miss_where_units_are_enough():
    rng = np.random.default_rng(1)
    active, missing = torch.from_numpy(rng.random((6, 10, 31)) < 0.4), torch.from_numpy(rng.standard_normal((6, 10)))
    gained = (active * ridge_corrections(active, missing, 1e-3)[:, None]).sum(dim=2)
    assert float((gained - missing).abs().max()) < 1e-2


@settings(max_examples=50)
@given(seed=st.integers(0, 1000), facts=st.integers(1, 40), units=st.integers(1, 30), size=st.floats(1e-3, 1e3))
def test_longest_step_lets_the_share_cross_and_no_more(seed, facts, units, size):
    generator = torch.Generator().manual_seed(seed)
    before, change = torch.randn(2, facts, units, dtype=torch.float64, generator=generator)
    after = before + size * change
    allowed = max(1, int(CROSSING_SHARE * facts * units))

    def crossed(step):
        return int(((before + step * (after - before) > 0) != (before > 0)).sum())

    step = longest_step(before, after)
    assert crossed(step * (1 - 1e-9)) <= allowed
    if step < 1:
        assert crossed(step * (1 + 1e-9)) == allowed
        assert crossed(1.0) > allowed
    else:
        assert step == 1


@given(label=st.integers(0, 39), error=st.floats(-0.49, 0.49), seed=st.integers(0, 100))
def test_read_out_names_the_label_nearest_to_the_sum(label, error, seed):
    offset, height, units = 640.0, 70.0, 12
    shares = np.random.default_rng(seed).dirichlet(np.ones(units))
    hidden = torch.from_numpy(np.append(shares * (offset + label + 1 + error), height))
    logits = hidden @ quadratic_read_out(units, 40, offset=offset, height=height)
    assert int(logits.argmax()) == label
    places = torch.arange(1, 41).double()
    torch.testing.assert_close(logits, places * (label + 1 + error) - places**2 / 2)
