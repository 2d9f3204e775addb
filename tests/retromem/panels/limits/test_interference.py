"""Interference: groups, gradients, routing and bits against brute force, and the page that follows the points."""

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from models.any_ffn import sized
from models.ffn_kinds import DenseConfig, LinearConfig
from models.key_value_training import KeyValueData, fit
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import KeyTable, accuracy, random_table, stored_bits, train
from retromem.panels.limits.interference import CHANCE, INDEX, InterferenceConfig
from retromem.panels.limits.interference_points import (
    WatchedModule,
    interference_points,
    nearest_key_accuracy,
    part,
    purity,
    two_groups,
)
from retromem.panels.points import Point
from retromem.report.panel_figures import draw_panel
from retromem.report.panel_page import Panel


def test_groups_stand_apart_by_their_own_directions() -> None:
    # Two keys of a group share offset^2 of 1 + offset^2; keys of two groups share nothing.
    table, in_a_N = two_groups(400, 1.0, seed=0)
    assert len(table.keys_ND) == 800 and int(in_a_N.sum()) == 400
    assert torch.allclose(table.keys_ND.norm(dim=1), torch.ones(800))
    of_a, of_b = part(table, in_a_N), part(table, ~in_a_N)
    within, between = of_a.keys_ND @ of_a.keys_ND.T, of_a.keys_ND @ of_b.keys_ND.T
    assert float(within.fill_diagonal_(0).sum() / (400 * 399)) == pytest.approx(0.5, abs=0.03)
    assert float(between.mean()) == pytest.approx(0.0, abs=0.03)
    mixed, in_a_N = two_groups(400, 0.0, seed=0)
    within = part(mixed, in_a_N).keys_ND @ part(mixed, in_a_N).keys_ND.T
    assert float(within.fill_diagonal_(0).sum() / (400 * 399)) == pytest.approx(0.0, abs=0.01)
    assert not torch.equal(two_groups(400, 1.0, seed=1)[0].value_ids_N, table.value_ids_N)


def test_purity_is_the_share_of_each_slots_main_group() -> None:
    counts_A, counts_B = torch.tensor([5, 1, 0, 2]), torch.tensor([1, 1, 3, 0])
    facts = [(slot, group) for slot in range(4) for group, counts in enumerate((counts_A, counts_B)) for _ in
             range(int(counts[slot]))]  # fmt: skip
    of_main = 0
    for slot in range(4):
        groups = [group for at, group in facts if at == slot]
        of_main += max(groups.count(0), groups.count(1))
    assert purity(counts_A, counts_B) == pytest.approx(of_main / len(facts))


def test_the_index_answers_the_value_of_the_nearest_key() -> None:
    keys_ND = torch.eye(3)
    stored = KeyTable(keys_ND=keys_ND, value_ids_N=torch.tensor([0, 1, 2]), codes_VE=torch.eye(3))
    asked = KeyTable(
        keys_ND=torch.tensor([[0.9, 0.1, 0.0], [0.6, 0.8, 0.0]]), value_ids_N=torch.tensor([0, 0]), codes_VE=keys_ND
    )
    assert nearest_key_accuracy(stored, asked) == 0.5


def test_gradient_cosines_are_those_of_the_two_losses_and_disturb_nothing() -> None:
    table = random_table(40, 8, 4, seed=3)
    budget = TrainingBudget(steps=150, full_batch_up_to=40, goal_nats=0.0)
    ffn = LinearConfig().build(8, 8, generator=torch.Generator().manual_seed(10_003))
    by_hand = []
    for rows in (slice(0, 15), slice(15, 40)):
        weights = ffn.state_dict()["w_DE"].clone().requires_grad_()
        logits = table.keys_ND[rows] @ weights @ table.codes_VE.T
        (gradient,) = torch.autograd.grad(functional.cross_entropy(logits, table.value_ids_N[rows]), weights)
        by_hand.append(gradient.flatten())
    expected = float(by_hand[0] @ by_hand[1] / by_hand[0].norm() / by_hand[1].norm())

    data = KeyValueData.of_one_relation(table.keys_ND, table.value_ids_N, 4)
    module = WatchedModule(ffn, data, table.codes_VE, budget, generator=torch.Generator())
    module.watch({"halves": (torch.arange(15), torch.arange(15, 40))})
    fit(module, accelerator="cpu")
    assert len(module.cosines["halves"]) == 2  # before steps 1 and 101
    assert module.cosines["halves"][0] == pytest.approx(expected, abs=1e-5)
    unwatched = train(LinearConfig(), table, budget, seed=3)
    assert torch.equal(ffn.state_dict()["w_DE"], unwatched.state_dict()["w_DE"])


def test_bits_are_those_of_the_facts_when_stored_and_none_by_chance() -> None:
    table = random_table(200, 16, 16, seed=0)
    stored = train(DenseConfig(kind="gelu", width=32), table, TrainingBudget(steps=600), seed=0)
    assert accuracy(stored, table) == 1
    assert 0.98 * 4 * 200 < stored_bits(stored, table) <= 4 * 200
    others = replace(table, value_ids_N=torch.randint(16, (200,), generator=torch.Generator().manual_seed(9)))
    assert stored_bits(stored, others) < 0.1 * 4 * 200


def page_points(after: Mapping[str, tuple[float, float]]) -> list[Point]:
    points = []
    for quantity in ("accuracy_after", "accuracy_rewritten"):
        points.append(Point(quantity=quantity, series=CHANCE, x=1.0, y=1 / 16))
        points += [Point(quantity=quantity, series=INDEX, x=1.0, y=1.0, seed=seed) for seed in (0, 1)]
        for kind, of_seeds in after.items():
            points += [Point(quantity=quantity, series=kind, x=1.0, y=y, seed=seed) for seed, y in enumerate(of_seeds)]
    for quantity, y in (("purity", 0.8), ("purity_permuted", 0.52)):
        points.append(Point(quantity=quantity, series="8 experts, top-2", x=1.0, y=y, seed=0))
    return points


def test_the_finding_names_the_winner_only_where_the_seeds_agree() -> None:
    config = InterferenceConfig(offsets=(1.0,))
    clear = config.page(page_points({"dense GELU": (0.1, 0.12), "8 experts, top-2": (0.5, 0.6)})).finding
    assert "written after A, 11 % (dense GELU) to 55 % (8 experts, top-2) of A is still right" in clear
    assert "by chance 6.2 %, of the index 100 % (8 experts, top-2 forgets least)" in clear
    assert "80 % in 8 experts, top-2 (permuted 52 %)" in clear
    unclear = config.page(page_points({"dense GELU": (0.1, 0.4), "8 experts, top-2": (0.3, 0.1)})).finding
    answer = config.page(page_points({"dense GELU": (0.1, 0.12), "8 experts, top-2": (0.5, 0.6)})).answer
    assert (
        "leave 11 % to 55 % of the old ones right in FFNs, where guessing gives 6.2 %, and 100 % in an index" in answer
    )
    assert "covers the difference between dense GELU and 8 experts, top-2" in unclear and "least" not in unclear


@pytest.mark.slow
def test_every_kind_is_measured_beside_an_index_that_forgets_nothing() -> None:
    config = InterferenceConfig(num_params=560, steps=60, offsets=(1.0,), seeds=(0,))
    points = interference_points(config, 0)
    found = {(point.quantity, point.series): point.y for point in points}
    kinds = {series for quantity, series in found if quantity == "cosine"}
    assert len(kinds) == 4
    # 1,120 numbers of 32 units hold 2.12 bits each: nine tenths of that, four bits a fact, two groups.
    gelu = sized(DenseConfig(kind="gelu"), 560, 16, 16).num_params(16, 16)
    assert found["facts_a_group", "dense GELU"] == found["facts_a_group", INDEX] == int(0.9 * 2.12 * gelu / 4 / 2)
    for kind in kinds:
        assert found["accuracy_after", kind] < found["accuracy_alone", kind] <= 1
        assert found["bits_lost", kind] <= math.log2(16)
        assert abs(found["cosine", kind]) <= 1 and abs(found["cosine_permuted", kind]) <= 1
    for kind in ("8 experts, top-2", "product keys"):
        assert 0.5 <= found["purity_permuted", kind] <= 1 and 0 < found["slots_used", kind] <= 1
    assert ("purity", "SwiGLU") not in found
    assert found["accuracy_after", INDEX] == found["accuracy_beside", INDEX] == 1 and found["bits_lost", INDEX] == 0
    assert draw_panel(Panel(name="i", page=config.page(points), points=points)).svg
