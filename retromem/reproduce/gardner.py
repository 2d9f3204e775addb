"""Cover 1965, Gardner 1988: a perceptron learns two random labels a weight, the middle of what it can separate."""

from functools import partial
from statistics import mean

from models.ffn_kinds import LinearConfig
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import accuracy, first_facts, most_facts, train
from retromem.panels.theory.perceptron_limits_points import two_valued_table
from retromem.reproduce.claim import Claim, within
from retromem.theory.classical_bounds import GARDNER_PATTERNS_PER_WEIGHT

_WEIGHTS, _RESOLUTION = 64, 0.03
_SEEDS = tuple(range(6))
_BUDGET = TrainingBudget(steps=2000, learning_rate=1.0)


def patterns_per_weight(seeds: tuple[int, ...]) -> float:
    """Random labels that one output learns without an error, a weight; mean of the seeds."""

    def found(seed: int) -> int:
        whole = two_valued_table(3 * _WEIGHTS, _WEIGHTS, seed=seed)

        def reaches(num_facts: int) -> bool:
            table = first_facts(whole, num_facts)
            return accuracy(train(LinearConfig(), table, _BUDGET, seed=seed), table) == 1

        return most_facts(reaches, low=3 * _WEIGHTS // 2, high=3 * _WEIGHTS, resolution=_RESOLUTION)

    return mean(found(seed) for seed in seeds) / _WEIGHTS


CLAIMS = [
    Claim(
        source="Cover 1965, Gardner 1988",
        setting=f"perceptron of {_WEIGHTS} weights, random labels learnt without an error, {len(_SEEDS)} seeds; "
        f"{_BUDGET.steps:,} full-batch steps of Adam at {_BUDGET.learning_rate:g} with a cosine",
        unit="patterns a weight",
        resolution=_RESOLUTION,
        published=GARDNER_PATTERNS_PER_WEIGHT,
        band=within(GARDNER_PATTERNS_PER_WEIGHT, 0.12),  # half of all draws are separable there, one in six at 2.2
        measure=partial(patterns_per_weight, _SEEDS),
        seconds_expected=45.0,
    )
]
