"""Chosen keys: an encoder's against numpy, Gaussian ones against their covariance, and each panel with the choice."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from models.ffn_kinds import GatedConfig
from retrieval.encoder_config import EncoderConfig
from retrieval.errors import Refused, UserError
from retromem.configuration import build
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.measure.trained_ffn import random_table, unit_rows
from retromem.panels.limits.architecture import ArchitectureConfig
from retromem.panels.limits.chosen_keys import RANDOM_KEYS, ChosenKeys, shaped
from retromem.panels.limits.interference import InterferenceConfig
from retromem.panels.limits.interference_points import _KINDS, part, two_groups
from retromem.panels.limits.optimisation_gap import OptimisationConfig
from retromem.panels.limits.overload import OverloadConfig
from retromem.panels.limits.overload_points import facts_of
from retromem.panels.limits.ranks_in_training import GIVEN, OWN, RanksInTrainingConfig, gaussian
from retromem.panels.point_spread import spread_at
from retromem.report.panel_figures import draw_panel
from retromem.report.panel_page import Panel
from retromem.run.experiment import ExperimentConfig
from retromem.run.panel_cells import plan_panels

Encoded = Callable[[KnowledgeSet], KnowledgeSet]
TINY: dict[str, Any] = {
    "interference": InterferenceConfig(num_params=512, load=0.3, steps=5, offsets=(0.0,)),
    "optimisation": OptimisationConfig(exposures=(30,), width=8, resolution=0.9, constructions=False),
    "overload": OverloadConfig(loads=(0.5, 1.0), width=6, steps=20),
    "ranks_in_training": RanksInTrainingConfig(dim=4, num_params=96, num_values=4, at_steps=(0, 2)),
    "architecture": ArchitectureConfig(dim=4, num_params=560, num_values=4, depths=(2,), steps=2, resolution=0.9),
}
CITIES = replace(TINY["ranks_in_training"], keys="cities")


def key_of(name: str) -> np.ndarray:
    """What the encoder of these tests makes of any question about a city."""
    key_K = np.random.default_rng(list(name.encode())).standard_normal(64).astype(np.float32)
    return key_K / np.linalg.norm(key_K)


def test_keys_of_cities_are_the_encoders_in_orthogonal_directions(encoded_names: Encoded) -> None:
    keys = CITIES.chosen_keys(4, 0, encoded_names)
    (cities,) = CITIES.text_sets(0)
    own_MK = np.array([key_of(city) for city in cities.subjects])
    assert keys.own_MK is not None and len(own_MK) == CITIES.num_keys
    np.testing.assert_allclose(keys.own_MK.numpy(), own_MK, atol=1e-6)

    # Inner products alone: the sign of a direction is the solver's.
    turn_KD = np.linalg.qr(torch.randn(64, 4, generator=torch.Generator().manual_seed(50_000)).numpy())[0]
    expected_MD = own_MK @ turn_KD / np.linalg.norm(own_MK @ turn_KD, axis=1, keepdims=True)
    given_MD = keys.table(len(own_MK), 4, 4, seed=0).keys_ND
    np.testing.assert_allclose((given_MD @ given_MD.T).numpy(), expected_MD @ expected_MD.T, atol=1e-5)
    whole_MK = CITIES.chosen_keys(64, 0, encoded_names).in_place_of(torch.zeros(len(own_MK), 64))
    np.testing.assert_allclose((whole_MK @ whole_MK.T).numpy(), own_MK @ own_MK.T, atol=1e-5)  # a turn alone
    assert not torch.allclose(CITIES.chosen_keys(4, 1, encoded_names).in_place_of(given_MD), given_MD)
    with pytest.raises(Refused, match="encoder's have 64 dimensions, and 65 are asked for"):
        CITIES.chosen_keys(65, 0, encoded_names)


def test_tables_differ_in_their_keys_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    given_MD = unit_rows(60, 16, generator)
    keys = ChosenKeys(given_MD=given_MD)
    random, plain, chosen = (of(50, 16, 4, seed=2) for of in (random_table, RANDOM_KEYS.table, keys.table))
    assert torch.equal(plain.keys_ND, random.keys_ND) and torch.equal(chosen.keys_ND, given_MD[:50])
    (of_random, _), (of_chosen, _) = two_groups(20, 0.0, seed=2), two_groups(20, 0.0, keys, seed=2)
    assert torch.allclose(of_chosen.keys_ND, given_MD[:40])
    assert not torch.allclose(of_random.keys_ND, of_chosen.keys_ND)
    for one, other in ((random, plain), (random, chosen), (of_random, of_chosen)):
        assert torch.equal(one.value_ids_N, other.value_ids_N) and torch.equal(one.codes_VE, other.codes_VE)
    first, second = facts_of(30, RANDOM_KEYS, seed=2), facts_of(30, keys, seed=2)
    assert np.array_equal(first.value_ids_N, second.value_ids_N)
    np.testing.assert_array_equal(second.facts().cues[0].key_vectors(), given_MD[:30].numpy())
    np.testing.assert_array_equal(
        first.facts().cues[0].key_vectors(),
        keys_set(KeysConfig(dim=16, num_values=16, num_facts=30, seed=2)).facts().cues[0].key_vectors(),
    )
    with pytest.raises(AssertionError, match="num_keys is too small"):
        keys.table(61, 16, 4, seed=2)


def test_gaussian_keys_have_the_mean_and_covariance_of_those_they_are_shaped_like() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn_ND = torch.randn(4000, 8, generator=generator) * torch.linspace(1.5, 0.5, 8)
    keys_ND = torch.nn.functional.normalize(drawn_ND + torch.tensor([1.0, *[0.0] * 7]))
    drawn_ND = shaped(keys_ND, generator)
    assert torch.allclose(drawn_ND.norm(dim=1), torch.ones(4000))
    assert torch.allclose(torch.cov(drawn_ND.T), torch.cov(keys_ND.T), atol=0.03)
    assert torch.allclose(drawn_ND.mean(0), keys_ND.mean(0), atol=0.05) and float(keys_ND.mean(0)[0]) > 0.25
    assert not torch.allclose(drawn_ND, keys_ND, atol=0.5)


@pytest.mark.parametrize("name", TINY)
def test_random_keys_need_no_encoder_and_chosen_ones_the_same_texts_for_every_seed(name: str) -> None:
    random, cities = TINY[name], replace(TINY[name], keys="cities")
    assert not random.text_sets(0)
    cells = plan_panels({"random": random, "cities": cities}, encoder_hash="any", encoder=EncoderConfig())
    assert {(cell.name, cell.encoder_hash) for cell in cells} == {("random", ""), ("cities", "any")}
    (first,), (second,) = cities.text_sets(0), cities.text_sets(1)
    assert first.ask("identical").queries.texts == second.ask("identical").queries.texts
    assert first.num_facts == cities.num_keys and first.phrasings() == ("identical", "seen")  # no text for nothing


@pytest.mark.parametrize("keys", ["cities", "shaped"])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "architecture" else ()) for name in TINY]
)
def test_every_panel_measures_chosen_keys_as_it_does_random_ones(name: str, keys: str, encoded_names: Encoded) -> None:
    random, chosen = TINY[name], replace(TINY[name], keys=keys)
    points = chosen.measure(0, encoded_names)
    of_random, of_chosen = (
        {(point.quantity, point.series, *point.labels.values(), point.x): point.y for point in found}
        for found in (random.measure(0, encoded_names), points)
    )
    series_of_keys = [series for place in (GIVEN, OWN) for series in (place, gaussian(f"keys {place}"))]
    of_keys = {("participation_ratio", series, "keys", None) for series in series_of_keys}
    of_optimisers = {place for place in of_random if place[1] in ("adam", "adamw", "sgd", "muon")}
    more = of_keys if name == "ranks_in_training" else set()
    assert of_chosen.keys() == (of_random.keys() | more) - of_optimisers
    assert any(of_chosen.get(place, y) != y for place, y in of_random.items())
    page = chosen.page(points)
    assert page.title == f"{random.page(points).title}, on {chosen.key_name}"
    assert len(page.explained) == len(random.page(points).explained) + 1
    assert draw_panel(Panel(name="k", page=page, points=points)).svg


def test_constructions_are_compared_on_the_chosen_keys_and_pairs_left_to_the_random_ones() -> None:
    (task, (trained, solved)), *others = OptimisationConfig(keys="cities").tasks.items()
    assert not others and task == "an encoder's keys of cities" and solved != trained
    assert {task: trained for task, (trained, _) in OptimisationConfig().tasks.items()} == {
        "token pairs": "trained ReLU",
        "random keys": "trained SwiGLU",
    }


def test_two_relations_are_asked_of_the_same_cities(encoded_names: Encoded) -> None:
    config = replace(TINY["interference"], keys="relations")
    countries, zones = config.text_sets(0)
    assert countries.subjects == zones.subjects and 2 * len(zones.subjects) >= config.num_keys
    asked = [one.ask("identical").queries.texts for one in (countries, zones)]
    assert all(city in text for texts in asked for city, text in zip(countries.subjects, texts, strict=True))
    assert not set(asked[0]) & set(asked[1])
    # These keys see the name alone: both relations of a city have one key.
    table, in_a_N = two_groups(40, 0.0, config.chosen_keys(16, 0, encoded_names), seed=0)
    assert torch.allclose(part(table, in_a_N).keys_ND, part(table, ~in_a_N).keys_ND, atol=1e-6)
    assert len({round(float(x), 5) for x in part(table, in_a_N).keys_ND[:, 0]}) == 40
    points = config.measure(0, encoded_names)
    assert spread_at(points, "accuracy_after", "index", 0.0) is not None
    page = config.page(points)
    assert "the countries and the time zones of the same cities" in page.explained[0]
    with pytest.raises(UserError, match="'relations' is none of random, cities, shaped"):
        content = {"title": "t", "question": "q", "panels": {"mine": {"panel": "overload", "keys": "relations"}}}
        build(ExperimentConfig, content, source="mine.yaml")


def test_as_many_keys_as_any_table_has_facts() -> None:
    config = InterferenceConfig()
    most = max(bits for _, bits in _KINDS.values())
    assert config.num_keys >= config.load * most * config.num_params / 4
    assert OverloadConfig(loads=(1.0, 2.0)).num_keys == OverloadConfig().num_facts("SwiGLU", 2.0)
    assert RanksInTrainingConfig().num_keys == int(0.9 * 1024 * 2.6 / 4)
    # Searches: to twice what was published, and for constructions to an eighth more than what is expected.
    of_width = GatedConfig(kind="swiglu", width=32, bias=True).num_params(16, 16)
    assert OptimisationConfig().num_keys >= max(2 * 2.74 * 1024 / 4 + 3, 1.12 * 3.07 * of_width / 4)
    assert ArchitectureConfig().num_keys == 2 * 1050 + 3


def test_too_few_cities_are_refused_before_anything_is_encoded() -> None:
    for config in (
        OverloadConfig(keys="cities", loads=(0.5, 200.0)),
        InterferenceConfig(keys="relations", num_params=400_000),
    ):
        with pytest.raises(UserError, match=rf"{config.panel}: keys: {config.keys} has [\d,]+ cities, but facts of"):
            config.text_sets(0)


def test_the_rank_of_keys_is_that_of_their_singular_values(encoded_names: Encoded) -> None:
    points = CITIES.measure(0, encoded_names)
    own_MK = np.array([key_of(city) for city in CITIES.text_sets(0)[0].subjects], dtype=np.float64)
    s = np.linalg.svd(own_MK - own_MK.mean(0), compute_uv=False)
    own = spread_at(points, "participation_ratio", OWN, part="keys")
    assert own is not None and own.median == pytest.approx((s**2).sum() ** 2 / (s**4).sum(), rel=1e-4)
    given = spread_at(points, "participation_ratio", GIVEN, part="keys")
    assert given is not None and 3 < given.median <= 4
    told = CITIES.page(
        [replace(p, y=3.5) if (p.quantity, p.series) == ("participation_ratio", GIVEN) else p for p in points]
    ).finding
    assert "The keys use this many dimensions (participation ratio): 3.50 as given (Gaussian numbers" in told
    assert "The keys use" not in CITIES.page([p for p in points if p.labels != {"part": "keys"}]).finding
