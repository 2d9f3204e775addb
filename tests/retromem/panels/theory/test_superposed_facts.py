"""Overlaps by hand, the null of random directions against a draw, and both verdicts of the page."""

import math

import pytest
import torch

from retromem.panels.points import Point
from retromem.panels.theory.superposed_facts import (
    LEAST_SQUARES,
    NEAR_ORTHOGONAL,
    OUTPUTS,
    OWN_READ_OUT,
    RANDOM,
    RANDOM_READ,
    TRAINED,
    UNTRAINED,
    SuperposedFactsConfig,
)
from retromem.panels.theory.superposed_facts_points import centred, cosines, superposed_facts_points

TINY = SuperposedFactsConfig(dim=8, hidden=8, loads=(0.3, 2.0), steps=600, seeds=(0,))


def test_cosines_of_rows_by_hand():
    rows = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 3.0]])
    root = math.sqrt(0.5)
    assert cosines(rows) == pytest.approx(((0 + root + root) / 3, root))
    assert cosines(torch.tensor([[1.0, 1.0], [-2.0, -2.0]])) == pytest.approx((1.0, 1.0))
    assert torch.equal(centred(torch.tensor([[1.0, 4.0], [3.0, 0.0]])), torch.tensor([[-1.0, 2.0], [1.0, -2.0]]))


@pytest.fixture(scope="module")
def points():
    return superposed_facts_points(TINY, 0)


def at(points, quantity, series):
    return {p.x: p.y for p in points if (p.quantity, p.series) == (quantity, series)}


def test_the_null_is_what_random_directions_have(points):
    generator = torch.Generator().manual_seed(0)
    for num_facts, formula in at(points, "largest_cosine", RANDOM).items():
        drawn = [cosines(torch.randn(int(num_facts), 8, generator=generator)) for _ in range(200)]
        assert sum(largest for _, largest in drawn) / 200 == pytest.approx(formula, abs=0.02)
        mean = at(points, "mean_cosine", RANDOM)[num_facts]
        assert sum(mean for mean, _ in drawn) / 200 == pytest.approx(mean, abs=0.01)
        assert (
            at(points, "largest_cosine", TRAINED)[num_facts] >= at(points, "largest_cosine", "Welch bound")[num_facts]
        )


def test_few_facts_are_stored_and_many_are_not(points):
    few, many = at(points, "accuracy", OWN_READ_OUT).values()
    assert few == 1 and many < 0.99
    for series in (NEAR_ORTHOGONAL, RANDOM_READ, LEAST_SQUARES):
        assert set(at(points, "accuracy", series)) == set(at(points, "accuracy", OWN_READ_OUT))
    assert at(points, "dimensions_per_fact", "hidden dimensions / facts") == {
        num_facts: 8 / num_facts for num_facts in at(points, "accuracy", OWN_READ_OUT)
    }
    finding = TINY.page(points).finding
    stored = min(at(points, "accuracy", OWN_READ_OUT))
    assert finding.startswith(f"{stored:.0f} facts are stored in 8 hidden dimensions")


def synthetic(own, outer):
    points = []
    for x in (20.0, 40.0):
        measured = {
            ("accuracy", OWN_READ_OUT): own,
            ("accuracy", NEAR_ORTHOGONAL): outer,
            ("accuracy", RANDOM_READ): 0.1,
            ("accuracy", LEAST_SQUARES): 0.9,
            ("enough_dimensions", TRAINED): 123.0,
            ("log2_directions_surely", TRAINED): 12.0,
            ("log2_directions_at_most", TRAINED): 20.0,
        }
        for name in (TRAINED, UNTRAINED, OUTPUTS):
            measured |= {("mean_cosine", name): 0.2, ("largest_cosine", name): 0.8}
        formulas = {
            ("mean_cosine", RANDOM): 0.14,
            ("largest_cosine", RANDOM): 0.6,
            ("largest_cosine", "Welch bound"): 0.1,
            ("dimensions_per_fact", "hidden dimensions / facts"): 8 / x,
        }
        points += [Point(quantity=q, series=s, x=x, y=y, seed=0) for (q, s), y in measured.items()]
        points += [Point(quantity=q, series=s, x=x, y=y) for (q, s), y in formulas.items()]
    return points


def test_the_verdict_follows_the_outer_products():
    page = TINY.page(synthetic(1.0, 0.3))
    assert "40 facts are stored in 8 hidden dimensions, 0.200 dimensions a fact" in page.finding
    assert "for a random projection that overlaps no more 123 dimensions are enough" in page.finding
    assert "does so at no load tried (30 % at 40; of random directions 10 %)" in page.finding
    assert page.finding.endswith(
        "more is stored than almost orthogonal directions would keep apart, though 2^12 directions would fit at that "
        "largest overlap."
    )
    assert TINY.page(synthetic(1.0, 1.0)).finding.endswith("40 facts are almost orthogonal in the sense that matters.")
    assert "No load was stored at accuracy 0.99: at 20 facts it was 90 %." in TINY.page(synthetic(0.9, 0.3)).finding
    ((_, lines),) = page.tables[0].blocks
    assert all(len(line) == len(page.tables[0].header) for line in lines) and len(lines) == 2
