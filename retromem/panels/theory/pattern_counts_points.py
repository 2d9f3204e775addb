"""Points of activation patterns: exact regions in planes and on segments, patterns of the stored facts, and bounds.

Shape legend: N facts, D key dimension, F units that switch, S segments, C corners of a square.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy import ndarray

from models.any_ffn import AnyFFNConfig, sized
from models.diagnostics.activation_patterns import hidden_blocks, read_patterns
from models.diagnostics.linear_regions import ReLULayer, regions_in_polygon, regions_on_segment
from models.ffn import FFN, DenseFFN, GatedFFN
from models.ffn_kinds import DenseConfig, GatedConfig
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import KeyTable, accuracy, random_table, train, unit_rows
from retromem.panels.points import Point
from retromem.panels.theory.pattern_counts import BIAS_DEVIATION, STATES, TWO_LAYERS, ActivationPatternsConfig
from retromem.theory.pattern_bounds import (
    affine_regions,
    central_regions,
    log2_all_patterns,
    log2_hanin_rolnick,
    log2_layerwise_upper,
    log2_montufar_lower,
)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What was counted in one FFN."""

    distinct: int
    """patterns over the stored keys"""
    alone: int
    """facts with a pattern of their own"""
    plane_regions: int
    segment_regions: Mapping[str, float]
    """mean over segments between two keys: any two stored, two stored with one value, two that were never stored.
    Those with one value are left out where no two facts share one."""


def activation_patterns_points(config: ActivationPatternsConfig, seed: int) -> list[Point]:
    """Bounds and counts over the width, for each dimension; ReGLU and ReLU side by side at the largest."""
    points = [
        Point(
            quantity="log2_count_d2",
            series=TWO_LAYERS,
            x=float(width),
            y=math.log2(regions_of_two_layers(width // 2, seed=seed)),
            seed=seed,
        )
        for width in config.widths
        if 2 in config.dims
    ]
    for dim, bits_per_param in zip(config.dims, config.bits_per_param, strict=True):
        for width in config.widths:
            points += _bounds(dim, width)
            dense = DenseConfig(kind="relu", width=width)
            num_params = dense.num_params(dim, dim)
            kinds: dict[str, AnyFFNConfig] = {"ReLU": dense}
            if dim == max(config.dims):
                kinds["ReGLU"] = sized(GatedConfig(kind="reglu"), num_params, dim, dim)
            num_facts = max(3, int(bits_per_param * num_params / math.log2(config.num_values)))
            table = random_table(num_facts, dim, config.num_values, seed=seed)
            for kind, ffn_config in kinds.items():
                points += _kind_points(config, kind, ffn_config, table, width, seed)
    return points


def _bounds(dim: int, width: int) -> list[Point]:
    halves = (width // 2, width // 2)
    log2_counts = {
        "all on/off, 2^d_ff": float(log2_all_patterns([width])),
        "Zaslavsky, biases": math.log2(affine_regions(width, dim)),
        "Zaslavsky, no biases": math.log2(central_regions(width, dim)),
        "layerwise, two layers": log2_layerwise_upper(halves, dim),
        "Hanin and Rolnick": log2_hanin_rolnick(width, dim),
    }
    if width // 2 >= dim:  # a narrower layer folds nothing
        log2_counts["Montufar, two layers"] = log2_montufar_lower(halves, dim)
    return [
        Point(quantity=f"log2_count_d{dim}", series=series, x=float(width), y=y) for series, y in log2_counts.items()
    ]


def _kind_points(
    config: ActivationPatternsConfig, kind: str, ffn_config: AnyFFNConfig, table: KeyTable, width: int, seed: int
) -> list[Point]:
    dim = table.keys_ND.shape[1]
    points: list[Point] = []

    def add(quantity: str, series: str, y: float | int) -> None:
        points.append(Point(quantity=quantity, series=series, x=float(width), y=float(y), seed=seed))

    ffns = {
        state: train(ffn_config, table, TrainingBudget(steps=steps), seed=seed)
        for state, steps in zip(STATES, (0, config.steps), strict=True)
    }
    per_1000 = 1000 / ffn_config.num_params(dim, dim)
    num_units = switching_weights(ffns["trained"]).shape[1]
    if kind == "ReLU":
        add(f"facts_d{dim}", kind, len(table.keys_ND))
        add(f"accuracy_d{dim}", kind, accuracy(ffns["trained"], table))
    if dim == max(config.dims):
        add("units", kind, num_units)
        expected = (1 + num_units / 2) * per_1000
        series = f"{kind}, random units"
        points.append(Point(quantity="segment_regions_per_1000_params", series=series, x=float(width), y=expected))
    for state, ffn in ffns.items():
        counts, series = counted(ffn, table, num_segments=config.num_segments, seed=seed), f"{kind}, {state}"
        if kind == "ReLU":
            add(f"distinct_d{dim}", series, counts.distinct)
            add(f"alone_d{dim}", series, counts.alone)
            add(f"plane_regions_d{dim}", series, counts.plane_regions)
            add(f"segment_regions_d{dim}", series, counts.segment_regions["stored"])
            if state == "trained":
                add(f"log2_count_d{dim}", "patterns of the facts", math.log2(counts.distinct))
                add(f"log2_count_d{dim}", "regions in a plane", math.log2(counts.plane_regions))
        if dim == max(config.dims):
            add("segment_regions_per_1000_params", series, counts.segment_regions["stored"] * per_1000)
            add("plane_regions_per_1000_params", series, counts.plane_regions * per_1000)
            for keys, regions in counts.segment_regions.items():
                add(f"crossings_per_unit_{keys}", series, (regions - 1) / num_units)
    return points


def switching_weights(ffn: FFN) -> torch.Tensor:
    """Weights (D, F) of the units whose sign makes the pattern: those of the gate, where there is one."""
    if isinstance(ffn, GatedFFN):
        return ffn.w_gate_DF.detach()
    assert isinstance(ffn, DenseFFN)
    return ffn.w_in_DF.detach()


def counted(ffn: FFN, table: KeyTable, *, num_segments: int, seed: int) -> Counts:
    """Patterns over the keys of the table, and exact regions between and around them."""
    w_DF = switching_weights(ffn)
    patterns = read_patterns(hidden_blocks(lambda x_BD: x_BD @ w_DF, table.keys_ND))
    layers = [ReLULayer(w_DF=w_DF.double().numpy(), b_F=np.zeros(w_DF.shape[1]))]
    rng, keys_ND = np.random.default_rng([seed, 0x9A77]), table.keys_ND.double().numpy()
    fresh_ND = unit_rows(len(keys_ND), keys_ND.shape[1], torch.Generator().manual_seed(20_000 + seed)).double().numpy()
    ends_S2 = np.stack([rng.choice(len(keys_ND), size=2, replace=False) for _ in range(num_segments)])
    alike_S2 = same_value_pairs(table.value_ids_N.numpy(), num_segments, rng)
    segments = {"stored": (keys_ND, ends_S2), "same_value": (keys_ND, alike_S2), "fresh": (fresh_ND, ends_S2)}
    return Counts(
        distinct=patterns.num_distinct,
        alone=patterns.num_alone,
        plane_regions=regions_in_plane(layers, keys_ND[:3]),
        segment_regions={name: _mean_regions(layers, *where) for name, where in segments.items() if len(where[1])},
    )


def same_value_pairs(value_ids_N: ndarray, num_pairs: int, rng: np.random.Generator) -> ndarray:
    """Rows (S, 2) of two different facts with one value; none where no two facts share one."""
    starts_P, ends_P = np.nonzero(np.triu(value_ids_N[:, None] == value_ids_N[None], k=1))
    chosen_S = rng.permutation(len(starts_P))[:num_pairs]
    return np.stack([starts_P[chosen_S], ends_P[chosen_S]], axis=1)


def regions_of_two_layers(units_a_layer: int, *, seed: int) -> int:
    """Exact regions of a random network 2 -> n -> n in a square of side 2 around 0: He-normal weights, normal biases.

    Two inputs are a whole plane, so this is the network's own count beside the bounds of two layers, not a cut of it.
    """
    rng, layers, fan_in = np.random.default_rng([seed, 0x2A7E]), [], 2
    for _ in range(2):
        w_DF = rng.standard_normal((fan_in, units_a_layer)) * math.sqrt(2 / fan_in)
        layers.append(ReLULayer(w_DF=w_DF, b_F=rng.standard_normal(units_a_layer) * BIAS_DEVIATION))
        fan_in = units_a_layer
    return regions_in_polygon(layers, np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]]))


def regions_in_plane(layers: Sequence[ReLULayer], keys_3D: ndarray) -> int:
    """Regions of one layer in a square of side 2 around the mean of three keys, in the plane through them.

    In two dimensions all boundaries of a layer without biases meet in the origin, where rounding would cut slivers:
    there every region is a wedge, and the wedges are counted on the way round the origin.
    """
    steps_C2 = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    if keys_3D.shape[1] == 2:
        corners = [*steps_C2, steps_C2[0]]
        return sum(regions_on_segment(layers, start, end) - 1 for start, end in pairwise(corners))
    axes_2D = np.linalg.qr((keys_3D[1:] - keys_3D[0]).T)[0].T
    return regions_in_polygon(layers, keys_3D.mean(axis=0) + steps_C2 @ axes_2D)


def _mean_regions(layers: Sequence[ReLULayer], keys_ND: ndarray, ends_S2: ndarray) -> float:
    return float(np.mean([regions_on_segment(layers, keys_ND[start], keys_ND[end]) for start, end in ends_S2]))
