"""Triggers, purity and agreement against brute force in Python; nulls on random labels; rotations of the layer."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.diagnostics.key_value_neurons import (
    Triggers,
    key_value_agreement,
    random_rotation,
    rotated,
    top_triggers,
    trigger_purity,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def everywhere(facts, values):
    return torch.zeros(facts, dtype=torch.int64), torch.full((facts,), values)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    facts=st.integers(1, 60),
    units=st.integers(1, 8),
    kept=st.integers(1, 12),
    block_rows=st.sampled_from([1, 5, 99]),
)
def test_streamed_triggers_are_those_of_a_sort(seed, facts, units, kept, block_rows):
    h = torch.randn(facts, units, generator=seeded(seed))
    triggers = top_triggers(iter(h.split(block_rows)), num_triggers=kept)
    for unit in range(units):
        order = sorted(range(facts), key=lambda fact: -float(h[fact, unit]))[:kept]
        assert triggers.activations_FK[unit].tolist() == h[order, unit].tolist()
        assert triggers.fact_ids_FK[unit].tolist() == [fact if h[fact, unit] > 0 else -1 for fact in order]


def brute_purity(triggers, labels):
    shares = []
    for row in triggers.fact_ids_FK.tolist():
        found = [int(labels[fact]) for fact in row if fact >= 0]
        if found:
            shares.append(Counter(found).most_common(1)[0][1] / len(found))
    return np.mean(shares)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), values=st.integers(2, 6))
def test_purity_is_the_share_of_the_most_common_value(seed, values):
    generator = seeded(seed)
    h = torch.randn(40, 6, generator=generator) - torch.tensor([0.0, 0.0, 0.0, 1.5, 2.0, 99.0])
    labels = torch.randint(values, (40,), generator=generator)
    triggers = top_triggers([h], num_triggers=7)
    found = trigger_purity(triggers, labels, permutations=3, generator=seeded(seed + 1))
    assert found.observed == pytest.approx(brute_purity(triggers, labels))
    draw = seeded(seed + 1)
    null = [brute_purity(triggers, labels[torch.randperm(40, generator=draw)]) for _ in range(3)]
    assert found.null_P.tolist() == pytest.approx(null)


def test_labels_permuted_within_groups_stay_there() -> None:
    generator = seeded(3)
    groups = torch.randint(3, (60,), generator=generator)
    labels = 4 * groups + torch.randint(4, (60,), generator=generator)  # that of a fact tells its group
    h = torch.nn.functional.one_hot(groups, 3) + torch.rand(60, 3, generator=generator) / 2  # a unit for each group
    triggers = top_triggers([h], num_triggers=8)
    kinds = {"permutations": 200, "generator": generator}
    of_groups = trigger_purity(triggers, groups, groups_N=groups, **kinds)
    assert (of_groups.null_P == of_groups.observed).all() and of_groups.observed == 1
    among_all, within = (trigger_purity(triggers, labels, groups_N=own, **kinds) for own in (None, groups))
    assert float(among_all.null_P.mean()) < float(within.null_P.mean()) - 0.1
    assert abs(z_of(within)) < 3 < z_of(among_all)  # the group is all that its triggers share
    says = torch.zeros(3, 12)
    for group in range(3):
        says[group, 4 * group : 4 * group + 4] = 1  # each row any value of its group
    first, end = everywhere(60, 12)
    agreement = key_value_agreement(triggers, says, labels, first, end, groups_N=groups, **kinds)
    assert abs(z_of(agreement.reciprocal_rank)) < 3
    permuted = key_value_agreement(triggers, says, labels, first, end, **kinds)
    assert float(permuted.reciprocal_rank.null_P.mean()) < float(agreement.reciprocal_rank.null_P.mean()) - 0.1


def brute_agreement(triggers, scores, values, first, end):
    """Share of the first triggers that agree, mean 1 / rank of all."""
    agree, reciprocal = [], []
    for unit, row in enumerate(triggers.fact_ids_FK.tolist()):
        for place, fact in enumerate(row):
            if fact < 0:
                continue
            candidates = range(int(first[fact]), int(end[fact]))
            order = sorted(candidates, key=lambda value: -float(scores[unit, value]))
            reciprocal.append(1 / (1 + order.index(int(values[fact]))))
            if place == 0:
                agree.append(order[0] == int(values[fact]))
    return np.mean(agree), np.mean(reciprocal)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_agreement_ranks_the_value_among_the_candidates_of_its_fact(seed):
    generator = seeded(seed)
    h = torch.randn(30, 5, generator=generator) - torch.tensor([0.0, 0.0, 1.0, 2.0, 99.0])
    # Small integers tie, with each other and in a row of zeros.
    scores = torch.randint(-2, 3, (5, 9), generator=generator).float()
    scores[0] = 0.0
    blocks = torch.tensor([[0, 4], [4, 9], [2, 7]])[torch.randint(3, (30,), generator=generator)]
    first, end = blocks.unbind(1)
    values = first + torch.randint(4, (30,), generator=generator)
    triggers = top_triggers([h], num_triggers=6)
    found = key_value_agreement(triggers, scores, values, first, end, permutations=2, generator=seeded(seed + 1))
    observed = brute_agreement(triggers, scores, values, first, end)
    assert (found.top.observed, found.reciprocal_rank.observed) == pytest.approx(observed)
    draw = seeded(seed + 1)
    for number in range(2):
        order = torch.randperm(30, generator=draw)
        null = brute_agreement(triggers, scores, values[order], first[order], end[order])
        assert (float(found.top.null_P[number]), float(found.reciprocal_rank.null_P[number])) == pytest.approx(null)


def z_of(found):
    """Standard deviations of the null above its mean."""
    return float((found.observed - found.null_P.mean()) / found.null_P.std())


def p_of(found):
    """One-sided, at least 1 / (P + 1) (Phipson & Smyth 2010)."""
    return float(1 + (found.null_P >= found.observed).sum()) / (1 + len(found.null_P))


def test_random_labels_are_as_pure_and_agree_as_often_as_the_null():
    z, p = [], []
    for seed in range(30):
        generator = seeded(seed)
        triggers = top_triggers([torch.randn(300, 40, generator=generator)], num_triggers=8)
        values = torch.randint(5, (300,), generator=generator)
        scores = torch.randn(40, 5, generator=generator)
        purity = trigger_purity(triggers, values, permutations=60, generator=generator)
        agreement = key_value_agreement(
            triggers, scores, values, *everywhere(300, 5), permutations=60, generator=generator
        )
        z.append([z_of(found) for found in (purity, agreement.top, agreement.reciprocal_rank)])
        p.append([p_of(found) for found in (purity, agreement.top, agreement.reciprocal_rank)])
        assert agreement.top.null_mean == pytest.approx(1 / 5, abs=0.05)
    # Mean of 30 standard scores: standard deviation 0.18; spread near 1, p near uniform.
    assert np.abs(np.mean(z, axis=0)).max() < 0.6
    assert np.std(z, axis=0).min() > 0.6 and np.std(z, axis=0).max() < 1.5
    assert np.mean(p, axis=0).min() > 0.35 and np.mean(p, axis=0).max() < 0.65


def test_a_memory_of_one_value_a_unit_is_pure_agrees_and_loses_both_when_rotated():
    values = torch.arange(8).repeat_interleave(50)
    strength = 1 + torch.rand(400, 1, generator=seeded())
    h, w_out = torch.eye(8)[values] * strength, torch.eye(8)

    def read(h, w_out):
        triggers = top_triggers(h.split(64), num_triggers=20)
        purity = trigger_purity(triggers, values, permutations=50, generator=seeded(1))
        agreement = key_value_agreement(
            triggers, w_out, values, *everywhere(400, 8), permutations=50, generator=seeded(1)
        )
        return purity, agreement.top

    purity, top = read(h, w_out)
    assert (purity.observed, top.observed) == (1.0, 1.0)
    assert p_of(purity) == p_of(top) == pytest.approx(1 / 51)
    assert z_of(purity) > 20 and z_of(top) > 4
    # Groups of two values: as pure; the labels of one group say nothing at all.
    triggers = top_triggers([h], num_triggers=20)
    assert trigger_purity(triggers, values // 2, permutations=5, generator=seeded()).observed == 1.0
    same = trigger_purity(triggers, torch.zeros_like(values), permutations=5, generator=seeded())
    assert (same.observed, same.null_mean, p_of(same)) == (1.0, 1.0, 1.0)
    turned_purity, _ = read(*rotated(h, w_out, random_rotation(8, generator=seeded(3))))
    assert turned_purity.observed < 0.95


def test_units_without_triggers_do_not_count():
    triggers = Triggers(
        activations_FK=torch.tensor([[2.0, 1.0], [0.0, -1.0], [1.0, 0.0]]),
        fact_ids_FK=torch.tensor([[0, 1], [-1, -1], [2, -1]]),
    )
    values = torch.tensor([0, 1, 1])
    assert trigger_purity(triggers, values, permutations=1, generator=seeded()).observed == pytest.approx(0.75)
    scores = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found = key_value_agreement(triggers, scores, values, *everywhere(3, 2), permutations=1, generator=seeded())
    assert found.top.observed == pytest.approx(1 / 2)
    assert found.reciprocal_rank.observed == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)


def test_a_rotated_layer_has_the_same_outputs_and_other_units():
    h, w_out = torch.randn(20, 12, generator=seeded()), torch.randn(12, 5, generator=seeded(1))
    q = random_rotation(12, generator=seeded(2))
    assert torch.allclose(q @ q.T, torch.eye(12), atol=1e-5)
    turned, turned_out = rotated(h, w_out, q)
    assert torch.allclose(turned @ turned_out, h @ w_out, atol=1e-4)
    assert float((turned - h).abs().mean()) > 0.5
    assert torch.equal(q, random_rotation(12, generator=seeded(2)))
    # Uniform over the rotations: any entry has mean 0 (QR without its signs fixed has not, on the diagonal).
    draw = seeded(4)
    diagonals = torch.stack([random_rotation(3, generator=draw).diagonal() for _ in range(400)])
    assert float(diagonals.mean(0).abs().max()) < 4 * (1 / 3 / 400) ** 0.5
