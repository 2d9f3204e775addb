"""How many facts of random keys an FFN of one kind stores: the search that panels of capacity share."""

import math

from models.any_ffn import AnyFFNConfig
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import accuracy, most_facts, random_table, train

ACCURACY = 0.99


def facts_stored(
    config: AnyFFNConfig,
    dim: int,
    num_values: int,
    budget: TrainingBudget,
    *,
    expected_bits_per_param: float,
    seed: int,
    resolution: float,
) -> int:
    """The largest N that is answered with accuracy .99, searched for from an eighth of what is expected; 0 for none.

    The relative resolution is that of the search. RuntimeError where twice what is expected was stored.
    """
    expected = expected_bits_per_param * config.num_params(dim, dim) / math.log2(num_values)

    def reaches(num_facts: int) -> bool:
        table = random_table(num_facts, dim, num_values, seed=seed)
        return accuracy(train(config, table, budget, seed=seed), table) >= ACCURACY

    low, high = max(2, int(expected / 8)), 2 * int(expected) + 3
    found = most_facts(reaches, low=low, high=high, resolution=resolution)
    return found or most_facts(reaches, low=1, high=low, resolution=resolution)
