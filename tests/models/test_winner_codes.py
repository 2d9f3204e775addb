"""Winners of seeded projections and waves: which they are, how many two keys share, and that nothing else counts."""

import numpy as np
import pytest
import torch

from models.winner_codes import WinnerCodes


def keys_at(cosine, dim=64, count=300, seed=0):
    """Unit keys, and others at this cosine to them."""
    rng = np.random.default_rng(seed)
    keys, side = rng.standard_normal((2, count, dim))
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    side -= (side * keys).sum(1, keepdims=True) * keys
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    return keys.astype(np.float32), (cosine * keys + np.sqrt(1 - cosine**2) * side).astype(np.float32)


def shared(one, two, num_units):
    both = [torch.zeros(len(codes), num_units).scatter(1, codes, 1.0) for codes in (one, two)]
    return float((both[0] * both[1]).sum(1).mean()) / one.shape[1]


def test_winners_of_plain_projections_are_the_highest_products():
    keys, _ = keys_at(0.5, dim=5, count=9)
    directions = np.random.default_rng([3, 0x316E]).standard_normal((5, 40))
    directions /= np.sqrt((directions**2).sum(axis=0))
    expected = [sorted(range(40), key=lambda f: -(key.astype(float) @ directions[:, f]))[:6] for key in keys]
    codes = WinnerCodes(5, 40, winners=6, bandwidth=None, seed=3)
    assert codes(keys).tolist() == expected
    assert codes.num_bytes == 8 * 5 * 40


def test_winners_of_waves_are_the_highest_cosines():
    keys, _ = keys_at(0.5, dim=5, count=9)
    rng = np.random.default_rng([3, 0x516E])
    waves, phases = 2.5 * rng.standard_normal((5, 40)), rng.uniform(0, 2 * np.pi, 40)
    heights = np.cos(keys / np.linalg.norm(keys, axis=1, keepdims=True).astype(float) @ waves + phases)
    codes = WinnerCodes(5, 40, winners=6, bandwidth=2.5, seed=3)
    assert codes(keys).tolist() == np.argsort(-heights, axis=1)[:, :6].tolist()
    assert codes.num_bytes == 8 * 6 * 40


@pytest.mark.parametrize("bandwidth", [None, 3.5])
def test_seed_and_direction_are_all_there_is(bandwidth):
    keys, _ = keys_at(0.5)
    one, same, other = (WinnerCodes(64, 200, winners=9, bandwidth=bandwidth, seed=seed)(keys) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    codes = WinnerCodes(64, 200, winners=9, bandwidth=bandwidth, seed=1)
    assert torch.equal(one, torch.cat([codes(keys[:1]), codes(keys[1:9]), codes(keys[9:])]))
    assert torch.equal(one, codes(4 * keys))
    assert one.sort(dim=1).values.diff(dim=1).min() > 0  # each unit once
    assert codes(keys[:0]).shape == (0, 9)


def test_near_keys_share_winners_and_waves_leave_it_to_chance():
    """Of 400 units 20 win. Far keys share 5 %; at a cosine of .9 plain projections share most, waves hardly more."""
    plain, waves = (WinnerCodes(64, 400, winners=20, bandwidth=bandwidth, seed=0) for bandwidth in (None, 3.5))
    by_cosine = {}
    for cosine in (0.0, 0.5, 0.9):
        keys, others = keys_at(cosine)
        by_cosine[cosine] = [shared(codes(keys), codes(others), 400) for codes in (plain, waves)]
    for found in by_cosine[0.0]:
        assert found == pytest.approx(0.05, abs=0.012)
    assert 0.15 < by_cosine[0.5][0] < 0.3 and 0.5 < by_cosine[0.9][0] < 0.7
    assert by_cosine[0.5][1] == pytest.approx(0.05, abs=0.012) and by_cosine[0.9][1] < 0.15
