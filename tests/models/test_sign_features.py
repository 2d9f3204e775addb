"""Signs of random waves: reproducible, independent of grouping, with the agreement that their Fourier series gives."""

import numpy as np
import pytest
import torch

from models.sign_features import SignFeatures


def pair(distance, dim=16, count=400, seed=0):
    """Unit keys and others at this distance from them, also of length 1."""
    rng = np.random.default_rng(seed)
    keys = rng.standard_normal((count, dim))
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    side = rng.standard_normal((count, dim))
    side -= (side * keys).sum(1, keepdims=True) * keys
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    angle = 2 * np.arcsin(distance / 2)
    return keys.astype(np.float32), (np.cos(angle) * keys + np.sin(angle) * side).astype(np.float32)


@pytest.mark.parametrize("bandwidth", [1.0, 3.5])
@pytest.mark.parametrize("distance", [0.0, 0.1, 0.5, 1.0, 1.4])
def test_agreement_is_the_series_of_a_square_wave(bandwidth, distance):
    """sign cos = 4/pi sum (+-) cos((2j+1) x) / (2j+1), so features correlate as 8/pi^2 sum exp(-((2j+1) b r)^2 / 2) /
    (2j+1)^2 (Raginsky & Lazebnik 2009, eq. 4)."""
    features = SignFeatures(16, 2001, bandwidth=bandwidth, seed=0)
    one, two = (features(keys) for keys in pair(distance))
    odd = np.arange(1, 20001, 2)
    expected = 8 / np.pi**2 * (np.exp(-((odd * bandwidth * distance) ** 2) / 2) / odd**2).sum()
    assert float((one * two).mean()) == pytest.approx(expected, abs=0.02)


def test_a_feature_is_a_sign_and_has_no_bias():
    values = SignFeatures(8, 999, bandwidth=2.0, seed=3)(pair(1.0, dim=8)[0])
    assert set(values.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(values.mean())) < 0.02


def test_the_seed_is_all_there_is():
    keys, _ = pair(1.0)
    one, same, other = (SignFeatures(16, 101, bandwidth=3.0, seed=seed)(keys) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_length_and_grouping_change_no_feature():
    keys, _ = pair(1.0)
    features = SignFeatures(16, 501, bandwidth=3.5, seed=0)
    together = features(keys)
    assert torch.equal(together, torch.cat([features(keys[:1]), features(keys[1:7]), features(keys[7:])]))
    assert torch.equal(together, features(4 * keys))
    assert torch.isfinite(features(np.zeros((1, 16), dtype=np.float32))).all()


def test_bytes_are_those_of_the_waves():
    assert SignFeatures(16, 101, bandwidth=3.0, seed=1).num_bytes == 8 * 17 * 101


def test_features_are_the_signs_of_waves_drawn_from_a_stream_of_their_own():
    keys = np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)
    keys[3], keys[4] = (5e-13, -2e-13, 1e-13), 0.0
    rng = np.random.default_rng([7, 20846])
    waves, phases = 2.5 * rng.standard_normal((3, 40)), 2 * np.pi * rng.random(40)
    lengths = np.linalg.norm(keys, axis=1)
    expected = [
        [1.0 if np.cos(key @ waves[:, f] / max(length, 1e-12) + phases[f]) > 0 else -1.0 for f in range(40)]
        for key, length in zip(keys, lengths, strict=True)
    ]
    found = SignFeatures(3, 40, bandwidth=2.5, seed=7)(keys)
    assert found.tolist() == expected and found.dtype == torch.float32


def test_a_key_as_short_as_rounding_is_taken_as_it_is():
    """Longer than 1e-12 it counts by its direction alone, shorter by its length in that unit too."""
    features = SignFeatures(2, 300, bandwidth=1.0, seed=0)
    key = np.array([[0.6, -0.8]], dtype=np.float32)
    nothing, whole = features(0 * key), features(key)
    assert torch.equal(features(np.float32(2e-12) * key), whole)
    assert torch.equal(features(np.float32(1e-19) * key), nothing)
    half = features(np.float32(5e-13) * key)
    assert not torch.equal(half, whole) and not torch.equal(half, nothing)
