"""Points of the architecture: capacity at equal parameters, by search, of stacks, single layers and presets."""

import math

from models.any_ffn import AnyFFNConfig, sized
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import KeyTable, train
from retromem.panels.facts_stored import most_stored
from retromem.panels.limits.architecture import GUIDE_LINE, ONE_LAYER, ArchitectureConfig, one_layer
from retromem.panels.limits.chosen_keys import RANDOM_KEYS, ChosenKeys
from retromem.panels.points import Point
from retromem.theory.memory_formulas import relu_memory


def architecture_points(config: ArchitectureConfig, seed: int, keys: ChosenKeys = RANDOM_KEYS) -> list[Point]:
    """Facts, parameters and bits per parameter of each; the one-layer FFNs also as lines over depth."""
    table = keys.table(config.num_keys, config.dim, config.num_values, seed=seed)
    points = []
    for series, stack in config.stacks:
        points += _searched(config, stack, table, seed, series=series, x=float(stack.depth))
    for series, ffn in config.whole.items():
        points += _searched(config, ffn, table, seed, series=series, x=None)
    flat = {one_layer(kind) for kind in ONE_LAYER}
    held = [point for point in points if point.series in flat and point.quantity == "whole_bits_per_param"]
    # The guide line is the same at every size, so any width will do.
    guide = relu_memory(config.dim, 2 * config.dim).bits_per_param
    for depth in config.depths:
        for point in held:
            points.append(
                Point(quantity="bits_per_param", series=point.series, x=float(depth), y=point.y, seed=point.seed)
            )
        points.append(Point(quantity="bits_per_param", series=GUIDE_LINE, x=float(depth), y=guide))
    return [*points, Point(quantity="whole_bits_per_param", series=GUIDE_LINE, y=guide)]


def _searched(
    config: ArchitectureConfig, ffn: AnyFFNConfig, table: KeyTable, seed: int, *, series: str, x: float | None
) -> list[Point]:
    of_size = sized(ffn, config.num_params, config.dim, config.dim)
    num_params, bits_per_fact = of_size.num_params(config.dim, config.dim), math.log2(config.num_values)

    budget = TrainingBudget(steps=config.steps)
    num_facts = most_stored(lambda facts: train(of_size, facts, budget, seed=seed), table, resolution=config.resolution)
    prefix = "whole_" if x is None else ""
    y = num_facts * bits_per_fact / num_params
    return [
        Point(quantity=f"{prefix}bits_per_param", series=series, x=x, y=y, seed=seed),
        Point(quantity=f"{prefix}facts", series=series, x=x, y=float(num_facts), seed=seed),
        Point(quantity=f"{prefix}params", series=series, x=x, y=float(num_params)),
    ]
