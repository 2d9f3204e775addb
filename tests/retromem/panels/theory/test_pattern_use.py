"""Binarised activations and unseen patterns: hand-made FFNs, planted gaps, and the page whichever way they fall."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom

from models.ffn import DenseFFN
from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retrieval.errors import UserError
from retromem.knowledge.text_keys import Template
from retromem.measure.trained_ffn import KeyTable
from retromem.panels.point_spread import spread_at
from retromem.panels.points import Point
from retromem.panels.theory.pattern_use import UNTRAINED, PatternUseConfig
from retromem.panels.theory.pattern_use_points import binarised_accuracies, gap_beside_null, noisy
from retromem.report.panel_figures import draw_panel
from retromem.report.panel_page import Panel


def identity_ffn() -> DenseFFN:
    ffn = DenseConfig(kind="relu", width=2).build(2, 2, generator=torch.Generator().manual_seed(0))
    assert isinstance(ffn, DenseFFN)
    with torch.no_grad():
        ffn.w_in_DF.copy_(torch.eye(2))
        ffn.w_out_FE.copy_(torch.eye(2))
    return ffn


@pytest.mark.parametrize(
    ("keys", "binarised"),
    [([[1.0, -0.2], [-0.2, 1.0]], 1.0), ([[1.0, 0.2], [0.2, 1.0]], 0.5)],
    ids=["a unit a fact", "told apart by magnitude"],
)
def test_binarising_costs_what_magnitudes_told_apart(keys: list[list[float]], binarised: float) -> None:
    table = KeyTable(keys_ND=torch.tensor(keys), value_ids_N=torch.tensor([0, 1]), codes_VE=torch.eye(2))
    found = binarised_accuracies(identity_ffn(), table, TrainingBudget(steps=500), seed=0)
    assert found == {"as they are": 1.0, "binarised": binarised, "binarised, read-out trained anew": binarised}


def test_a_read_out_trained_anew_finds_what_the_patterns_still_say() -> None:
    ffn = identity_ffn()
    with torch.no_grad():  # the mean of the first unit, 1.55, outweighs what tells the second fact
        ffn.w_out_FE.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.1]]))
    keys_ND = torch.tensor([[3.0, -1.0], [0.1, 1.0]])
    table = KeyTable(keys_ND=keys_ND, value_ids_N=torch.tensor([0, 1]), codes_VE=torch.eye(2))
    found = binarised_accuracies(ffn, table, TrainingBudget(steps=500), seed=0)
    assert found == {"as they are": 1.0, "binarised": 0.5, "binarised, read-out trained anew": 1.0}


def test_noise_has_the_length_that_is_asked_for() -> None:
    keys_QD = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    moved_QD = noisy(keys_QD, 0.3, seed=1) - keys_QD
    torch.testing.assert_close(moved_QD.norm(dim=1), 0.3 * keys_QD.norm(dim=1))
    assert not torch.equal(noisy(keys_QD, 0.3, seed=2), noisy(keys_QD, 0.3, seed=1))


def tenths(nearness_Q: np.ndarray) -> np.ndarray:
    found: np.ndarray = nearness_Q.argsort().argsort() * 10 // len(nearness_Q)
    return found


def test_a_gap_that_nearness_makes_is_within_its_null_and_another_is_beyond() -> None:
    rng = np.random.default_rng(0)
    nearness_Q = rng.random(4000)
    seen_Q, right_Q = rng.random(4000) < nearness_Q, rng.random(4000) < nearness_Q
    by_nearness = gap_beside_null(seen_Q, right_Q, tenths(nearness_Q), seed=0)
    # The mean of x^2 over x, less that of x (1 - x) over 1 - x.
    assert by_nearness.gap == pytest.approx(1 / 3, abs=0.05)
    assert by_nearness.null_low <= by_nearness.gap <= by_nearness.null_high
    by_pattern = gap_beside_null(seen_Q, seen_Q, tenths(nearness_Q), seed=0)
    assert by_pattern.gap == 1.0 > by_pattern.null_high


def test_the_null_of_questions_that_are_all_alike_is_hypergeometric() -> None:
    """100 of 400 seen, half of all right: 95 % of the gaps lie within 1.96 deviations, as far as 200 deals can tell."""
    seen_Q, right_Q = np.arange(400) < 100, np.arange(400) % 2 == 0
    deviation = hypergeom(400, 200, 100).std() * (1 / 100 + 1 / 300)
    found = [gap_beside_null(seen_Q, right_Q, np.zeros(400), seed=seed) for seed in range(10)]
    assert {one.gap for one in found} == {0.0}
    widths = [(one.null_high - one.null_low) / 2 / deviation for one in found]
    assert np.mean(widths) == pytest.approx(1.96, abs=0.12)


def test_a_gap_that_comes_from_facts_is_within_its_null() -> None:
    """Facts with stable patterns that are robust too: between facts the gap is large, within one there is none."""
    rng = np.random.default_rng(0)
    fact_Q = np.repeat(np.arange(200), 20)
    stable_Q = rng.random(200)[fact_Q]
    seen_Q, right_Q = rng.random(4000) < stable_Q, rng.random(4000) < stable_Q
    of_facts = gap_beside_null(seen_Q, right_Q, fact_Q, seed=0)
    assert of_facts.gap > 0.25 and of_facts.null_low <= of_facts.gap <= of_facts.null_high
    without = gap_beside_null(seen_Q, right_Q, np.zeros(4000), seed=0)
    assert without.gap == of_facts.gap > without.null_high


class NameKeys:
    """The key of a question is that of the name in it, and a little of its wording."""

    encoder_hash = "names"

    def keys(self, texts: Sequence[str], templates: Sequence[Template]) -> np.ndarray:
        rows = []
        for text, template in zip(texts, templates, strict=True):
            before, after = template.text.split("{subject}")
            rows.append(_vector(text[len(before) : len(text) - len(after)]) + 0.5 * _vector(text))
        keys_QD = np.array(rows)
        unit_QD: np.ndarray = (keys_QD / np.linalg.norm(keys_QD, axis=1, keepdims=True)).astype(np.float32)
        return unit_QD


def _vector(text: str) -> np.ndarray:
    return np.random.default_rng(list(hashlib.sha256(text.encode()).digest())).standard_normal(12)


TINY = PatternUseConfig(
    dim=4,
    width=6,
    num_values=4,
    loads=(0.5,),
    noises=(0.3,),
    num_noisy=10,
    num_cities=60,
    text_widths=(4,),
    text_code_dim=8,
    steps=200,
    seeds=(0,),
)


def test_random_facts_and_cities_are_measured_and_drawn() -> None:
    points = TINY.measure(0, lambda knowledge: knowledge.with_keys(NameKeys()))
    capacity = spread_at(points, "capacity_facts", "ReLU")
    assert capacity is not None and capacity.median > 4
    untrained = spread_at(points, "unseen_share", "noise 0.3", 0.5, **UNTRAINED)
    assert untrained is not None and 0 < untrained.median < 1
    for quantity, series, x in (("accuracy", "as they are", 0.5), ("heldout", "right, written wording", 4.0)):
        found = spread_at(points, quantity, series, x)
        assert found is not None and 0 < found.median <= 1
    page = TINY.page(points)
    assert draw_panel(Panel(name="p", page=page, points=points)).alt.startswith("Activation patterns")


def test_more_cities_than_two_seeds_can_have_of_their_own_are_refused() -> None:
    with pytest.raises(UserError, match="num_cities must be 15,408 or less"):
        replace(TINY, num_cities=15_409).text_sets(0)


def test_each_seed_has_cities_of_its_own_and_its_own_labels() -> None:
    (first,), (second,) = TINY.text_sets(0), TINY.text_sets(1)
    assert first.is_twin and len(first.facts().cues) == 1
    shared = set(first.rows_N.tolist()) & set(second.rows_N.tolist())
    assert 50 <= first.num_facts <= 70 and len(shared) < 10


@pytest.mark.parametrize(
    ("gap", "low", "high", "said"),
    [
        (0.2, -0.05, 0.05, "seen patterns above unseen ones by 20.0 points (beyond the null, -5.0 to 5.0)"),
        (0.02, -0.05, 0.05, "seen patterns above unseen ones by 2.0 points (within the null, -5.0 to 5.0)"),
        (-0.1, -0.05, 0.05, "seen patterns below unseen ones by 10.0 points (beyond the null, -5.0 to 5.0)"),
    ],
)
def test_the_finding_weighs_the_gap_against_its_null(gap: float, low: float, high: float, said: str) -> None:
    points = [
        Point(quantity="accuracy", series=series, x=0.5, y=y, seed=0)
        for series, y in (("as they are", 1.0), ("binarised", 0.25), ("binarised, read-out trained anew", 0.75))
    ]
    for series, x in (("noise 0.3", 0.5), ("held-out wording", 4.0)):
        numbers = {"unseen_share": 0.5, "in_seen": 0.5 + gap, "in_unseen": 0.5, "gap": gap, "null_low": low}
        for quantity, y in {**numbers, "null_high": high}.items():
            points.append(Point(quantity=quantity, series=series, x=x, y=y, seed=0))
    points += [
        Point(quantity="unseen_share", series="noise 0.3", labels=UNTRAINED, x=0.5, y=0.4),
        Point(quantity="heldout", series="in a pattern never seen", x=4.0, y=0.5, seed=0),
    ]
    untrained = Point(quantity="unseen_share", series="held-out wording", labels=UNTRAINED, x=4.0, y=0.4, seed=0)
    points.append(untrained)
    assert "patterns alone give 25 % of the answers (75 % with a read-out made for them)" in TINY.page(points).answer
    finding = TINY.page(points).finding
    assert finding.count(said) == 2  # noise, and held-out wordings
    assert "50 % fall into patterns never seen in writing, with 4 units, and 50 % of those are answered" in finding
    assert "25 % of the answers are right, where 100 % were (75 % with a read-out trained anew)" in finding
    without = [point for point in points if point.quantity not in ("gap", "null_low", "null_high")]
    assert TINY.page(without).finding.endswith("of those are answered right.")
    assert "too few on one side to compare" in TINY.page(without).finding
