"""Sweeps of reinforced belief propagation, written out in float64 for one perceptron after another."""

import math

import numpy as np
import pytest
import torch
from scipy.special import expit, log_ndtr, ndtr

from models.binary_perceptron import BinaryFit, _GivingUp, fit_binary_perceptrons


def share_kept(log_right, log_odds, share):
    """How far each pattern counts, by eight of Newton's steps, none longer than 1; and where the steps have led."""
    for _ in range(8):
        given_up = expit(log_odds - log_right)
        slope = max(np.mean(given_up * (1 - given_up)), 1e-9)
        log_odds -= np.clip((given_up.mean() - share) / slope, -1, 1)
    return expit(log_right - log_odds), log_odds


def errors_of(weights, patterns, labels):
    return (((weights @ patterns.T) * labels) <= 0) & (labels != 0)


def by_hand(patterns, labels, *, sweeps, may_miss=0.0, damping=0.0, seed=0):
    """Weights, errors, sweeps, and how near to 0 the fields came whose signs the weights are."""
    outputs, inputs = len(labels), patterns.shape[1]
    drawn = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed)).double().numpy()
    fields, messages, log_odds = 0.01 * drawn, np.zeros(labels.shape), 0.0
    best, fewest, nearest = np.ones((outputs, inputs)), np.full(outputs, np.inf), math.inf
    for sweep in range(sweeps):
        kept, means = np.ones(len(patterns)), np.tanh(fields)
        onsager, curvature = np.zeros(labels.shape), np.zeros(labels.shape)
        log_right = np.zeros(len(patterns))
        for o in range(outputs):
            variance = 1.0 + (1 - means[o] ** 2).sum()
            for n, label in enumerate(labels[o]):
                if label == 0:
                    continue
                cavity = patterns[n] @ means[o] - variance * messages[o, n]
                margin = label * cavity / math.sqrt(variance)
                onsager[o, n] = (
                    label * math.exp(-(margin**2) / 2) / math.sqrt(2 * math.pi) / ndtr(margin) / math.sqrt(variance)
                )
                curvature[o, n] = onsager[o, n] * (onsager[o, n] + cavity / variance)
                log_right[n] += log_ndtr(margin)
        if may_miss:
            kept, log_odds = share_kept(log_right, log_odds, may_miss)
        curvature = kept * curvature - kept * (1 - kept) * onsager**2
        messages = damping * messages + (1 - damping) * kept * onsager
        reinforcement = 1 - 0.05 ** (sweep / sweeps)  # 95 % of the old fields once all sweeps are through
        fields = np.array(
            [messages[o] @ patterns + curvature[o].sum() * means[o] + reinforcement * fields[o] for o in range(outputs)]
        )
        if (sweep + 1) % 5 and sweep + 1 < sweeps:
            continue
        nearest = min(nearest, np.abs(fields).min())
        weights = np.where(fields > 0, 1.0, -1.0)
        wrong = errors_of(weights, patterns, labels)
        for o in range(outputs):
            errors = wrong.any(0).sum() if may_miss else wrong[o].sum()
            if errors < fewest[o]:
                best[o], fewest[o] = weights[o], errors
        if not fewest.any():
            break
    return best, errors_of(best, patterns, labels), sweep + 1, nearest


def task(num_patterns, num_inputs, num_outputs, seed, unlabelled=0.0):
    rng = np.random.default_rng(seed)
    patterns = rng.choice([-1.0, 1.0], (num_patterns, num_inputs))
    labels = rng.choice([-1.0, 1.0], (num_outputs, num_patterns))
    return patterns, labels * (rng.random(labels.shape) >= unlabelled)


@pytest.mark.parametrize(
    ("patterns", "inputs", "outputs", "options"),
    [
        (60, 41, 3, {"sweeps": 12}),  # too many to be solved: all sweeps, of which the best counts
        (60, 41, 3, {"sweeps": 17, "seed": 5}),
        (50, 41, 3, {"sweeps": 13, "damping": 0.3}),
        (50, 41, 3, {"sweeps": 12, "may_miss": 0.1}),
        (50, 41, 3, {"sweeps": 14, "may_miss": 0.2, "damping": 0.4}),
        (12, 41, 2, {"sweeps": 60}),  # solved long before the last sweep
        (30, 8, 2, {"sweeps": 9}),  # an even number of inputs can sum to 0, which is no answer
        (9, 5, 2, {"sweeps": 1}),
    ],
)
@pytest.mark.parametrize("unlabelled", [0.0, 0.25])
def test_weights_errors_and_sweeps_are_those_of_the_sweeps_written_out(patterns, inputs, outputs, options, unlabelled):
    shown, labels = task(patterns, inputs, outputs, 2, unlabelled)
    fit = fit_binary_perceptrons(torch.from_numpy(shown).float(), torch.from_numpy(labels).float(), **options)
    weights, wrong, sweeps, nearest = by_hand(shown, labels, **options)
    assert nearest > 1e-4, "a field so near to 0 could have either sign in float32"
    assert fit.weights_OF.tolist() == weights.tolist()
    assert fit.wrong_ON.tolist() == wrong.tolist()
    assert fit.sweeps == sweeps
    assert fit.missed_share == pytest.approx(wrong.any(0).mean())
    if options["sweeps"] == 60:
        assert sweeps < 60 and not wrong.any()


def test_what_is_missed_is_a_share_of_the_patterns_and_not_of_the_outputs():
    wrong = torch.tensor([[True, False, False, True, False], [True, False, True, False, False]])
    assert BinaryFit(weights_OF=torch.ones(2, 3), wrong_ON=wrong, sweeps=1).missed_share == pytest.approx(3 / 5)


def test_what_each_pattern_counts_follows_newtons_steps():
    giving_up, log_odds = _GivingUp(0.3), 0.0
    for scale in (0.1, 3.0, 20.0):  # the odds are remembered from call to call, and 8 steps of 1 fall short of 20
        log_right = -scale * np.arange(1.0, 7.0)
        kept, log_odds = share_kept(log_right, log_odds, 0.3)
        assert giving_up.kept(torch.from_numpy(log_right)).tolist() == pytest.approx(kept.tolist(), rel=1e-9)
