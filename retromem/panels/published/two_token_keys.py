"""The memorisation challenge of Linsefors and Bushnaq (2026), as re-measured: two-token keys, bias-free ReLU.

A key is a pair of 2d tokens, its label one of d. The network embeds each token, adds, applies ReLU, reads out: that is
a ReLU FFN over two one-hot vectors (4d inputs, d hidden units, d outputs), 5 d^2 parameters. Facts are the first n of a
seeded permutation of all pairs, labels balanced. Its weights are trained, or by the two-sided construction.

Shape legend: N facts, D inputs.
"""

import numpy as np
import torch

from models.ffn import FFN
from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from models.two_sided import two_sided
from retromem.measure.trained_ffn import KeyTable, train

_PAIRS_SEED = 42
_TRAINING = TrainingBudget(steps=5000, learning_rate=1e-2, goal_nats=2e-4, max_seconds=600.0)
_GPU_FROM_DIM = 64


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


def trained(dim: int, num_facts: int, *, seed: int) -> FFN:
    """The network, trained on all the facts; a large one on a GPU where there is one: minutes instead of hours."""
    accelerator = "auto" if dim >= _GPU_FROM_DIM else "cpu"
    config = DenseConfig(kind="relu", width=dim)
    return train(config, pair_table(dim, num_facts), _TRAINING, seed=seed, accelerator=accelerator)


def constructed(dim: int, num_facts: int, *, seed: int) -> FFN:
    """The same network, its weights by the two-sided construction."""
    first_N, second_N, labels_N = (torch.from_numpy(part) for part in pairs(dim, num_facts))
    weights = two_sided(
        first_N, second_N, labels_N, num_tokens=2 * dim, num_labels=dim, hidden_units=dim, seed=10_000 + seed
    )
    ffn = DenseConfig(kind="relu", width=dim).build(4 * dim, dim, generator=torch.Generator())
    ffn.load_state_dict({"w_in_DF": weights.w_in_DF, "w_out_FE": weights.w_out_FE})
    return ffn.eval()
