"""Points of the physical limit: facts stored at equal parameters, by search, in bits and as a share of those stored."""

import math
from functools import cache

import torch

from models.any_ffn import AnyFFNConfig, sized
from models.ffn_kinds import DenseConfig, GatedConfig
from models.training_budget import TrainingBudget
from models.weight_packing import packed
from retromem.measure.trained_ffn import accuracy, first_facts, most_facts_around, random_table, rounded, train
from retromem.panels.points import Point
from retromem.panels.theory.physical_limit import BITS_A_PARAM, KINDS, PRECISIONS, PhysicalCapacityConfig
from retromem.theory.pattern_bounds import log2_all_patterns
from retromem.theory.physical_capacity import dense_ffn_params, physical_bits

_EXPECTED_BITS = 3.0
"""a parameter; the search goes up to twice as many, which nothing trained has come near"""


def physical_capacity_points(config: PhysicalCapacityConfig, seed: int) -> list[Point]:
    """Of each dimension and kind: bits at capacity in each precision, and the limits they stay under."""
    points = []
    kinds: dict[str, AnyFFNConfig] = dict(zip(KINDS, (DenseConfig(kind="relu"), GatedConfig()), strict=True))
    for dim in config.dims:
        budget = dense_ffn_params(dim)
        for precision, bits in BITS_A_PARAM.items():
            y = physical_bits(budget, bits)
            points += [
                Point(quantity="bits", series=f"stored, {precision}", x=float(dim), y=y),
                Point(quantity="bits_per_param", series=f"stored, {precision}", x=float(dim), y=bits),
            ]
        y = float(log2_all_patterns([4 * dim]))
        points.append(Point(quantity="bits", series="one of 2^(4d) patterns", x=float(dim), y=y))
        for name, kind in kinds.items():
            points += _kind_points(config, name, sized(kind, budget, dim, dim), dim, seed)
    return points


def _kind_points(
    config: PhysicalCapacityConfig, name: str, ffn_config: AnyFFNConfig, dim: int, seed: int
) -> list[Point]:
    budget = TrainingBudget(steps=config.steps)

    bits_a_fact, num_params = math.log2(config.num_values), ffn_config.num_params(dim, dim)
    expected = int(_EXPECTED_BITS * num_params / bits_a_fact)
    whole = random_table(2 * expected + 3, dim, config.num_values, seed=seed)

    @cache  # both precisions are searched around the same sizes
    def accuracies(num_facts: int) -> dict[str, float]:
        table = first_facts(whole, num_facts)
        ffn = train(ffn_config, table, budget, seed=seed)
        return {precision: accuracy(rounded(ffn, precision), table) for precision in PRECISIONS}

    one = ffn_config.build(dim, dim, generator=torch.Generator().manual_seed(0))
    points = []
    for precision in PRECISIONS:
        num_facts = most_facts_around(
            lambda n, precision=precision: accuracies(n)[precision] >= config.accuracy,  # type: ignore[misc]
            expected=expected,
            resolution=config.resolution,
        )
        bits, series = num_facts * bits_a_fact, f"{name}, {precision}"
        for quantity, y in (
            ("bits", bits),
            ("bits_per_param", bits / num_params),
            ("share_of_stored", bits / (8 * len(packed(one, precision)))),
        ):
            points.append(Point(quantity=quantity, series=series, x=float(dim), y=y, seed=seed))
    return points
