"""Read-outs of superposition against loops and exact geometries; the trained plateau at one half."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.toy_superposition import (
    ToyModels,
    ToySuperpositionConfig,
    dimensions_per_feature,
    feature_dimensionality,
    interference,
    plateau,
    represented,
    sparse_features,
    train,
)
from models.training_budget import TrainingDiverged


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), features=st.integers(1, 12), dim=st.integers(1, 5))
def test_read_outs_are_their_formulas(seed, features, dim):
    w = np.random.default_rng(seed).standard_normal((dim, features))
    columns = w.T
    for i, column in enumerate(columns):
        unit = column / np.linalg.norm(column)
        overlaps = [float(unit @ other) ** 2 for other in columns]
        assert feature_dimensionality(torch.from_numpy(w))[i].item() == pytest.approx(column @ column / sum(overlaps))
        others = sum(overlaps[:i] + overlaps[i + 1 :])
        assert interference(torch.from_numpy(w))[i].item() == pytest.approx(others, abs=1e-12)
    assert dimensions_per_feature(torch.from_numpy(w)).item() == pytest.approx(dim / np.sum(w**2))


@pytest.mark.parametrize(("corners", "expected"), [(2, 1 / 2), (3, 2 / 3), (5, 2 / 5), (8, 2 / 8)])
def test_regular_polygons_share_their_dimensions_equally(corners, expected):
    angles = 2 * math.pi * torch.arange(corners, dtype=torch.float64) / corners
    w = torch.stack([angles.cos(), angles.sin()])
    assert feature_dimensionality(w).tolist() == pytest.approx([expected] * corners)
    if corners > 2:
        assert dimensions_per_feature(w).item() == pytest.approx(expected)


def test_a_feature_that_is_left_out_has_no_dimension():
    w = torch.tensor([[1.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    assert feature_dimensionality(w).tolist() == [0.5, 0.0, 0.5]
    assert interference(w).tolist() == [1.0, 0.0, 1.0]
    assert represented(w).tolist() == [True, False, True]
    assert represented(0.51 * w).tolist() == [True, False, True], "longer than a half"
    assert not represented(0.49 * w).any()


def test_stacked_instances_are_read_one_by_one():
    w = torch.randn(4, 3, 7, generator=torch.Generator().manual_seed(0))
    for read_out in (dimensions_per_feature, feature_dimensionality, interference, represented):
        assert torch.allclose(read_out(w).double(), torch.stack([read_out(one).double() for one in w]))


def test_features_are_present_as_often_as_they_should_be_and_uniform_then():
    probabilities = torch.tensor([1.0, 0.25])
    x = sparse_features(probabilities, 4000, 10, torch.Generator().manual_seed(0)).double()
    assert x.min() >= 0
    assert x.max() <= 1
    for one, probability in zip(x, probabilities.tolist(), strict=True):
        present = one[one > 0]
        assert len(present) / one.numel() == pytest.approx(probability, abs=0.01)
        assert [present.mean().item(), present.var().item()] == pytest.approx([1 / 2, 1 / 12], abs=0.006)


def test_first_weights_have_xaviers_variance():
    found = train(ToySuperpositionConfig(steps=1, learning_rate=1e-12, batch_size=1)).w_IMN.double()
    # Of 32,000 numbers of variance 2 / (20 + 80): one standard error of it is .8 %.
    assert found.square().mean().item() == pytest.approx(2 / 100, rel=0.03)


def test_dense_features_keep_the_most_important_ones_and_superpose_none():
    config = ToySuperpositionConfig(
        num_features=8,
        dim=3,
        num_instances=2,
        lowest_probability=0.9,
        importance_decay=0.6,
        steps=800,
        batch_size=64,
        learning_rate=1e-2,
    )
    dense = train(config).w_IMN[0]
    assert represented(dense).tolist() == [True] * 3 + [False] * 5
    assert feature_dimensionality(dense)[:3].tolist() == pytest.approx([1.0] * 3, abs=0.05)
    assert dimensions_per_feature(dense).item() == pytest.approx(1.0, abs=0.05)


@pytest.mark.slow
def test_sparser_features_pair_up_as_opposites():
    config = ToySuperpositionConfig(
        num_features=16, dim=4, num_instances=6, lowest_probability=0.2, steps=1500, batch_size=256, learning_rate=5e-3
    )
    models = train(config)
    found = plateau(models)
    assert found.dimensions_per_feature == pytest.approx(0.5, abs=0.05)
    middle = (models.probabilities_I - (found.highest_probability + found.lowest_probability) / 2).abs().argmin()
    w_MN = models.w_IMN[middle]
    pairs = feature_dimensionality(w_MN)[represented(w_MN)]
    assert pairs.tolist() == pytest.approx([0.5] * len(pairs), abs=0.05)


def with_dimensions_per_feature(values, all_represented=()):
    """Instances of 2 features and 1 dimension with these D*."""
    w = torch.zeros(len(values), 1, 2)
    w[:, 0, 0] = torch.tensor(values).rsqrt()
    for instance in all_represented:
        w[instance] = (1 / (2 * values[instance])) ** 0.5
    count = len(values)
    return ToyModels(probabilities_I=0.5 ** torch.arange(count), w_IMN=w, b_IN=torch.zeros(count, 2))


def test_plateau_is_the_longest_flat_stretch_in_superposition():
    found = plateau(with_dimensions_per_feature([1.0, 1.0, 1.0, 1.0, 1.0, 0.7, 0.52, 0.5, 0.48, 0.4, 0.39, 0.3]))
    assert found.dimensions_per_feature == pytest.approx(0.5)
    assert (found.highest_probability, found.lowest_probability, found.num_instances) == (0.5**6, 0.5**8, 3)


def test_instances_with_every_feature_are_on_no_plateau():
    values = [1.0, 0.5, 0.49, 0.4, 0.25, 0.25, 0.25, 0.25]
    assert plateau(with_dimensions_per_feature(values)).dimensions_per_feature == pytest.approx(0.25)
    found = plateau(with_dimensions_per_feature(values, all_represented=[4, 5, 6, 7]))
    assert found.dimensions_per_feature == pytest.approx(0.495)


def test_without_superposition_there_is_no_plateau():
    with pytest.raises(ValueError, match="no instance"):
        plateau(with_dimensions_per_feature([1.0, 0.9]))


def test_same_seed_same_weights_whatever_the_global_one():
    config = ToySuperpositionConfig(num_features=6, dim=2, num_instances=2, steps=3, batch_size=8)
    torch.manual_seed(1)
    one = train(config)
    torch.manual_seed(2)
    assert torch.equal(one.w_IMN, train(config).w_IMN)


def test_a_training_that_blows_up_says_so():
    config = ToySuperpositionConfig(num_features=6, dim=2, num_instances=2, steps=5, batch_size=8, learning_rate=1e30)
    with pytest.raises(TrainingDiverged, match="learning_rate 1e\\+30"):
        train(config)


@pytest.mark.parametrize(
    "settings",
    [
        {"dim": 80}, {"dim": 0}, {"num_instances": 1}, {"lowest_probability": 1.0}, {"importance_decay": 0.0},
        {"steps": 0}, {"batch_size": 0}, {"learning_rate": 0.0},
    ],
)  # fmt: skip
def test_settings_that_cannot_run_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        ToySuperpositionConfig(**settings)


@pytest.mark.slow
def test_published_plateau():
    assert plateau(train(ToySuperpositionConfig())).dimensions_per_feature == pytest.approx(0.5, abs=0.05)
