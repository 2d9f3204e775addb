"""Settings that were measured once before, on two cores, with an independent script: kinds, exposures, rounding.

16 random unit keys' dimensions, 16 values drawn uniformly, about 1,000 parameters, full-batch Adam with a cosine.
"""

import math
from functools import partial

from models.any_ffn import AnyFFNConfig
from models.ffn_kinds import DenseConfig, GatedConfig, LinearConfig, TopKConfig
from models.precisions import Precision
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import accuracy, bisected, random_table, rounded, train
from retromem.reproduce.claim import Claim, within

_SOURCE = "independent trial"
_DIM, _NUM_VALUES, _ACCURACY = 16, 16, 0.99
_RESOLUTION = 0.01
_BUDGET = TrainingBudget(steps=3000, learning_rate=1e-2)


def stored_facts(
    config: AnyFFNConfig,
    bits_per_param: float,
    *,
    seed: int,
    budgets: tuple[TrainingBudget, ...] = (_BUDGET,),
    precision: Precision = "float32",
) -> int:
    """Facts stored at accuracy .99 by any of the budgets, bisected around the bits expected, as in the trial.

    Where success is noisy, as of about 60 facts that must all be right, a search that looks beyond its first failure,
    as those of experiments do, finds more: the trial's did not, so neither does this one.
    """
    expected = bits_per_param * config.num_params(_DIM, _DIM) / math.log2(_NUM_VALUES)

    def reaches(num_facts: int) -> bool:
        table = random_table(num_facts, _DIM, _NUM_VALUES, seed=seed)
        return any(
            accuracy(rounded(train(config, table, budget, seed=seed), precision), table) >= _ACCURACY
            for budget in budgets
        )

    good, size, high = 0, int(0.6 * expected), int(1.8 * expected)
    while reaches(size):
        if size == high:
            raise RuntimeError(f"even {high} facts were stored: the search must start from a wider range")
        good, size = size, min(2 * size, high)
    return bisected(reaches, good=good, bad=size, resolution=_RESOLUTION) if good else 0


def bits_per_param(config: AnyFFNConfig, expected: float, budget: TrainingBudget, seeds: tuple[int, ...]) -> float:
    """Mean over seeds."""
    facts = [stored_facts(config, expected, seed=seed, budgets=(budget,)) for seed in seeds]
    return sum(facts) / len(facts) * math.log2(_NUM_VALUES) / config.num_params(_DIM, _DIM)


def int8_drop(load: float, seeds: tuple[int, ...]) -> float:
    """Accuracy lost by rounding a trained ReLU FFN to int8, at this share of its capacity; the largest of the seeds."""
    config, drops = DenseConfig(kind="relu", width=32), []
    for seed in seeds:
        num_facts = int(load * stored_facts(config, 2.03, seed=seed))
        table = random_table(num_facts, _DIM, _NUM_VALUES, seed=seed)
        ffn = train(config, table, _BUDGET, seed=seed)
        drops.append(accuracy(ffn, table) - accuracy(rounded(ffn, "int8"), table))
    return max(drops)


def int4_capacity_ratio(seeds: tuple[int, ...]) -> float:
    """Facts stored once the trained weights are rounded to int4, over those stored in float32; mean of the seeds."""
    config, ratios = DenseConfig(kind="relu", width=32), []
    for seed in seeds:
        whole = stored_facts(config, 2.03, seed=seed)
        ratios.append(stored_facts(config, 1.0, seed=seed, precision="int4") / whole)
    return sum(ratios) / len(ratios)


def exposure_ratio(config: AnyFFNConfig, expected: tuple[float, float], seeds: tuple[int, ...]) -> float:
    """Facts stored after 100 exposures over those after 1,000, each at the better of its two learning rates."""
    few = tuple(TrainingBudget(steps=100, learning_rate=rate) for rate in (3e-2, 1e-1))
    many = tuple(TrainingBudget(steps=1000, learning_rate=rate) for rate in (1e-2, 3e-2))
    ratios = [
        stored_facts(config, expected[0], seed=seed, budgets=few)
        / stored_facts(config, expected[1], seed=seed, budgets=many)
        for seed in seeds
    ]
    return sum(ratios) / len(ratios)


_EQUAL_PARAMETERS: list[tuple[str, AnyFFNConfig, float]] = [
    ("ReLU", DenseConfig(kind="relu", width=32), 2.03),
    ("GELU", DenseConfig(kind="gelu", width=32), 2.24),
    ("SwiGLU", GatedConfig(kind="swiglu", width=32), 2.64),
    ("bilinear", GatedConfig(kind="bilinear", width=32), 2.17),
    ("top-8 of 32", TopKConfig(width=32, active_share=0.25), 1.5),
]
_SETTING = "3,000 full-batch steps of Adam at .01 with a cosine"
_EXPOSURES_SETTING = "Adam with a cosine, at the better of .03 and .1 for 100 steps, of .01 and .03 for 1,000"
# At .01 a single matrix is not done after 3,000 steps (.85); and about 60 facts of which all must be right vary more.
_LINEAR = TrainingBudget(steps=3000, learning_rate=3e-2)

CLAIMS = [
    Claim(
        source=_SOURCE,
        setting="linear, d = 16, 256 parameters, 16 values, 12 seeds, 3,000 full-batch steps of Adam at .03 with a "
        "cosine (at .01, as the trial has it, we get .85)",
        unit="bits/param",
        resolution=_RESOLUTION,
        published=1.0,
        band=within(1.0, 0.08),
        measure=partial(bits_per_param, LinearConfig(), 1.0, _LINEAR, tuple(range(12))),
        seconds_expected=60.0,
    ),
    *(
        Claim(
            source=_SOURCE,
            setting=f"{name}, d = 16, {config.num_params(_DIM, _DIM):,} parameters, 16 values, 3 seeds; {_SETTING}",
            unit="bits/param",
            resolution=_RESOLUTION,
            published=published,
            band=within(published, 0.08),
            measure=partial(bits_per_param, config, published, _BUDGET, (0, 1, 2)),
            seconds_expected=25.0,
        )
        for name, config, published in _EQUAL_PARAMETERS
    ),
    Claim(
        source=_SOURCE,
        setting="ReLU at 95 % of its capacity, rounded to int8 after training: accuracy lost, worst of 3 seeds; "
        f"{_SETTING}",
        unit="accuracy",
        published=0.0,
        band=(-1.0, 0.003),
        measure=partial(int8_drop, 0.95, (0, 1, 2)),
        seconds_expected=25.0,
    ),
    Claim(
        source=_SOURCE,
        setting="ReLU rounded to int4 after training: capacity over that of float32, 3 seeds (published decoders: "
        f".35); {_SETTING}",
        unit="ratio",
        resolution=2 * _RESOLUTION,  # of both capacities
        published=0.5,
        band=(0.35, 0.65),
        measure=partial(int4_capacity_ratio, (0, 1, 2)),
        seconds_expected=45.0,
    ),
    Claim(
        source=_SOURCE,
        setting="ReLU, capacity after 100 exposures over that after 1,000, 3 seeds (published decoders: .5); "
        f"{_EXPOSURES_SETTING}",
        unit="ratio",
        resolution=2 * _RESOLUTION,
        published=0.73,
        band=(0.60, 0.80),
        measure=partial(exposure_ratio, DenseConfig(kind="relu", width=32), (1.29, 1.76), (0, 1, 2)),
        seconds_expected=30.0,
    ),
    Claim(
        source=_SOURCE,
        setting="SwiGLU, capacity after 100 exposures over that after 1,000, 3 seeds (published decoders: .5); "
        f"{_EXPOSURES_SETTING}",
        unit="ratio",
        resolution=2 * _RESOLUTION,
        published=0.69,
        band=(0.60, 0.80),
        measure=partial(exposure_ratio, GatedConfig(width=32), (1.68, 2.43), (0, 1, 2)),
        seconds_expected=35.0,
    ),
]
