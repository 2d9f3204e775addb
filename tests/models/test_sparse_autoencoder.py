"""Sparse autoencoders against known dictionaries, loops, and the formulas of the straight-through kernel."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import models.sparse_autoencoder
from models.sparse_autoencoder import SparseAutoencoder, SparseAutoencoderConfig, jumprelu, read, step, train
from models.training_budget import TrainingDiverged

KINDS = ["relu_l1", "topk", "jumprelu"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sparse_sums(num_facts=1000, elements=24, units=32, active=3):
    """Each fact a sum of few out of many orthogonal directions."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((units, elements)))[0].T
    amounts = np.zeros((num_facts, elements))
    for row in amounts:
        row[rng.choice(elements, active, replace=False)] = rng.uniform(0.5, 1.5, active)
    return torch.from_numpy(amounts @ directions).float(), torch.from_numpy(directions).float()


@pytest.fixture(scope="module")
def trained():
    h, directions = sparse_sums()
    found = {
        kind: train(h, SparseAutoencoderConfig(kind=kind, expansion=1, active=3, steps=1000, batch_size=128))
        for kind in KINDS
    }
    return h, directions, found


@pytest.mark.parametrize("kind", KINDS)
def test_orthogonal_dictionary_is_recovered(trained, kind):
    h, directions, found = trained
    autoencoder = found[kind]
    cosines = directions @ autoencoder.w_dec_LF.detach().T
    assert cosines.amax(1).mean() > (0.99 if kind == "topk" else 0.9)
    readings = read(autoencoder, h)
    assert readings.variance_explained > (0.8 if kind == "relu_l1" else 0.98)  # L1 shrinks
    assert readings.mean_active == pytest.approx(3, rel=0.25)


@pytest.mark.parametrize("kind", KINDS)
def test_decoder_rows_have_unit_length_and_latents_no_sign(trained, kind):
    h, _, found = trained
    assert found[kind].w_dec_LF.detach().norm(dim=1).tolist() == pytest.approx([1.0] * 32, abs=1e-6)
    with torch.no_grad():
        assert found[kind].encode(h).min() == 0


def by_hand(autoencoder, h):
    weights = {name: weight.double().numpy() for name, weight in autoencoder.state_dict().items()}
    scale = np.sqrt(((h - h.mean(0)) ** 2).sum(1).mean())
    a = (h / scale - weights["b_dec_F"]) @ weights["w_enc_FL"] + weights["b_enc_L"]
    f = np.zeros_like(a)
    for fact, row in enumerate(a):
        for latent in np.argsort(-row)[:3] if autoencoder.config.kind == "topk" else range(len(row)):
            threshold = np.exp(weights["log_threshold_L"][latent]) if autoencoder.config.kind == "jumprelu" else 0.0
            f[fact, latent] = row[latent] if row[latent] > threshold else 0.0
    return f, scale * (f @ weights["w_dec_LF"] + weights["b_dec_F"])


@pytest.mark.parametrize("kind", KINDS)
def test_latents_and_readings_are_those_of_a_loop(trained, kind):
    h, _, found = trained
    autoencoder = found[kind]
    h_few = h[:50].double().numpy()
    autoencoder = SparseAutoencoder(autoencoder.config, h[:50], generator=torch.Generator())
    autoencoder.load_state_dict({**found[kind].state_dict(), "scale": autoencoder.scale})
    f, told = by_hand(autoencoder, h_few)
    with torch.no_grad():
        encoded = autoencoder.encode(h[:50])
        assert encoded.numpy() == pytest.approx(f, abs=1e-4)
        assert autoencoder.decode(encoded).numpy() == pytest.approx(told, abs=1e-4)
    readings = read(autoencoder, h[:50])
    explained = 1 - ((h_few - told) ** 2).sum() / ((h_few - h_few.mean(0)) ** 2).sum()
    assert readings.variance_explained == pytest.approx(explained, abs=1e-4)
    assert readings.mean_active == pytest.approx((f > 0).sum(1).mean())
    assert readings.num_dead == (f > 0).sum(0).tolist().count(0)


def test_topk_lets_exactly_k_latents_speak(trained):
    h, _, found = trained
    with torch.no_grad():
        assert (found["topk"].encode(h) > 0).sum(1).unique().tolist() == [3]


def test_jumprelu_opens_above_its_threshold_and_does_not_shrink():
    a = torch.tensor([[-1.0, 0.49, 0.5, 0.51, 2.0]])
    threshold = torch.full((5,), 0.5)
    assert jumprelu(a, threshold).tolist() == a.where(a > 0.5, 0.0).tolist()
    assert step(a, threshold).tolist() == [[0.0, 0.0, 0.0, 1.0, 1.0]]


@settings(max_examples=50)
@given(
    a=st.floats(-2, 2, width=32),
    threshold=st.floats(0.125, 1.5, width=32),
    bandwidth=st.floats(0.125, 2, width=32),
    far=st.booleans(),
)
def test_straight_through_kernel_is_its_formula(a, threshold, bandwidth, far):
    if not far:
        a = threshold + a * bandwidth / 2  # half of these lie within the kernel
    a_11 = torch.tensor([[a]], dtype=torch.float64, requires_grad=True)
    threshold_1 = torch.tensor([threshold], dtype=torch.float64, requires_grad=True)
    kernel = float(-0.5 < (a - threshold) / bandwidth < 0.5)
    by_a, by_threshold = torch.autograd.grad(
        jumprelu(a_11, threshold_1, bandwidth=bandwidth).sum(), [a_11, threshold_1]
    )
    assert by_a.item() == float(a > threshold)
    assert by_threshold.item() == pytest.approx(-threshold / bandwidth * kernel)
    (by_threshold,) = torch.autograd.grad(step(a_11, threshold_1, bandwidth=bandwidth).sum(), [threshold_1])
    assert by_threshold.item() == pytest.approx(-kernel / bandwidth)


def test_mean_of_the_kernel_gradients_is_the_gradient_of_the_mean():
    # a uniform in [0, 2]: E[jumprelu] = (4 - threshold^2) / 4 and E[step] = (2 - threshold) / 2.
    a_N1 = (torch.arange(20_000, dtype=torch.float64) + 0.5)[:, None] / 10_000
    threshold_1 = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    for function, expected in [(jumprelu, -0.7 / 2), (step, -1 / 2)]:
        (found,) = torch.autograd.grad(function(a_N1, threshold_1, bandwidth=0.1).mean(), [threshold_1])
        assert found.item() == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_unit_of_the_activations_does_not_matter(kind):
    h, _ = sparse_sums(num_facts=64)
    config = SparseAutoencoderConfig(kind=kind, expansion=1, active=3, steps=30, batch_size=32)
    assert torch.equal(train(h, config).encode(h), train(1024 * h, config).encode(1024 * h))


@pytest.mark.slow
def test_the_auxiliary_loss_brings_dead_latents_back(monkeypatch):
    keys = torch.randn(300, 16, generator=torch.Generator().manual_seed(0))
    h = (keys @ torch.randn(16, 32, generator=torch.Generator().manual_seed(1))).relu()
    config = SparseAutoencoderConfig(kind="topk", active=3, steps=600, batch_size=128)
    with_it = read(train(h, config), h).num_dead
    monkeypatch.setattr(models.sparse_autoencoder, "AUXILIARY_WEIGHT", 0.0)
    assert with_it < 0.5 * read(train(h, config), h).num_dead


def test_the_defaults_hold_four_latents_a_unit():
    assert SparseAutoencoderConfig().latents(64) == 256
    with pytest.raises(ValueError, match="active must be at most 4, the latents over 1 units, not 8"):
        SparseAutoencoderConfig().latents(1)


@pytest.mark.parametrize("field", ["expansion", "active", "steps", "batch_size", "learning_rate"])
def test_settings_out_of_range_are_refused(field):
    zero = 0.0 if field == "learning_rate" else 0
    with pytest.raises(ValueError, match=f"{field} must be .* not 0"):
        dataclasses.replace(SparseAutoencoderConfig(), **{field: zero})


def test_activations_without_variance_are_refused():
    with pytest.raises(ValueError, match="no variance to explain"):
        train(torch.zeros(5, 4), SparseAutoencoderConfig())


def test_a_diverged_training_says_so():
    h, _ = sparse_sums(num_facts=32)
    with pytest.raises(TrainingDiverged, match=r"after 4 steps at learning_rate 1e\+30: lower it"):
        train(h, SparseAutoencoderConfig(kind="relu_l1", learning_rate=1e30, steps=5))


@pytest.mark.parametrize("length", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("rounding", [0.0, 3e-7])
def test_activations_that_differ_by_rounding_alone_are_the_same(length, rounding):
    generator = torch.Generator().manual_seed(0)
    h = length * torch.randn(1, 6, generator=generator).repeat(64, 1)
    h = h * (1 + rounding * torch.randn(h.shape, generator=generator))
    with pytest.raises(ValueError, match="all activations are the same: there is no variance to explain"):
        train(h, SparseAutoencoderConfig(active=3, steps=2))
    differing = h + 1e-3 * length * torch.randn(h.shape, generator=generator)
    autoencoder = train(differing, SparseAutoencoderConfig(active=3, steps=2))
    with pytest.raises(ValueError, match="all activations are the same"):
        read(autoencoder, h)


def test_activations_that_are_not_finite_are_refused():
    h = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    h[2, 3] = torch.inf
    with pytest.raises(ValueError, match="activations are not finite"):
        train(h, SparseAutoencoderConfig(active=3, steps=2))
