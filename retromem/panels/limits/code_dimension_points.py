"""Capacity by the dimension of the value codes.

Shape legend: N facts, D key dimension.
"""

import math
from dataclasses import replace

import torch

from models.any_ffn import sized
from models.ffn_kinds import GatedConfig
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import KeyTable, accuracy, most_facts_around, random_table, train, unit_rows
from retromem.panels.limits.code_dimension import CodeDimensionConfig
from retromem.panels.points import Point

_GUIDES = {"ReLU, published guide line": 5 / 2.4, "densest construction here": 3.6}
_EXPECTED_BITS, _RESOLUTION = 2.7, 0.03


def coded_table(num_facts: int, config: CodeDimensionConfig, code_dim: int, *, seed: int) -> KeyTable:
    """Random keys and values; codes of their own dimension, the same for every N."""
    table = random_table(num_facts, config.dim, config.num_values, seed=seed)
    generator = torch.Generator().manual_seed(20_000 + seed)
    return replace(table, codes_VE=unit_rows(config.num_values, code_dim, generator))


def code_dimension_points(config: CodeDimensionConfig, seed: int) -> list[Point]:
    """Capacities and what they stand, then the one load at length."""
    points = [
        Point(quantity="bits_per_param", series=series, x=float(dim), y=y)
        for series, y in _GUIDES.items()
        for dim in config.code_dims
    ]
    for code_dim in config.code_dims:
        points += _at_capacity(config, code_dim, seed)
    ffn = sized(GatedConfig(), config.num_params, config.dim, config.long_dim)
    num_params = ffn.num_params(config.dim, config.long_dim)
    table = coded_table(
        int(config.long_bits_per_param * num_params / _bits(config)), config, config.long_dim, seed=seed
    )
    held = accuracy(train(ffn, table, TrainingBudget(steps=config.long_steps), seed=seed), table)
    return [*points, Point(quantity="accuracy at length", series="SwiGLU", x=float(config.long_dim), y=held, seed=seed)]


def _bits(config: CodeDimensionConfig) -> float:
    return math.log2(config.num_values)


def _at_capacity(config: CodeDimensionConfig, code_dim: int, seed: int) -> list[Point]:
    ffn = sized(GatedConfig(), config.num_params, config.dim, code_dim)
    facts_of_a_bit = ffn.num_params(config.dim, code_dim) / _bits(config)

    def reaches(num_facts: int) -> bool:
        table = coded_table(num_facts, config, code_dim, seed=seed)
        return accuracy(train(ffn, table, TrainingBudget(steps=config.steps), seed=seed), table) >= 0.99

    found = most_facts_around(reaches, expected=int(_EXPECTED_BITS * facts_of_a_bit), resolution=_RESOLUTION)
    # Robustness at one load for all: at its own capacity each would be asked about another number of facts.
    table = coded_table(int(config.noisy_bits_per_param * facts_of_a_bit), config, code_dim, seed=seed)
    trained = train(ffn, table, TrainingBudget(steps=config.steps), seed=seed)
    values = {
        "bits_per_param": found / facts_of_a_bit,
        "accuracy at key noise .1": accuracy(trained, _moved(table, seed)),
    }
    return [Point(quantity=name, series="SwiGLU", x=float(code_dim), y=y, seed=seed) for name, y in values.items()]


def _moved(table: KeyTable, seed: int) -> KeyTable:
    """Every key moved by a tenth of its length, and brought back to it."""
    num_facts, dim = table.keys_ND.shape
    noise_ND = unit_rows(num_facts, dim, torch.Generator().manual_seed(30_000 + seed))
    keys_ND = torch.nn.functional.normalize(table.keys_ND + 0.1 * noise_ND, dim=1)
    return replace(table, keys_ND=keys_ND)
