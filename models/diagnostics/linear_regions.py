"""Exact counts of the activation regions that a stack of ReLU layers cuts a segment or a flat polygon into.

An activation region is a set of inputs on which the same units are active (Hanin & Rolnick 2019, arXiv 1906.00904);
linear regions are never more. Regions are convex, so each meets the segment in one interval and the polygon in one
convex piece: the pieces are the regions.

Shape legend: D input dimension, F units of a layer, P pieces of a segment, C corners of a polygon.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

TOUCHES = 1e-11
"""An end or corner this near to a unit's boundary, relative to the largest pre-activation of its piece, lies on it;
regions thinner than that are not counted. Where many boundaries meet in one point, rounding would cut slivers."""
BIAS_STD = 1e-3
"""Biases of zero would let every boundary pass through the origin."""


@dataclass(frozen=True, kw_only=True)
class ReLULayer:
    """relu(x W + b)."""

    w_DF: Float64[ndarray, "D F"]
    b_F: Float64[ndarray, " F"]


def regions_on_segment(
    layers: Sequence[ReLULayer], start_D: Float64[ndarray, " D"], end_D: Float64[ndarray, " D"]
) -> int:
    """Activation regions met on the way from start to end, by solving the sign changes of every unit.

    Layer by layer: on a piece every unit of the next layer is affine in the position t, and vanishes once at most.
    """
    edges = np.array([0.0, 1.0])
    slope_PD, offset_PD = (end_D - start_D)[None], start_D[None]
    for layer in layers:
        slope_PF, offset_PF = slope_PD @ layer.w_DF, offset_PD @ layer.w_DF + layer.b_F
        ends_2PF = np.stack([slope_PF * edge[:, None] + offset_PF for edge in (edges[:-1], edges[1:])])
        tolerance_P1 = TOUCHES * np.abs(ends_2PF).max(axis=(0, 2))[:, None]
        cutting_PF = (ends_2PF.min(axis=0) < -tolerance_P1) & (ends_2PF.max(axis=0) > tolerance_P1)
        cuts = np.sort(np.concatenate([edges[:-1], -offset_PF[cutting_PF] / slope_PF[cutting_PF]]))
        # Units that change in one point do so at positions that rounding has parted.
        new_edges = np.append(cuts[np.append(True, np.diff(cuts) > TOUCHES) & (cuts < 1 - TOUCHES)], 1.0)
        middle_P1 = ((new_edges[:-1] + new_edges[1:]) / 2)[:, None]
        parent_P = np.searchsorted(edges, middle_P1[:, 0]) - 1
        slope_PF, offset_PF = slope_PF[parent_P], offset_PF[parent_P]
        active_PF = slope_PF * middle_P1 + offset_PF > 0
        edges, slope_PD, offset_PD = new_edges, slope_PF * active_PF, offset_PF * active_PF
    return len(edges) - 1


def regions_in_polygon(layers: Sequence[ReLULayer], corners_CD: Float64[ndarray, "C D"]) -> int:
    """Activation regions that meet a convex flat polygon, its corners given in order around it.

    A piece is cut in two by the boundary of each unit that changes sign on its corners, one unit and one layer after
    another. Its corners carry their pre-activations, which are affine on it; no map of the plane is needed. Time
    grows with the number of regions, some 10,000 a second, and that with the square of the number of neurons.
    """
    if not layers:
        return 1
    first_CF = corners_CD @ layers[0].w_DF + layers[0].b_F
    waiting = [(0, first_CF, _tolerance(first_CF))]  # pieces: their layer, and its pre-activations at their corners
    num_regions = 0
    while waiting:
        depth, z_CF, tolerance = waiting.pop()
        cutting_F = (z_CF.min(axis=0) < -tolerance) & (z_CF.max(axis=0) > tolerance)
        if cutting_F.any():
            waiting.extend((depth, half_CF, tolerance) for half_CF in _cut(z_CF, int(cutting_F.argmax()), tolerance))
        elif depth + 1 < len(layers):
            active_F = z_CF.max(axis=0) > -z_CF.min(axis=0)
            next_CF = (z_CF * active_F) @ layers[depth + 1].w_DF + layers[depth + 1].b_F
            waiting.append((depth + 1, next_CF, _tolerance(next_CF)))
        else:
            num_regions += 1
    return num_regions


def _tolerance(z_CF: ndarray) -> float:
    return TOUCHES * float(np.abs(z_CF).max())


def _cut(z_CF: ndarray, unit: int, tolerance: float) -> tuple[ndarray, ndarray]:
    """The piece where the unit is active, and the rest."""
    side_C = np.where(np.abs(z_CF[:, unit]) <= tolerance, 0.0, np.sign(z_CF[:, unit]))
    active, rest = [], []
    for here in range(len(z_CF)):
        there = (here + 1) % len(z_CF)
        if side_C[here] >= 0:
            active.append(z_CF[here])
        if side_C[here] <= 0:
            rest.append(z_CF[here])
        if side_C[here] * side_C[there] < 0:
            share = z_CF[here, unit] / (z_CF[here, unit] - z_CF[there, unit])
            crossing_F = z_CF[here] + share * (z_CF[there] - z_CF[here])
            crossing_F[unit] = 0.0
            active.append(crossing_F)
            rest.append(crossing_F)
    return np.array(active), np.array(rest)


def he_normal_stack(dim_in: int, width: int, depth: int, *, rng: np.random.Generator) -> list[ReLULayer]:
    """Weights of variance 2 / fan-in and biases of variance 1e-6, as in Hanin & Rolnick 2019 (arXiv 1901.09021)."""
    fan_ins = [dim_in] + [width] * (depth - 1)
    return [
        ReLULayer(
            w_DF=rng.normal(0.0, np.sqrt(2 / fan_in), size=(fan_in, width)), b_F=rng.normal(0.0, BIAS_STD, size=width)
        )
        for fan_in in fan_ins
    ]


def regions_per_neuron(width: int, depth: int, *, num_stacks: int, dim_in: int = 16, seed: int = 0) -> float:
    """Mean over random stacks of the regions from -x to x, x standard normal, divided by the number of neurons.

    The published value is about 1 at every depth. The whole line through the origin is meant: its pre-activations,
    with the small biases, make half a turn in a plane, and a He-normal layer of any depth changes sign 1 / pi times a
    radian. From 0 to x, or from one sample to another, is a quarter of a turn, and gives half as many.
    """
    rng = np.random.default_rng(seed)
    counts = []
    for _ in range(num_stacks):
        layers, x_D = he_normal_stack(dim_in, width, depth, rng=rng), rng.normal(size=dim_in)
        counts.append(regions_on_segment(layers, -x_D, x_D))
    return float(np.mean(counts)) / (width * depth)
