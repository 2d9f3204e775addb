"""A step of the two-sided construction written out, one row and one fact after another; and the sweeps of such steps.

A step that was shortened leaves a sum at 0 but for rounding, so sweeps can only be followed with the very same steps.
"""

import math

import numpy as np
import pytest
import torch

from models.two_sided import _stepped, two_sided

TOKENS, LABELS, HIDDEN = 8, 5, 7
OFFSET = 16.0 * HIDDEN


def step(rows, others, facts, ridge):
    """One table moved towards what its facts (row, other, wanted) ask for; and the next ridge."""
    change = np.zeros_like(rows)
    for row in range(len(rows)):
        mine = [(other, wanted) for of_row, other, wanted in facts if of_row == row]
        if not mine:
            continue
        before = np.array([rows[row] + others[other] for other, _ in mine])
        missing = [wanted - np.maximum(sums, 0).sum() for sums, (_, wanted) in zip(before, mine, strict=True)]
        fires = (before > 0).astype(float)
        units = rows.shape[1]
        system = np.vstack([fires, math.sqrt(ridge) * np.eye(units)])
        change[row] = 1.5 * np.linalg.lstsq(system, np.append(missing, np.zeros(units)))[0]
    times = []
    for row, other, _ in facts:
        for unit in range(rows.shape[1]):
            start = rows[row, unit] + others[other, unit]
            end = start + change[row, unit]
            if (start > 0) != (end > 0):
                times.append(start / (start - end))
    allowed = max(1, int(0.02 * len(facts) * rows.shape[1]))
    if len(times) <= allowed:
        return rows + change, max(1e-3, 0.9 * ridge)
    return rows + sorted(times)[allowed - 1] * change, min(0.1, 1.1 * ridge)


def random_facts(num_facts, seed):
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(TOKENS * TOKENS)[:num_facts]
    return pairs // TOKENS, pairs % TOKENS, rng.integers(0, LABELS, num_facts)


def stored(facts, **options):
    of_torch = (torch.from_numpy(ids) for ids in facts)
    return two_sided(*of_torch, num_tokens=TOKENS, num_labels=LABELS, hidden_units=HIDDEN, **options)


@pytest.mark.parametrize("num_facts", [5, 20, 40, 64])
@pytest.mark.parametrize("spread", [1.0, 40.0])  # full steps, and such as would turn half of all units on or off
@pytest.mark.parametrize("ridge", [1e-3, 1.05e-3, 0.02, 0.095])
def test_a_step_moves_every_row_by_its_ridge_solution_as_far_as_few_units_change(num_facts, spread, ridge):
    rng = np.random.default_rng(num_facts)
    rows, others = OFFSET / 6 + spread * rng.standard_normal((2, TOKENS, HIDDEN - 1))
    a, b, labels = random_facts(num_facts, seed=num_facts)
    stored_TT, wanted_TT = torch.zeros(TOKENS, TOKENS, dtype=torch.bool), torch.zeros(TOKENS, TOKENS).double()
    stored_TT[a, b], wanted_TT[a, b] = True, torch.from_numpy(OFFSET + 1.0 + labels)
    moved, next_ridge = _stepped(torch.from_numpy(rows), torch.from_numpy(others), stored_TT, wanted_TT, ridge)
    expected, expected_ridge = step(rows, others, list(zip(a, b, OFFSET + 1 + labels, strict=True)), ridge)
    assert moved.numpy() == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert next_ridge == pytest.approx(expected_ridge, rel=1e-12)
    assert (next_ridge <= ridge) == (spread == 1.0)


@pytest.mark.parametrize(
    ("num_facts", "seed", "max_iterations"), [(20, 1, 1), (40, 0, 3), (20, 2, 200), (30, 4, 200), (60, 3, 5)]
)
def test_sweeps_step_both_tables_until_every_sum_is_near(num_facts, seed, max_iterations):
    facts = random_facts(num_facts, seed)
    first, second, labels = (torch.from_numpy(ids) for ids in facts)
    stored_TT, wanted_TT = torch.zeros(TOKENS, TOKENS, dtype=torch.bool), torch.zeros(TOKENS, TOKENS).double()
    stored_TT[first, second], wanted_TT[first, second] = True, OFFSET + 1 + labels.double()
    drawn = torch.randn(2, TOKENS, HIDDEN - 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    one, other = 0.3 * math.sqrt(math.pi) * OFFSET / (HIDDEN - 1) * drawn
    ridge, iterations, furthest = 1e-3, 0, math.inf
    while furthest > 0.3 and iterations < max_iterations:
        one, ridge = _stepped(one, other, stored_TT, wanted_TT, ridge)
        other, ridge = _stepped(other, one, stored_TT.T, wanted_TT.T, ridge)
        sums = [float((one[a] + other[b]).clamp(min=0).sum()) for a, b in zip(first, second, strict=True)]
        furthest = max(abs(found - OFFSET - 1 - label) for found, label in zip(sums, facts[2], strict=True))
        iterations += 1
    tables = torch.cat([one, other]).numpy()
    height = 2 * np.abs(tables).max()
    places = np.arange(1, LABELS + 1)
    w_out = np.vstack([np.tile(places, (HIDDEN - 1, 1)), -(places * OFFSET + places**2 / 2) / height])

    found = stored(facts, seed=seed, max_iterations=max_iterations)
    assert found.iterations == iterations
    assert found.w_in_DF.numpy() == pytest.approx(np.hstack([tables, np.full((2 * TOKENS, 1), height / 2)]), rel=1e-6)
    assert found.w_out_FE.numpy() == pytest.approx(w_out, rel=1e-6)
    right = [label == min(max(round(s - OFFSET - 1), 0), LABELS - 1) for s, label in zip(sums, facts[2], strict=True)]
    assert found.accuracy == pytest.approx(np.mean(right), abs=1e-12)
    assert (found.accuracy == 1) == (iterations < max_iterations)
