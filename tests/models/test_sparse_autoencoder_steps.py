"""The training of a sparse autoencoder written out for each kind, and its settings at their limits."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from models.sparse_autoencoder import (
    SAME,
    SparseAutoencoder,
    SparseAutoencoderConfig,
    SparseAutoencoderReadings,
    read,
    step,
    train,
)
from models.training_budget import TrainingDiverged


def activations(num_facts=40, units=5):
    generator = torch.Generator().manual_seed(1)
    return (2 * torch.randn(num_facts, units, generator=generator) + 0.5).double()


class Opening(torch.autograd.Function):
    """a 1[a > threshold] and 1[a > threshold], with the derivatives of Rajamanoharan et al. at a kernel of .2."""

    @staticmethod
    def forward(ctx, a, threshold):
        ctx.save_for_backward(a, threshold)
        return a * (a > threshold), (a > threshold).to(a)

    @staticmethod
    def backward(ctx, of_latents, of_steps):
        a, threshold = ctx.saved_tensors
        near = ((a - threshold).abs() < 0.1) / 0.2
        return of_latents * (a > threshold), (-near * (threshold * of_latents + of_steps)).sum(0)


def trained_by_hand(h, config):
    """Encoder, decoder, their biases and thresholds; and how many latents were dead at the last step."""
    generator = torch.Generator().manual_seed(config.seed)
    num_facts, units = h.shape
    latents, mean = config.expansion * units, h.mean(0)
    scale = ((h - mean) ** 2).sum(1).mean().sqrt()
    drawn = torch.randn(latents, units, generator=generator).double()
    w_dec = (drawn / drawn.norm(dim=1, keepdim=True)).requires_grad_()
    w_enc, b_dec = w_dec.detach().T.clone().requires_grad_(), (mean / scale).clone().requires_grad_()
    b_enc = torch.zeros(latents).double().requires_grad_()
    log_threshold = torch.full((latents,), math.log(0.05)).double().requires_grad_()
    weights = [w_dec, b_dec, w_enc, b_enc, log_threshold]
    optimizer = torch.optim.Adam(weights[: 5 if config.kind == "jumprelu" else 4], lr=config.learning_rate)
    l1_weight, idle = 0.01, [0] * latents
    for done in range(config.steps):
        optimizer.param_groups[0]["lr"] = config.learning_rate * min(1.0, (1 - done / config.steps) / 0.2)
        x = h[torch.randint(num_facts, (config.batch_size,), generator=generator)] / scale
        a = (x - b_dec) @ w_enc + b_enc
        f = a.clamp(min=0)
        if config.kind == "jumprelu":
            f, opened = Opening.apply(a, log_threshold.exp())
            penalty = (opened.sum(1).mean() / config.active - 1) ** 2
        elif config.kind == "relu_l1":
            penalty = l1_weight * f.sum(1).mean()
            active = float((f > 0).sum(1).double().mean()) / config.active
            l1_weight *= math.exp(0.01 * min(1.0, active - 1.05))
        else:
            rank = a.argsort(dim=1, descending=True).argsort(dim=1)
            f = f * (rank < config.active)
        error = x - (f @ w_dec + b_dec)
        if config.kind == "topk":
            idle = [0 if f[:, i].any() else idle[i] + config.batch_size for i in range(latents)]
            dead = [i for i in range(latents) if idle[i] > 2500]
            of_dead = a[:, dead].clamp(min=0)
            speaks = of_dead.argsort(dim=1, descending=True).argsort(dim=1) < max(1, units // 2)
            penalty = ((error.detach() - (of_dead * speaks) @ w_dec[dead]) ** 2).sum(1).mean() / 32
        loss = (error**2).sum(1).mean() + penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            w_dec /= w_dec.norm(dim=1, keepdim=True)
    names = ["w_dec_LF", "b_dec_F", "w_enc_FL", "b_enc_L", "log_threshold_L"]
    found = {name: weight.detach() for name, weight in zip(names, weights, strict=True)}
    if config.kind != "jumprelu":
        del found["log_threshold_L"]
    return {"scale": scale, **found}, sum(count > 2500 for count in idle)


CONFIGS = [
    SparseAutoencoderConfig(kind="jumprelu", expansion=3, active=4, steps=60, batch_size=16, seed=3),
    SparseAutoencoderConfig(kind="relu_l1", expansion=3, active=2, steps=60, batch_size=16, seed=3),
    SparseAutoencoderConfig(kind="relu_l1", expansion=2, active=9, steps=40, batch_size=16),
    SparseAutoencoderConfig(kind="topk", expansion=3, active=2, steps=40, batch_size=16),
    # Silent for 10 steps of 250 inputs is not yet dead, for 11 it is.
    SparseAutoencoderConfig(kind="topk", expansion=8, active=1, steps=10, batch_size=250, learning_rate=0.05),
    SparseAutoencoderConfig(kind="topk", expansion=8, active=1, steps=11, batch_size=250, learning_rate=0.05),
    SparseAutoencoderConfig(kind="topk", expansion=4, active=1, steps=14, batch_size=250, learning_rate=0.05, seed=8),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.kind}-{config.steps}")
def test_weights_are_those_of_the_steps_written_out(config):
    h = activations()
    autoencoder, (expected, num_dead) = train(h, config), trained_by_hand(h, config)
    state = autoencoder.state_dict()
    assert state.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(state[name], weight, rtol=1e-6, atol=1e-8)
    assert (num_dead > 0) == (config.steps in (11, 14))


def test_first_weights_are_drawn_rows_of_unit_length_around_the_mean():
    h, config = activations(), SparseAutoencoderConfig(kind="jumprelu", expansion=2, active=3)
    found = SparseAutoencoder(config, h, generator=torch.Generator().manual_seed(4)).state_dict()
    rows = functional.normalize(torch.randn(10, 5, generator=torch.Generator().manual_seed(4)).double(), dim=1)
    scale = ((h - h.mean(0)) ** 2).sum(1).mean().sqrt()
    expected = {"scale": scale, "w_dec_LF": rows, "b_dec_F": h.mean(0) / scale, "w_enc_FL": rows.T}
    expected |= {"b_enc_L": torch.zeros(10).double(), "log_threshold_L": torch.full((10,), math.log(0.05)).double()}
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight)


def test_readings_count_what_is_told_and_who_speaks():
    """Latents that copy the first two of three units, the first doubled; the fourth never speaks."""
    h = torch.tensor([[1.0, 0.0, 3.0], [0.0, 2.0, 1.0], [4.0, 1.0, 2.0], [-1.0, -1.0, 2.0]])
    autoencoder = SparseAutoencoder(
        SparseAutoencoderConfig(kind="topk", expansion=2, active=2), h, generator=torch.Generator()
    )
    to_latents = torch.zeros(3, 6)
    to_latents[0, 0], to_latents[1, 1], to_latents[:, 3] = 1.0, 1.0, -1.0
    back = torch.zeros(6, 3)
    back[0, 0], back[1, 1] = 2.0, 1.0
    state = {"w_enc_FL": to_latents, "b_enc_L": torch.zeros(6), "w_dec_LF": back, "b_dec_F": torch.zeros(3)}
    autoencoder.load_state_dict({**state, "scale": torch.tensor(2.0)})
    # Told: (2, 0, 0), (0, 2, 0), (8, 1, 0), 0; lost: 1 + 9, 1, 16 + 4, 1 + 1 + 4. Mean (1, .5, 2).
    lost, around_mean = 10 + 1 + 20 + 6, 1.25 + 4.25 + 9.25 + 6.25
    assert autoencoder.encode(h).tolist() == [[0.5, *[0] * 5], [0, 1, *[0] * 4], [2, 0.5, *[0] * 4], [0] * 6]
    assert read(autoencoder, h) == SparseAutoencoderReadings(
        variance_explained=pytest.approx(1 - lost / around_mean, rel=1e-6), mean_active=1.0, num_dead=4
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("length", [0.25, 32.0])
def test_variance_counts_from_so_many_roundings_of_the_length_on(dtype, length):
    """Two rows at +- the deviation along one direction, their mean along another."""
    for deviation, counts in ((0.98, False), (1.02, True)):
        h = torch.tensor([[0.0, 1.0], [0.0, -1.0]], dtype=dtype) * (deviation * SAME * torch.finfo(dtype).eps)
        h[:, 0] = 1.0
        config = SparseAutoencoderConfig(active=3)
        if counts:
            scale = SparseAutoencoder(config, length * h, generator=torch.Generator()).scale
            assert float(scale) == pytest.approx(length * deviation * 64 * torch.finfo(dtype).eps, rel=1e-4)
        else:
            with pytest.raises(ValueError, match="no variance to explain"):
                SparseAutoencoder(config, length * h, generator=torch.Generator())


def test_the_kernel_ends_before_half_its_width():
    a = torch.tensor([[-0.125, -0.1240234375, 0.0, 0.1240234375, 0.125]]).double() + 0.5
    threshold = torch.full((5,), 0.5).double().requires_grad_()
    (by_threshold,) = torch.autograd.grad(step(a, threshold, bandwidth=0.25).sum(), [threshold])
    assert by_threshold.tolist() == [0.0, -4.0, -4.0, -4.0, 0.0]


@pytest.mark.parametrize("field", ["expansion", "active", "steps", "batch_size"])
def test_one_of_each_is_enough(field):
    assert getattr(replace(SparseAutoencoderConfig(), **{field: 1}), field) == 1
    assert replace(SparseAutoencoderConfig(), learning_rate=1e-9).learning_rate == 1e-9


def test_all_latents_may_be_active_and_no_more():
    assert SparseAutoencoderConfig(expansion=3, active=15).latents(5) == 15
    with pytest.raises(ValueError, match="active must be at most 15, the latents over 5 units, not 16"):
        SparseAutoencoderConfig(expansion=3, active=16).latents(5)


@pytest.mark.parametrize(("steps", "seen"), [(150, 100), (101, 100), (100, 99), (30, 29)])
def test_a_loss_that_is_no_number_is_seen_at_every_hundredth_step_and_at_the_last(steps, seen):
    config = SparseAutoencoderConfig(kind="relu_l1", active=3, steps=steps, batch_size=4, learning_rate=1e30)
    with pytest.raises(TrainingDiverged, match=f"the loss is .* after {seen} steps at learning_rate 1e.30: lower it"):
        train(activations().float(), config)
