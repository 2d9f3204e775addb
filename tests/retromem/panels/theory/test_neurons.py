"""Keys in groups, units against rotations by hand, and what the page says of either outcome."""

import pytest
import torch

from retromem.panels.points import Point
from retromem.panels.theory.neurons import GROUPED, RANDOM, NeuronsConfig
from retromem.panels.theory.neurons_points import grouped_table

TINY = NeuronsConfig(
    dim=6, num_params=144, num_values=4, loads=(0.5,), triggers=3, rotations=3, permutations=4, steps=100, seeds=(0, 1)
)


def test_keys_of_a_group_have_a_cosine_of_a_half_and_others_of_none():
    table, groups_N = grouped_table(600, 64, 8, seed=1)
    cosines_NN = table.keys_ND @ table.keys_ND.T
    together_NN = (groups_N[:, None] == groups_N) & ~torch.eye(600, dtype=torch.bool)
    assert torch.allclose(table.keys_ND.norm(dim=1), torch.ones(600))
    assert abs(float(cosines_NN[together_NN].mean()) - 0.5) < 0.03
    assert abs(float(cosines_NN[groups_N[:, None] != groups_N].mean())) < 0.03
    assert not torch.equal(table.keys_ND, grouped_table(600, 64, 8, seed=2)[0].keys_ND)
    # Groups say nothing of values.
    joint = torch.stack([groups_N, table.value_ids_N]).unique(dim=1).shape[1]
    assert joint == 64


@pytest.mark.slow
def test_every_kind_is_read_on_random_keys_and_on_groups():
    points = TINY.measure(0, lambda texts: texts)
    series = {point.name for point in points}
    kinds = ("ReLU", "GELU", "SwiGLU", "k winners")
    assert series == {f"{kind}, 50 % load, {keys}" for kind in kinds for keys in (RANDOM, GROUPED)}
    read = {(point.name, point.quantity): point.y for point in points}
    for name in series:
        for read_out in ("rank", "top", "purity", "deciding"):
            assert read[name, f"{read_out}_rotated"] <= read[name, f"{read_out}_rotated_highest"]
        assert 1 / 4 <= read[name, "purity_own"] <= 1 and 1 / 4 <= read[name, "rank_own"] <= 1
        assert 0 <= read[name, "deciding_own"] <= 16
    assert {point.seed for point in points} == {0}


def synthetic(gap):
    """SwiGLU is `gap` above the best rotation, ReLU as far below it."""
    points = []
    for seed in TINY.seeds:
        for kind, above in (("ReLU", -gap), ("SwiGLU", gap)):
            for labels in ({"written": "50 % load", "keys": keys} for keys in (RANDOM, GROUPED)):
                read = {"deciding_own": 3.0 + above, "deciding_rotated": 4.0, "facts": 100.0, "accuracy": 1.0}
                for read_out in ("rank", "top", "purity"):
                    read |= {
                        f"{read_out}_own": 0.4 + above,
                        f"{read_out}_rotated": 0.35,
                        f"{read_out}_rotated_highest": 0.4,
                        f"{read_out}_permuted": 0.2,
                    }
                points += [Point(quantity=of, series=kind, labels=labels, y=y, seed=seed) for of, y in read.items()]
    return points


def test_the_page_names_the_kinds_that_beat_every_rotation_in_every_seed():
    page = TINY.page(synthetic(0.05))
    assert "at all loads and seeds for SwiGLU, at none for ReLU" in page.finding
    assert "at all loads and seeds for SwiGLU, at none for ReLU" in page.answer
    assert "0.450 (rotated 0.350, labels permuted 0.200), SwiGLU, 50 % load" in page.finding
    assert "An answer hangs on 2.95 (ReLU, 50 % load) to 3.05 (SwiGLU, 50 % load) units" in page.finding
    assert "at all loads and seeds for ReLU, at none for SwiGLU" in TINY.page(synthetic(-0.05)).finding
    one_lucky_seed = [
        Point(**{**vars(p), "y": 0.5}) if (p.seed, p.quantity) == (0, "rank_own") else p for p in synthetic(-0.05)
    ]
    assert "at some for SwiGLU" in TINY.page(one_lucky_seed).finding
