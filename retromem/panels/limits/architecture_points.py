"""Points of the architecture: capacity at equal parameters, by search, of stacks, single layers and presets."""

import math
from dataclasses import replace

from models.any_ffn import AnyFFNConfig, sized
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import KeyTable, train
from retromem.panels.facts_stored import most_stored
from retromem.panels.limits.architecture import GUIDE_LINE, ONE_LAYER, ArchitectureConfig, one_layer
from retromem.panels.limits.chosen_keys import RANDOM_KEYS, ChosenKeys
from retromem.panels.points import Point
from retromem.theory.memory_formulas import relu_memory


def architecture_points(config: ArchitectureConfig, seed: int, keys: ChosenKeys = RANDOM_KEYS) -> list[Point]:
    """Facts, parameters and bits per parameter of each; those of one layer also as lines over depth.

    Stacks stand at their depth; one layer and presets have no other, and no x.
    """
    table = keys.table(config.num_keys, config.dim, config.num_values, seed=seed)
    points = []
    for series, stack in config.stacks:
        points += _searched(config, stack, table, seed, series=series, x=float(stack.depth))
    for series, ffn in config.whole.items():
        points += _searched(config, ffn, table, seed, series=series, x=None)
    flat = {one_layer(kind) for kind in ONE_LAYER}
    held = [point for point in points if point.series in flat and point.quantity == "bits_per_param"]
    # The guide line is the same at every size, so any width will do.
    guide = relu_memory(config.dim, 2 * config.dim).bits_per_param
    held.append(Point(quantity="bits_per_param", series=GUIDE_LINE, y=guide))
    lines = [replace(point, x=float(depth)) for depth in config.depths for point in held]
    return [*points, *lines, held[-1]]


def _searched(
    config: ArchitectureConfig, ffn: AnyFFNConfig, table: KeyTable, seed: int, *, series: str, x: float | None
) -> list[Point]:
    of_size = sized(ffn, config.num_params, config.dim, config.dim)
    num_params, budget = of_size.num_params(config.dim, config.dim), TrainingBudget(steps=config.steps)
    num_facts = most_stored(lambda facts: train(of_size, facts, budget, seed=seed), table, resolution=config.resolution)
    bits = num_facts * math.log2(config.num_values) / num_params
    return [
        Point(quantity="bits_per_param", series=series, x=x, y=bits, seed=seed),
        Point(quantity="facts", series=series, x=x, y=float(num_facts), seed=seed),
        Point(quantity="params", series=series, x=x, y=float(num_params)),
    ]
