"""The memorisation challenge of Linsefors and Bushnaq (2026), as re-measured: two-token keys, bias-free ReLU.

A key is a pair of 2d tokens, its label one of d. The network embeds each token, adds, applies ReLU, reads out: that is
a ReLU FFN over two one-hot vectors (4d inputs, d hidden units, d outputs), 5 d^2 parameters. Facts are the first n of a
seeded permutation of all pairs, labels balanced.
"""

import math
from functools import partial

import numpy as np
import torch

from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retromem.reproduce.claim import Claim
from retromem.reproduce.trained_ffn import KeyTable, accuracy, most_facts, perturbed_accuracy, train

_SOURCE = "Linsefors and Bushnaq 2026"
_PAIRS_SEED = 42
_BUDGET = TrainingBudget(steps=5000, learning_rate=1e-2, goal_nats=2e-4, max_seconds=600.0)
_RESOLUTION = 0.0125


def pairs(dim: int, num_facts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First tokens, second tokens (both of 2d) and labels (of d) of the facts."""
    rng = np.random.default_rng(_PAIRS_SEED)
    order_N = rng.permutation((2 * dim) ** 2)[:num_facts]
    labels_N = np.random.default_rng([_PAIRS_SEED, num_facts]).permutation(np.arange(num_facts) % dim)
    return order_N // (2 * dim), order_N % (2 * dim), labels_N


def pair_table(dim: int, num_facts: int) -> KeyTable:
    """The facts as two-hot keys; the outputs are the labels' scores themselves."""
    first_N, second_N, labels_N = pairs(dim, num_facts)
    keys_ND = torch.zeros(num_facts, 4 * dim)
    keys_ND[torch.arange(num_facts), torch.from_numpy(first_N)] = 1
    keys_ND[torch.arange(num_facts), 2 * dim + torch.from_numpy(second_N)] = 1
    return KeyTable(keys_ND=keys_ND, value_ids_N=torch.from_numpy(labels_N), codes_VE=torch.eye(dim))


def trained_facts(dim: int, published: int) -> float:
    """Most facts that training stores without an error in any of 3 seeds, which is how they were counted."""

    def reaches(num_facts: int) -> bool:
        table, config = pair_table(dim, num_facts), DenseConfig(kind="relu", width=dim)
        return any(accuracy(train(config, table, _BUDGET, seed=seed), table) == 1 for seed in range(3))

    return float(most_facts(reaches, low=int(0.9 * published), high=int(1.5 * published), resolution=_RESOLUTION))


def trained_sigma90(dim: int, num_facts: int) -> float:
    """Relative weight noise at which the accuracy of a trained network falls below .9, mean of 20 trials a level."""
    table = pair_table(dim, num_facts)
    ffn = train(DenseConfig(kind="relu", width=dim), table, _BUDGET, seed=0)
    levels = np.geomspace(1e-6, 1, 61)
    return float(next(level for level in levels if perturbed_accuracy(ffn, table, level, trials=20, seed=0) < 0.9))


def _trained(dim: int, published: int, *, full: bool, seconds_expected: float) -> Claim:
    return Claim(
        source=_SOURCE,
        setting=f"trained, d = {dim}, {5 * dim**2:,} parameters, accuracy 1, best of 3 seeds, 5,000 full-batch steps",
        unit="facts",
        published=float(published),
        band=(0.95 * published, math.inf),
        measure=partial(trained_facts, dim, published),
        tier="full" if full else "quick",
        seconds_expected=seconds_expected,
    )


CLAIMS = [
    _trained(16, 496, full=False, seconds_expected=40.0),
    _trained(32, 2080, full=False, seconds_expected=120.0),
    _trained(64, 7296, full=True, seconds_expected=1500.0),
    _trained(128, 25088, full=True, seconds_expected=9000.0),
    Claim(
        source=_SOURCE,
        setting="sigma90 of the trained network, d = 32, 2,080 facts",
        unit="relative weight noise",
        published=2.0e-2,
        band=(1.0e-2, 4.0e-2),
        measure=partial(trained_sigma90, 32, 2080),
        seconds_expected=12.0,
    ),
]
