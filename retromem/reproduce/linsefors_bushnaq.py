"""The memorisation challenge of Linsefors and Bushnaq (2026), as re-measured: two-token keys, bias-free ReLU.

A key is a pair of 2d tokens, its label one of d. The network embeds each token, adds, applies ReLU, reads out: that is
a ReLU FFN over two one-hot vectors (4d inputs, d hidden units, d outputs), 5 d^2 parameters. Facts are the first n of a
seeded permutation of all pairs, labels balanced.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from models.ffn import FFN
from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from models.two_sided import two_sided
from retromem.measure.capacity import search_capacity
from retromem.measure.settings import CapacitySearch
from retromem.measure.trained_ffn import KeyTable, accuracy, perturbed_accuracy, train
from retromem.reproduce.claim import Claim, Tier

_SOURCE = "Linsefors and Bushnaq 2026"
_PAIRS_SEED = 42
_BUDGET = TrainingBudget(steps=5000, learning_rate=1e-2, goal_nats=2e-4, max_seconds=600.0)
_RESOLUTION = 0.0125
_LEVELS_A_DECADE = 20
_LONG_FROM_DIM = 128
_GPU_FROM_DIM = 64
_SIGMA_RESOLUTION = 10 ** (1 / _LEVELS_A_DECADE) - 1


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


def _most_facts(reaches: Callable[[int], bool], published: int) -> float:
    """Most facts stored, searched for from a tenth below the published number to a twentieth above it."""
    low, high = int(0.9 * published), int(1.05 * published)
    search = CapacitySearch(accuracy=1.0, low=low, high=high, resolution=_RESOLUTION)
    return float(search_capacity(reaches, search, num_available=high).num_facts)


def trained_facts(dim: int, published: int) -> float:
    """Most facts that training stores without an error in any of 3 seeds, which is how they were counted."""

    def reaches(num_facts: int) -> bool:
        table, config = pair_table(dim, num_facts), DenseConfig(kind="relu", width=dim)
        # Where there is a GPU, a large one trains there: minutes instead of hours.
        accelerator = "auto" if dim >= _GPU_FROM_DIM else "cpu"
        return any(
            accuracy(train(config, table, _BUDGET, seed=seed, accelerator=accelerator), table) == 1 for seed in range(3)
        )

    # One training of 25,088 facts takes long: the published number is asked first, and fewer only where it fails.
    return _most_facts(reaches, published) if dim < _LONG_FROM_DIM else _most_facts_downwards(reaches, published)


def _most_facts_downwards(reaches: Callable[[int], bool], published: int) -> float:
    """The published number where it is stored, or the first of those below it, down to a twentieth; else 0."""
    for share in np.arange(1.0, 0.95 - 1e-9, -_RESOLUTION).tolist():
        if reaches(math.ceil(share * published)):
            return float(math.ceil(share * published))
    return 0.0


def solved(dim: int, num_facts: int, *, seed: int) -> FFN:
    """The same network, its weights by the two-sided construction."""
    first_N, second_N, labels_N = (torch.from_numpy(part) for part in pairs(dim, num_facts))
    weights = two_sided(
        first_N, second_N, labels_N, num_tokens=2 * dim, num_labels=dim, hidden_units=dim, seed=10_000 + seed
    )
    ffn = DenseConfig(kind="relu", width=dim).build(4 * dim, dim, generator=torch.Generator())
    ffn.load_state_dict({"w_in_DF": weights.w_in_DF, "w_out_FE": weights.w_out_FE})
    return ffn.eval()


def solved_facts(dim: int, published: int) -> float:
    """Most facts that the construction stores without an error in any of 3 seeds."""

    def reaches(num_facts: int) -> bool:
        table = pair_table(dim, num_facts)
        return any(accuracy(solved(dim, num_facts, seed=seed), table) == 1 for seed in range(3))

    return _most_facts(reaches, published)


def sigma90(ffn: FFN, table: KeyTable) -> float:
    """Relative weight noise at which the accuracy falls below .9, mean of 20 trials a level, 20 levels a decade.

    Bisected over the levels: the same draws of noise, only longer, at each. inf where the last level is borne.
    """
    levels = np.geomspace(1e-6, 1, 6 * _LEVELS_A_DECADE + 1)
    low, high = -1, len(levels)
    while high - low > 1:
        middle = (low + high) // 2
        borne = perturbed_accuracy(ffn, table, float(levels[middle]), trials=20, seed=0) >= 0.9
        low, high = (middle, high) if borne else (low, middle)
    return float(levels[high]) if high < len(levels) else math.inf


def trained_sigma90(dim: int, num_facts: int) -> float:
    """Of a trained network that stores all the facts."""
    table = pair_table(dim, num_facts)
    return sigma90(train(DenseConfig(kind="relu", width=dim), table, _BUDGET, seed=0), table)


def solved_sigma90(dim: int, num_facts: int) -> float:
    """Of the construction, at the same load."""
    return sigma90(solved(dim, num_facts, seed=0), pair_table(dim, num_facts))


def _counted(
    how: str, measure: Callable[[int, int], float], dim: int, published: int, *, seconds_expected: float, tier: Tier
) -> Claim:
    """Facts at accuracy 1."""
    downwards = measure is trained_facts and dim >= _LONG_FROM_DIM
    return Claim(
        source=_SOURCE,
        setting=f"{how}, d = {dim}, {5 * dim**2:,} parameters, accuracy 1, best of 3 seeds; "
        + ("the published number first, then fewer" if downwards else "searched up to a twentieth more"),
        unit="facts",
        resolution=_RESOLUTION,
        published=float(published),
        band=(0.95 * published, math.inf),
        measure=partial(measure, dim, published),
        tier=tier,
        seconds_expected=seconds_expected,
    )


_trained = partial(_counted, "trained, 5,000 full-batch steps", trained_facts)
_solved = partial(_counted, "two-sided construction", solved_facts)

CLAIMS = [
    _trained(16, 496, tier="quick", seconds_expected=10.0),
    _trained(32, 2080, tier="quick", seconds_expected=40.0),
    _trained(64, 7296, tier="full", seconds_expected=600.0),
    _trained(128, 25088, tier="full", seconds_expected=4000.0),
    Claim(
        source=_SOURCE,
        setting="sigma90 of the trained network, d = 32, 2,080 facts",
        unit="relative weight noise",
        resolution=_SIGMA_RESOLUTION,
        published=2.0e-2,
        band=(1.0e-2, 4.0e-2),
        measure=partial(trained_sigma90, 32, 2080),
        seconds_expected=12.0,
    ),
    _solved(16, 696, tier="quick", seconds_expected=3.0),
    _solved(32, 3168, tier="quick", seconds_expected=3.0),
    _solved(64, 12800, tier="quick", seconds_expected=15.0),
    _solved(128, 51200, tier="full", seconds_expected=300.0),
    Claim(
        source=_SOURCE,
        setting="sigma90 of the two-sided construction, d = 32, 2,080 facts",
        unit="relative weight noise",
        resolution=_SIGMA_RESOLUTION,
        published=1.5e-5,
        band=(0.75e-5, 3.0e-5),
        measure=partial(solved_sigma90, 32, 2080),
        seconds_expected=5.0,
    ),
]
