"""How many facts of random keys an FFN of one kind stores: the search that panels of capacity share."""

import math
from collections.abc import Callable

from models.any_ffn import AnyFFNConfig
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import accuracy, most_facts, random_table, train

ACCURACY = 0.99


def most_facts_around(reaches: Callable[[int], bool], *, expected: int, resolution: float) -> int:
    """The largest N that `reaches(N)`, searched for from half of what is expected upwards, then below; 0 for none.

    Not from few facts upwards: of fewer than 100 one wrong answer is too many for .99, and would end the search there.
    RuntimeError where twice what is expected was reached.
    """
    found, high = 0, 2 * expected + 3
    for start in (max(2, expected // 2), max(2, expected // 8), 1):
        found = found or most_facts(reaches, low=start, high=high, resolution=resolution)
        high = start
    return found


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

    def reaches(num_facts: int) -> bool:
        table = random_table(num_facts, dim, num_values, seed=seed)
        return accuracy(train(config, table, budget, seed=seed), table) >= ACCURACY

    return most_facts_around(reaches, expected=int(expected), resolution=resolution)
