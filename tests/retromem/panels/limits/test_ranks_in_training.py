"""Ranks along a training: the moments they are read at, brute force, the Gaussian reference, the page both ways."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from models.ffn_kinds import DenseConfig, GatedConfig
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import random_table, train, train_built, weight_generator
from retromem.panels.limits.ranks_in_training import EQUAL_FACTS, KINDS, RanksInTrainingConfig
from retromem.panels.limits.ranks_in_training_points import (
    WatchedFFN,
    gaussian_ranks,
    named_ranks,
    ranks_in_training_points,
    ranks_of_parts,
)
from retromem.panels.point_spread import curve, spread_at
from retromem.panels.points import Point

TINY = RanksInTrainingConfig(dim=4, num_params=96, num_values=4, at_steps=(0, 2, 5))


@pytest.fixture(scope="module")
def points() -> list[Point]:
    return ranks_in_training_points(TINY, 0) + ranks_in_training_points(TINY, 1)


def test_a_watched_ffn_is_looked_at_after_every_step_and_trained_as_ever() -> None:
    table, budget = random_table(20, 4, 4, seed=1), TrainingBudget(steps=7, goal_nats=0.0)
    generator = weight_generator(1)
    ffn = DenseConfig(kind="relu").build(4, 4, generator=generator)
    seen: list[int] = []
    train_built(WatchedFFN(ffn, 7, seen.append), table, budget, generator=generator)
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    expected = train(DenseConfig(kind="relu"), table, budget, seed=1).state_dict()
    for name, weight in ffn.state_dict().items():  # by autograd here, by a step that is written out there
        torch.testing.assert_close(weight, expected[name], rtol=1e-4, atol=1e-5)


def test_ranks_of_the_parts_of_a_gated_ffn_by_brute_force() -> None:
    ffn = GatedConfig(kind="swiglu", width=6).build(4, 5, generator=torch.Generator().manual_seed(0))
    keys_ND = random_table(30, 4, 4, seed=0).keys_ND
    parts = ranks_of_parts(ffn, keys_ND)
    hidden = (torch.nn.functional.silu(keys_ND @ ffn.w_gate_DF) * (keys_ND @ ffn.w_in_DF)).detach().numpy()
    expected = {
        "w_in": ffn.w_in_DF.detach().numpy(),
        "w_gate": ffn.w_gate_DF.detach().numpy(),
        "w_out": ffn.w_out_FE.detach().numpy(),
        "hidden": hidden - hidden.mean(0),
    }
    assert set(parts) == set(expected)
    for name, a in expected.items():
        ranks, shape = parts[name]
        s = np.linalg.svd(a.astype(np.float64), compute_uv=False)
        assert shape == a.shape
        assert dict(named_ranks(ranks)) == pytest.approx(
            {
                "effective": np.exp(entropy(s)),
                "participation_ratio": (s**2).sum() ** 2 / (s**4).sum(),
                "stable": (s**2).sum() / s[0] ** 2,
            },
            rel=1e-4,
        )


def test_gaussian_matrices_have_the_participation_ratio_of_marchenko_and_pastur() -> None:
    # E sum s^2 = I O, E sum s^4 = I O (I + O + 1).
    ranks = gaussian_ranks((60, 40), centred=False)
    assert ranks["participation_ratio"] == pytest.approx(60 * 40 / 101, rel=0.02)
    assert gaussian_ranks((2, 3), centred=True)["participation_ratio"] == pytest.approx(1.0)  # two rows, one difference


def test_every_moment_is_measured_and_the_last_is_the_trained_ffn(points: list[Point]) -> None:
    for kind in KINDS:
        assert list(curve(points, "effective", kind, part="w_in")) == [2.0, 5.0]
        assert spread_at(points, "effective", kind, part="hidden") is not None
    relu = train(
        DenseConfig(kind="relu", width=12),
        random_table(TINY.num_facts["relu"], 4, 4, seed=0),
        TrainingBudget(steps=5, goal_nats=0.0),
        seed=0,
    )
    s = np.linalg.svd(relu.w_out_FE.detach().double().numpy(), compute_uv=False)
    (last,) = [p.y for p in points if (p.quantity, p.name, p.x, p.seed) == ("stable", "relu, w_out", 5.0, 0)]
    assert last == pytest.approx((s**2).sum() / s[0] ** 2)
    assert next(p.y for p in points if (p.quantity, p.name) == ("largest", "relu, w_out")) == 4.0


def with_ranks(points: list[Point], ranks: Mapping[str, float], **labels: str) -> list[Point]:
    """Those of trained FFNs' hidden activations."""

    def is_changed(p: Point) -> bool:
        is_trained = p.labels == {"part": "hidden", **labels} and (p.x is not None or bool(labels))
        return p.quantity == "participation_ratio" and p.series in ranks and is_trained

    return [replace(p, y=ranks[p.series] + 0.02 * (p.seed or 0)) if is_changed(p) else p for p in points]


def test_the_finding_follows_the_ranks(points: list[Point]) -> None:
    # 12 dense and 8 gated hidden units.
    low_gated = {"relu": 6.0, "gelu": 6.5, "swiglu": 5.0, "geglu": 5.5}
    changed = with_ranks(points, low_gated)
    changed = with_ranks(changed, {**low_gated, "geglu": 6.2}, **EQUAL_FACTS)
    finding = TINY.page(changed).finding
    assert "swiglu 5.01 of 8.00 and geglu 5.51 of 8.00" in finding
    assert "62.6 % to 68.8 % in gated kinds" in TINY.page(changed).answer
    assert "in dimensions lower in every seed, as a share of the largest possible higher in every seed" in finding
    assert "at equal facts no clear difference." in finding
    high_gated = {"relu": 1.0, "gelu": 2.0, "swiglu": 5.0, "geglu": 5.5}
    assert "in dimensions higher in every seed" in TINY.page(with_ranks(points, high_gated)).finding


def test_the_table_has_gates_for_gated_kinds_alone(points: list[Point]) -> None:
    (table,) = TINY.page(points).tables
    lines = {heading: [cells[0].text for cells in block] for heading, block in table.blocks}
    assert lines["matrix into the gates"] == ["swiglu", "geglu"]
    assert lines["matrix into the hidden units"] == list(KINDS)
    assert all(len(cells) == len(table.header) for _, block in table.blocks for cells in block)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="load must be"):
        RanksInTrainingConfig(load=1.5)
    with pytest.raises(ValueError, match="at_steps must be"):
        RanksInTrainingConfig(at_steps=(0,))
