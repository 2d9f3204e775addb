"""Points of capacity over the sparsity of keys, beside d, 2^d and the number of keys there are.

Shape legend: N facts, D key dimension, V values, E code dimension.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from models.closed_form.linear_memory import outer_product_memory, pseudo_inverse_memory
from models.ffn import FFN
from models.ffn_kinds import DenseConfig, LinearConfig
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import KeyTable, accuracy, most_facts_around, random_table, train
from retromem.panels.facts_stored import ACCURACY
from retromem.panels.points import Point
from retromem.panels.theory.key_sparsity import EVERY_KEY, EVERY_SIGN, ORTHOGONAL, KeySparsityConfig


def key_sparsity_points(config: KeySparsityConfig, seed: int) -> list[Point]:
    """Facts of every memory at every number of nonzero entries, the linear memories first."""
    points = []
    relu = DenseConfig(kind="relu", width=config.dim)
    # At .01 a single matrix is not done after 3,000 steps.
    linear_budget = TrainingBudget(steps=config.steps, learning_rate=3e-2)
    written: dict[str, Callable[[KeyTable], FFN]] = {
        "outer products": lambda table: _stored(outer_product_memory(table.keys_ND, table.value_ids_N, table.codes_VE)),
        "least squares": lambda table: _stored(pseudo_inverse_memory(table.keys_ND, table.value_ids_N, table.codes_VE)),
        "trained matrix": lambda table: train(LinearConfig(), table, linear_budget, seed=seed),
        "trained ReLU FFN": lambda table: train(relu, table, TrainingBudget(steps=config.steps), seed=seed),
    }
    for nonzero in config.nonzeros:
        x, log2_keys = float(nonzero), log2_distinct_keys(config.dim, nonzero)
        for series, write in written.items():
            # One bit a weight for a matrix, two for ReLU: a quarter of that is where the search starts.
            expected = (2 if series == "trained ReLU FFN" else 1) * config.dim**2 / math.log2(config.num_values)
            facts = _most_facts(
                config, write, nonzero, seed, math.ceil(expected / 4), round(2.0 ** min(log2_keys, 20.0))
            )
            points.append(Point(quantity="facts", series=series, x=x, y=float(facts), seed=seed))
            points.append(Point(quantity="log2_facts", series=series, x=x, y=math.log2(facts), seed=seed))
        points.append(Point(quantity="facts", series=ORTHOGONAL, x=x, y=float(config.dim)))
        lines = {
            ORTHOGONAL: math.log2(config.dim),
            "parameters of the FFN": math.log2(relu.num_params(config.dim, config.dim)),
            EVERY_KEY: log2_keys,
            EVERY_SIGN: float(config.dim),
        }
        points += [Point(quantity="log2_facts", series=line, x=x, y=y) for line, y in lines.items()]
    return points


def log2_distinct_keys(dim: int, nonzero: int) -> float:
    """log2 of C(d, k) 2^k: where the nonzero entries are, and their signs."""
    return math.log2(math.comb(dim, nonzero)) + nonzero


def sparse_keys(num_keys: int, dim: int, nonzero: int, *, seed: int) -> Float[Tensor, "N D"]:
    """Different unit keys with `nonzero` entries of either sign and one size; more keys begin with the same ones."""
    rng = np.random.default_rng(seed)
    found: dict[bytes, None] = {}
    while len(found) < num_keys:
        signs_D = np.zeros(dim, dtype=np.int8)
        signs_D[rng.permutation(dim)[:nonzero]] = rng.choice(np.array([-1, 1], dtype=np.int8), nonzero)
        found[signs_D.tobytes()] = None
    signs_ND = np.frombuffer(b"".join(found), dtype=np.int8).reshape(num_keys, dim)
    return torch.from_numpy(signs_ND.astype(np.float32)) / math.sqrt(nonzero)


def _stored(weights: dict[str, Tensor]) -> FFN:
    dim_in, dim_out = weights["w_DE"].shape
    ffn = LinearConfig().build(dim_in, dim_out, generator=torch.Generator())
    ffn.load_state_dict(weights)
    return ffn


def _most_facts(
    config: KeySparsityConfig, write: Callable[[KeyTable], FFN], nonzero: int, seed: int, low: int, num_keys: int
) -> int:
    """At most all the keys there are; RuntimeError where the search ends before them."""

    def reaches(num_facts: int) -> bool:
        table = random_table(num_facts, config.dim, config.num_values, seed=seed)
        keys_ND = sparse_keys(num_facts, config.dim, nonzero, seed=seed)
        table = KeyTable(keys_ND=keys_ND, value_ids_N=table.value_ids_N, codes_VE=table.codes_VE)
        return accuracy(write(table), table) >= ACCURACY

    found = most_facts_around(
        lambda num_facts: num_facts <= num_keys and reaches(num_facts),
        expected=4 * low,
        resolution=config.resolution,
        high=64 * low,
    )
    if not found:
        raise RuntimeError("not even one fact was stored")
    return found
