"""Sparse keys and their number by enumeration, the search, and what the page says of either outcome."""

from itertools import product

import pytest
import torch

from retromem.panels.points import Point
from retromem.panels.theory.key_sparsity import ORTHOGONAL, KeySparsityConfig
from retromem.panels.theory.key_sparsity_points import key_sparsity_points, log2_distinct_keys, sparse_keys

TINY = KeySparsityConfig(dim=6, nonzeros=(1, 2, 6), num_values=3, resolution=0.2, steps=40, seeds=(0, 1))


@pytest.mark.parametrize("nonzero", [1, 2, 3, 4])
def test_the_number_of_keys_is_that_of_an_enumeration(nonzero):
    signs = [key for key in product((-1, 0, 1), repeat=4) if sum(map(abs, key)) == nonzero]
    assert 2 ** log2_distinct_keys(4, nonzero) == pytest.approx(len(signs))
    # All of them can be drawn, none twice.
    keys_ND = sparse_keys(len(signs), 4, nonzero, seed=0)
    drawn = {tuple(key) for key in keys_ND.sign().int().tolist()}
    assert drawn == set(signs)


def test_keys_have_unit_length_are_nested_and_follow_the_seed():
    keys_ND = sparse_keys(50, 16, 4, seed=3)
    assert torch.allclose(keys_ND.norm(dim=1), torch.ones(50))
    assert (keys_ND != 0).sum(1).tolist() == [4] * 50
    assert torch.equal(sparse_keys(20, 16, 4, seed=3), keys_ND[:20])
    assert not torch.equal(sparse_keys(50, 16, 4, seed=4), keys_ND)


def test_keys_that_cannot_be_or_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match=r"nonzeros must lie between 1 and dim \(6\), not \[7\]"):
        KeySparsityConfig(dim=6, nonzeros=(7,))
    with pytest.raises(ValueError, match=r"two numbers above 1 to be compared, not \[1, 6\]"):
        KeySparsityConfig(dim=6, nonzeros=(1, 6))


def test_a_tiny_measurement_stays_below_the_number_of_keys():
    points = key_sparsity_points(TINY, 0)
    facts = {(p.series, p.x): p.y for p in points if p.quantity == "facts" and p.seed == 0}
    assert len(facts) == 4 * 3
    assert all(1 <= y <= 2 ** log2_distinct_keys(6, int(x)) + 1e-6 for (_, x), y in facts.items())
    # Two orthogonal keys and their negatives: a matrix can answer at least the d orthogonal ones.
    assert facts["least squares", 6.0] >= 3
    lines = {(p.series, p.x): p.y for p in points if p.quantity == "log2_facts" and p.seed is None}
    assert lines["2^d", 2.0] == 6 and lines["keys there are", 2.0] == pytest.approx(log2_distinct_keys(6, 2))
    assert {p.y for p in points if (p.quantity, p.series) == ("facts", ORTHOGONAL)} == {6.0}
    assert "Facts stored with keys of k of 6 entries" in TINY.page(points).finding


def synthetic(sparse, dense):
    return [
        Point(quantity=quantity, series="trained matrix", x=x, y=y, seed=seed)
        for seed in (0, 1)
        for quantity in ("facts", "log2_facts")
        for x, y in ((1.0, 12.0), (2.0, sparse + seed), (6.0, dense + seed))
    ]


@pytest.mark.parametrize(
    ("sparse", "dense", "said"),
    [
        (40.0, 20.0, "more: trained matrix (1.98 times)"),
        (10.0, 20.0, "fewer: trained matrix (0.512 times)"),
        (20.0, 20.5, "as many (as far as can be told): trained matrix"),
    ],
)
def test_the_finding_follows_the_points(sparse, dense, said):
    finding = TINY.page(synthetic(sparse, dense)).finding
    assert finding.endswith(f"Stored at k = 2 beside k = 6, {said}." if "times" in said else "(0.976 times).")
    assert said in finding
    word, _, series = said.partition(": ")
    assert f"{word} facts are stored by {series.partition(' (')[0]}" in TINY.page(synthetic(sparse, dense)).answer
    assert "More than d = 6 facts are stored at every k for trained matrix, at no k for none, and at most 2^" in finding
    assert "at every k for none, at no k for none" in TINY.page(synthetic(5.0, dense)).finding
    assert "at every k for none, at no k for trained matrix" in TINY.page(synthetic(5.0, 4.0)).finding
