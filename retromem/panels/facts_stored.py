"""How many facts of random keys an FFN of one kind stores: the search that panels of capacity share."""

import math

from models.any_ffn import AnyFFNConfig
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import accuracy, first_facts, most_facts_around, random_table, train

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
    """The largest N that is answered with accuracy .99, searched for from half of what is expected; 0 for none.

    The relative resolution is that of the search. RuntimeError where twice what is expected was stored.
    """
    expected = expected_bits_per_param * config.num_params(dim, dim) / math.log2(num_values)

    table = random_table(2 * int(expected) + 3, dim, num_values, seed=seed)

    def reaches(num_facts: int) -> bool:
        facts = first_facts(table, num_facts)
        return accuracy(train(config, facts, budget, seed=seed), facts) >= ACCURACY

    return most_facts_around(reaches, expected=int(expected), resolution=resolution)
