"""k winners of all units are ReLU, null and purity by hand, and what the page says of either outcome."""

import pytest

from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retromem.panels.facts_stored import facts_around, facts_stored
from retromem.panels.points import Point
from retromem.panels.theory.sparse_units import (
    ANNEALED,
    BY_CHANCE,
    LATENTS,
    RELU_UNITS,
    WIDE,
    WIDE_SERIES,
    WINNERS,
    SparseUnitsConfig,
    active,
)
from retromem.panels.theory.sparse_units_points import sparse_units_points

TINY = SparseUnitsConfig(
    dim=6,
    width=8,
    num_values=4,
    active_shares=(1.0, 0.25),
    annealed_shares=(0.25,),
    wide_width=12,
    read_shares=(0.25,),
    active_latents=3,
    autoencoder_steps=40,
    permutations=20,
    resolution=0.1,
    steps=60,
    seeds=(0, 1),
)
KINDS = ("relu_l1", "topk", "jumprelu")


@pytest.fixture(scope="module")
def points():
    return sparse_units_points(TINY, 0)


@pytest.mark.slow
def test_all_units_active_are_the_relu_ffn(points):
    relu = DenseConfig(kind="relu", width=8)
    around = facts_around(relu, 6, 4, 2.0, seed=0)
    facts = facts_stored(relu, around, TrainingBudget(steps=60), seed=0, resolution=0.1)
    bits = {(p.series, p.x): p.y for p in points if p.quantity == "bits_per_param" and p.seed == 0}
    assert bits[WINNERS, 100.0] == pytest.approx(facts * 2 / (8 * 12))
    assert set(bits) == {(WINNERS, 100.0), (WINNERS, 25.0), (ANNEALED, 25.0)} | {(wide, 1.0) for wide in WIDE_SERIES}


def test_units_and_latents_are_read_with_their_null(points):
    read = {(p.name, p.quantity): p.y for p in points}
    winners = "k winners, 25 % active"
    for series in (RELU_UNITS, winners, *(f"autoencoder, {kind}" for kind in KINDS)):
        assert 0 < read[series, "purity_permuted"] <= 1
        assert 0 <= read[series, "above_null"] <= 1 and 0 <= read[series, "accuracy"] <= 1
    assert read[winners, "active"] <= 2
    assert read["autoencoder, topk", "active"] <= 3
    assert all((f"autoencoder, {kind}", "variance_explained") in read for kind in KINDS)
    assert read[BY_CHANCE, "above_null"] == 0.05
    assert TINY.page(points).tables[0].blocks[0][1]


def synthetic(sparse_bits, winner_purity):
    points = []
    for seed in (0, 1):
        for percent, bits in ((100.0, 2.0), (25.0, sparse_bits), (1.0, 0.1)):
            series = WIDE if percent == 1 else WINNERS
            for other in WIDE_SERIES[1:] if percent == 1 else ():
                points.append(Point(quantity="bits_per_param", series=other, x=percent, y=0.2, seed=seed))
            points.append(Point(quantity="bits_per_param", series=series, x=percent, y=bits + 0.01 * seed, seed=seed))
        for series, labels, purity in (
            (RELU_UNITS, {}, 0.2),
            (WINNERS, active(0.25), winner_purity),
            (LATENTS, {"kind": "topk"}, 0.3),
        ):
            read = {
                "purity": purity,
                "purity_permuted": 0.2,
                "above_null": 0.5,
                "facts": 9.0,
                "active": 2.0,
                "dead": 0.0,
            }
            read |= {"accuracy": 0.8 if series == LATENTS else 1.0}
            if series == LATENTS:
                read["variance_explained"] = 0.9
            points += [Point(quantity=of, series=series, labels=labels, y=y, seed=seed) for of, y in read.items()]
    return points


@pytest.mark.parametrize(
    ("bits", "said"),
    [
        (1.0, "less: 1.00 with 25 % active."),
        (3.0, "more: 3.00 with 25 % active"),
        (2.0, "as much, within the seeds: 2.00"),
    ],
)
def test_the_page_says_whether_sparsity_costs_capacity(bits, said):
    page = TINY.page(synthetic(bits, 0.4))
    assert said in page.finding and "(1 of 12 units) a parameter holds 0.105" in page.finding  # 1 % of 12, one at least


def test_the_page_says_what_purity_is_worth():
    finding = TINY.page(synthetic(1.0, 0.4)).finding
    assert "Purity by value: ReLU units 0.200 (permuted 0.200; 50 % of them above chance)" in finding
    assert "k winners, 25 % active 0.400 (permuted 0.200" in finding
    assert "answers 80 % (topk; with its own activations 100 %)" in finding


def test_annealing_counts_where_it_helps():
    helped = [Point(quantity="bits_per_param", series=ANNEALED, x=25.0, y=2.5, seed=seed) for seed in (0, 1)]
    assert "more: 2.50 with 25 % active" in TINY.page([*synthetic(1.0, 0.4), *helped]).finding
