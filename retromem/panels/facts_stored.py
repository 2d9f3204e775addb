"""How many facts an FFN of one kind stores: the search that panels of capacity share."""

import math
from collections.abc import Callable

from models.any_ffn import AnyFFNConfig
from models.ffn import FFN
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import KeyTable, accuracy, first_facts, most_facts_around, random_table, train

ACCURACY = 0.99
_SPARE = 3  # facts beyond twice those expected


def facts_around(
    config: AnyFFNConfig, dim: int, num_values: int, expected_bits_per_param: float, *, seed: int
) -> KeyTable:
    """Random facts, about twice as many as an FFN is expected to store: a search asks for the first of them."""
    expected = expected_bits_per_param * config.num_params(dim, dim) / math.log2(num_values)
    return random_table(2 * int(expected) + _SPARE, dim, num_values, seed=seed)


def facts_stored(
    config: AnyFFNConfig, around: KeyTable, budget: TrainingBudget, *, seed: int, resolution: float
) -> int:
    """The largest N that a training stores, as `most_stored`; RuntimeError where twice what is expected was stored."""
    return most_stored(lambda facts: train(config, facts, budget, seed=seed), around, resolution=resolution)


def most_stored(write: Callable[[KeyTable], FFN], table: KeyTable, *, resolution: float) -> int:
    """The largest N of nested sets that is answered with accuracy .99, searched for from a quarter of the table.

    0 for none. The relative resolution is that of the search. RuntimeError where the whole table was stored.
    """

    def reaches(num_facts: int) -> bool:
        facts = first_facts(table, num_facts)
        return accuracy(write(facts), facts) >= ACCURACY

    return most_facts_around(reaches, expected=(len(table.keys_ND) - _SPARE) // 2, resolution=resolution)
