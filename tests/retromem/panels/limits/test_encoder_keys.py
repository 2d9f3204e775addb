"""Limits on an encoder's keys: tables and index against brute force, every quantity, and the page both ways."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retrieval.errors import UserError
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.measure.bits import log2_multinomial
from retromem.measure.trained_ffn import KeyTable, stored_bits, train, unit_rows
from retromem.panels.limits.encoder_facts import LimitFacts, beside, common_values, limit_facts, shaped
from retromem.panels.limits.encoder_keys import (
    CITIES,
    CONSTRUCTED,
    GAUSSIAN,
    INDEX,
    KEYS,
    LIMITS,
    RANDOM,
    SHAPED,
    SWIGLU,
    WRITERS,
    EncoderKeysConfig,
)
from retromem.panels.limits.encoder_keys_points import _Measured
from retromem.panels.limits.interference_points import nearest_key_accuracy
from retromem.panels.point_spread import spread_at
from retromem.panels.points import Point
from retromem.report.panel_figures import draw_panel
from retromem.report.panel_page import Panel

Encoded = Callable[[KnowledgeSet], KnowledgeSet]
TINY = EncoderKeysConfig(
    num_cities=700, num_in_both=300, dim=8, num_values=8, num_params=280, exposures=(30, 120), depths=(2,),
    loads=(0.5, 1.0), steps=120, resolution=1.0, seeds=(0,),
)  # fmt: skip


@pytest.fixture
def facts(encoded_names: Encoded) -> LimitFacts:
    return limit_facts([encoded_names(one) for one in TINY.text_sets(0)], TINY.dim, TINY.num_values, seed=0)


def test_the_most_common_values_are_kept_and_numbered_by_how_often_they_come() -> None:
    value_ids_N = np.array([7, 3, 3, 9, 7, 3, 1])
    kept_M, ids_M = common_values(value_ids_N, 2)
    assert kept_M.tolist() == [0, 1, 2, 4, 5] and ids_M.tolist() == [1, 0, 0, 1, 0]


def test_tables_differ_in_their_keys_alone(facts: LimitFacts) -> None:
    of_cities = facts.tables[CITIES]
    for table in facts.tables.values():
        assert torch.equal(table.value_ids_N, of_cities.value_ids_N) and torch.equal(table.codes_VE, of_cities.codes_VE)
        assert torch.allclose(table.keys_ND.norm(dim=1), torch.ones(len(of_cities.keys_ND)))
        assert table.keys_ND.shape == of_cities.keys_ND.shape
    assert not torch.equal(facts.tables[RANDOM].keys_ND, of_cities.keys_ND)
    # Counted anew from the texts: the cities that were dealt one of the eight most common countries.
    twin = TINY.text_sets(0)[0]
    assert twin.is_twin
    counts = Counter(twin.value_ids_N.tolist()).most_common(TINY.num_values)
    assert torch.bincount(of_cities.value_ids_N).tolist() == [count for _, count in counts]


def test_keys_are_those_of_the_encoder_seen_in_orthogonal_directions(facts: LimitFacts, encoded_names: Encoded) -> None:
    whole = limit_facts([encoded_names(one) for one in TINY.text_sets(0)], 64, TINY.num_values, seed=0)
    kept_N, _ = common_values(TINY.text_sets(0)[0].value_ids_N, TINY.num_values)
    own_ND = whole.encoder_keys_NK[kept_N]
    # In all of its dimensions a turn changes no inner product.
    assert torch.allclose(whole.tables[CITIES].keys_ND @ whole.tables[CITIES].keys_ND.T, own_ND @ own_ND.T, atol=1e-4)
    with pytest.raises(UserError, match="keys have 64 dimensions"):
        limit_facts([encoded_names(one) for one in TINY.text_sets(0)], 65, 8, seed=0)


def test_two_relations_are_of_the_same_subjects(facts: LimitFacts) -> None:
    # These keys see the name alone: both relations of a city have one key.
    of_a, of_b = facts.relations[CITIES]
    assert torch.allclose(of_a.keys_ND, of_b.keys_ND, atol=1e-6) and len(of_a.keys_ND) > 50
    for keys, (first, second) in facts.relations.items():
        assert torch.equal(first.value_ids_N, of_a.value_ids_N) and torch.equal(second.value_ids_N, of_b.value_ids_N)
        assert not torch.equal(first.codes_VE, second.codes_VE)
        assert keys == CITIES or not torch.allclose(first.keys_ND, second.keys_ND)
    both = beside(of_a, of_b, own_codes=True)
    shown = both.codes_VE[both.value_ids_N]
    expected = torch.cat([of_a.codes_VE[of_a.value_ids_N], of_b.codes_VE[of_b.value_ids_N]])
    assert torch.equal(shown, expected)


def test_the_index_is_computed_and_not_assumed() -> None:
    generator = torch.Generator().manual_seed(1)
    codes_VE = unit_rows(3, 4, generator)
    of_a, of_b = (
        KeyTable(
            # Whole numbers: products are exact, so ties go to the first key however they are summed.
            keys_ND=(10 * unit_rows(40, 2, generator)).round(),
            value_ids_N=torch.randint(3, (40,), generator=generator),
            codes_VE=codes_VE,
        )
        for _ in range(2)
    )
    both = beside(of_a, of_b, own_codes=False)
    right = 0
    for key_D, value in zip(of_a.keys_ND, of_a.value_ids_N, strict=True):
        scores = [float(key_D @ other_D) for other_D in both.keys_ND]
        right += int(both.value_ids_N[scores.index(max(scores))]) == int(value)
    assert nearest_key_accuracy(both, of_a) == right / 40 < 1


def test_gaussian_keys_have_the_covariance_of_those_they_are_shaped_like() -> None:
    generator = torch.Generator().manual_seed(0)
    scale_D = torch.linspace(1.5, 0.5, 8)
    keys_ND = torch.nn.functional.normalize(torch.randn(4000, 8, generator=generator) * scale_D)
    drawn_ND = shaped(keys_ND, generator)
    assert torch.allclose(drawn_ND.norm(dim=1), torch.ones(4000))
    assert torch.allclose(torch.cov(drawn_ND.T), torch.cov(keys_ND.T), atol=0.02)
    assert not torch.allclose(drawn_ND, keys_ND, atol=0.5)


def test_bits_of_skewed_values_are_at_most_those_of_their_counts() -> None:
    generator = torch.Generator().manual_seed(0)
    ids_N = torch.tensor([0] * 60 + [1] * 20 + [2] * 10)[torch.randperm(90, generator=generator)]
    table = KeyTable(keys_ND=unit_rows(90, 8, generator), value_ids_N=ids_N, codes_VE=unit_rows(3, 8, generator))
    ffn = train(DenseConfig(kind="gelu", width=32), table, TrainingBudget(steps=600), seed=0)
    demand = log2_multinomial([60, 20, 10])
    assert 0.95 * demand < stored_bits(ffn, table, uniform=False) <= demand
    untrained = DenseConfig(kind="gelu", width=32).build(8, 8, generator=generator)
    assert stored_bits(untrained, table, uniform=False) < 0.2 * demand


def test_texts_are_the_same_for_every_seed_and_values_are_dealt_anew() -> None:
    for one, other in zip(TINY.text_sets(0), TINY.text_sets(1), strict=True):
        assert np.array_equal(one.rows_N, other.rows_N) and not np.array_equal(one.value_ids_N, other.value_ids_N)
    countries, zones = TINY.text_sets(0)
    assert countries.phrasings() == zones.phrasings() == ("identical", "seen")  # and no text that nothing needs
    assert countries.text is not None and zones.text is not None
    named = {countries.text.subjects[row] for row in countries.rows_N[: TINY.num_in_both].tolist()}
    assert {zones.text.subjects[row] for row in zones.rows_N.tolist()} <= named and zones.num_facts > 280


def test_what_a_limit_leaves_is_a_share_of_its_own_points(facts: LimitFacts) -> None:
    small = replace(TINY, num_params=140, exposures=(10, 40), steps=40)
    loaded = replace(TINY, loads=(0.5, 1.0, 3.0))
    found: dict[tuple[str, str, float | None], float] = {}

    def add(quantity: str, series: str, y: float, x: float | None = None) -> None:
        found[quantity.removesuffix("_random"), series, x] = y

    measured = _Measured(small, facts, RANDOM, 0, add)
    left = measured._optimisation()
    assert left == found["exposed", SWIGLU, 40.0] / found["constructed", CONSTRUCTED, None]
    assert found["exposed", SWIGLU, 40.0] > found["exposed", SWIGLU, 10.0] > 0
    left = _Measured(loaded, facts, RANDOM, 0, add)._overload()
    bits = [found["overload", SWIGLU, load] for load in loaded.loads]
    assert left == bits[-1] / max(bits)
    assert measured._ranks() == found["rank", "hidden", None] / found["rank_gaussian", "hidden", None]


@pytest.mark.slow
def test_a_tiny_measurement_has_all_that_the_page_needs(encoded_names: Encoded) -> None:
    points = TINY.measure(0, encoded_names)
    for keys in KEYS:
        for limit in LIMITS:
            left = spread_at(points, f"left_{keys}", limit)
            assert left is not None and left.median >= 0
        for writer in (*WRITERS, INDEX):
            assert spread_at(points, f"beside_{keys}", writer) is not None
        assert spread_at(points, f"after_{keys}", INDEX) == spread_at(points, f"alone_{keys}", INDEX)
        held = spread_at(points, f"exposed_{keys}", SWIGLU, 120.0)
        made = spread_at(points, f"constructed_{keys}", CONSTRUCTED)
        left = spread_at(points, f"left_{keys}", "optimisation")
        assert held and made and left and left.median == pytest.approx(held.median / made.median)
    page = TINY.page(points)
    assert all(len(cells) == len(page.tables[0].header) for _, block in page.tables[0].blocks for cells in block)
    assert draw_panel(Panel(name="e", page=page, points=points)).svg


def page_points(left: Mapping[str, float], capacity: Mapping[str, float]) -> list[Point]:
    """On random keys every limit leaves half; the seeds differ by 2 %."""
    points = []

    def add(quantity: str, series: str, y: float, x: float | None = None) -> None:
        points.extend(
            Point(quantity=quantity, series=series, x=x, y=y * (1 + 0.02 * seed), seed=seed) for seed in (0, 1)
        )

    config = EncoderKeysConfig()
    for keys in KEYS:
        for limit in LIMITS:
            add(f"left_{keys}", limit, left.get(limit, 0.5) if keys == CITIES else 0.5)
        for when in ("alone", "beside", "after"):
            for series in (*WRITERS, INDEX, "chance"):
                add(f"{when}_{keys}", series, 0.5)
                add(f"relation_{when}_{keys}", series, 0.5)
        for name in config.kinds:
            add(f"capacity_{keys}", name, capacity[keys])
        for steps in config.exposures:
            add(f"exposed_{keys}", SWIGLU, 200.0, float(steps))
        add(f"constructed_{keys}", CONSTRUCTED, 300.0)
        for load in config.loads:
            add(f"overload_{keys}", SWIGLU, 2.0, load)
            add(f"overload_right_{keys}", SWIGLU, 0.9, load)
        for part in ("keys", "hidden"):
            add(f"rank_{keys}", part, 20.0)
            add(f"rank_gaussian_{keys}", part, 30.0)
    add(f"capacity_{SHAPED}", SWIGLU, capacity[SHAPED])
    add(f"rank_{SHAPED}", "keys", 20.0)
    for series in (CITIES, GAUSSIAN):
        add("encoder_rank", series, 85.0)
    return points


def test_the_sentences_follow_the_points() -> None:
    config = EncoderKeysConfig()
    same = config.page(page_points({}, {CITIES: 500.0, RANDOM: 500.0, SHAPED: 500.0}))
    assert "holds 505 facts of keys that an encoder gave to cities and 505 facts of random keys" in same.answer
    assert f"leave keys of cities as much under {', '.join(list(LIMITS)[:-1])} and architecture." in same.answer
    assert "no clear difference that a rank could explain" in same.finding
    # The share of two searched numbers must differ by more than both may be off.
    other = config.page(
        page_points(
            {"interference": 0.4, "ranks": 0.6, "optimisation": 0.45}, {CITIES: 400.0, RANDOM: 500.0, SHAPED: 405.0}
        )
    )
    assert (
        "as much under relations, optimisation, overload and architecture, less under interference, more under ranks"
        in (other.answer)
    )
    assert "interference 40.4 % and 50.5 % (less)" in other.finding
    assert "the covariance of the keys explains the difference" in other.finding
    unlike = config.page(page_points({}, {CITIES: 400.0, RANDOM: 500.0, SHAPED: 495.0}))
    assert "the covariance of the keys does not explain the difference" in unlike.finding
    between = config.page(page_points({}, {CITIES: 400.0, RANDOM: 500.0, SHAPED: 448.0}))
    assert "cannot be told" in between.finding
    (table,) = unlike.tables
    lines = {cells[0].text: cells[3].text for _, block in table.blocks for cells in block}
    assert lines["4 blocks, GELU"] == "less" and lines["A after B, SwiGLU"] == "no clear difference"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"num_values": 33}, "num_values must be dim, 32, or fewer"),
        ({"loads": (1.0,)}, "loads must name two or more"),
        ({"num_params": 200}, "parameters at least, more than 200"),
    ],
)
def test_what_cannot_be_measured_is_refused(wrong: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EncoderKeysConfig(**wrong)  # type: ignore[arg-type]
