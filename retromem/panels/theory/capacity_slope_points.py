"""Points of capacity over hidden units, beside lines of slope 1."""

import math

from models.training_budget import TrainingBudget
from retromem.panels.facts_stored import facts_around, facts_stored
from retromem.panels.points import Point
from retromem.panels.theory.capacity_slope import CapacitySlopeConfig, ffn_of, units_of
from retromem.theory.memory_formulas import relu_memory_of_32_classes

_EXPECTED_BITS = {
    "ReLU": 2.03,
    "GELU": 2.24,
    "SiLU": 2.24,
    "SwiGLU": 2.64,
    "GeGLU": 2.64,
    "ReGLU": 2.5,
    "GLU": 2.6,
    "bilinear": 2.17,
    "k winners": 1.4,
    "4 experts": 2.3,
    "product keys": 2.5,
}
"""a parameter, around which the capacity is searched for"""


def capacity_slope_points(config: CapacitySlopeConfig, seed: int) -> list[Point]:
    """Facts and bits per parameter of every kind at every width; the lines at all widths of the dense kinds."""
    points, bits_per_fact, budget = [], math.log2(config.num_values), TrainingBudget(steps=config.steps)
    for kind in config.kinds:
        for width in config.widths:
            ffn = ffn_of(kind, width, config.dim)
            if ffn is None:
                continue
            units = units_of(ffn, config.dim)
            around = facts_around(ffn, config.dim, config.num_values, _EXPECTED_BITS[kind], seed=seed)
            facts = facts_stored(ffn, around, budget, seed=seed, resolution=config.resolution)
            bits = facts * bits_per_fact / ffn.num_params(config.dim, config.dim)
            points.append(Point(quantity="facts", series=kind, x=float(units), y=float(facts), seed=seed))
            points.append(Point(quantity="bits_per_param", series=kind, x=float(units), y=bits, seed=seed))
    # A layer narrower than its keys is no starting point: see the page.
    first = next((point for point in points if point.x is not None and point.x >= config.dim), points[0])
    assert first.x is not None
    for width in config.widths:
        published = relu_memory_of_32_classes(config.dim, width)
        lines = {
            "slope 1 from ReLU at d": first.y * width / first.x,
            "published 2.08 bits per parameter": published.bits_per_param * published.num_params / bits_per_fact,
        }
        points += [Point(quantity="facts", series=line, x=float(width), y=y) for line, y in lines.items()]
    return points
