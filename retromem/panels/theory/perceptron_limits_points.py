"""Points of the classical bounds: dichotomies by linear programming, labels in FFNs by search, formulas beside them.

Shape legend: N points, D dimension.
"""

import math
from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from numpy import ndarray
from scipy.optimize import brentq, linprog

from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from models.weight_packing import packed
from retromem.measure.trained_ffn import KeyTable, accuracy, most_facts_around, rounded, train, unit_rows
from retromem.panels.points import Point
from retromem.panels.theory.perceptron_limits import (
    BINARY,
    COVER,
    CRITERIA,
    LABELS,
    MEMORISATION,
    PER_BIT,
    VC_LOWER,
    VC_UPPER,
    WEIGHT_BITS,
    ClassicalBoundsConfig,
)
from retromem.theory.classical_bounds import (
    GARDNER_PATTERNS_PER_WEIGHT,
    KRAUTH_MEZARD_PATTERNS_PER_WEIGHT,
    deep_memorisation,
    separability,
    vc_lower,
    vc_upper,
)

# The search gallops from the first number of labels a parameter; nothing trained has come near the second.
_EXPECTED_LABELS = 2
"""a parameter; the search goes up to twice as many"""


def classical_bounds_points(config: ClassicalBoundsConfig, seed: int) -> list[Point]:
    """Perceptrons over the load, then FFNs and bounds at their number of parameters."""
    points = [
        Point(quantity=LABELS, series=COVER, y=GARDNER_PATTERNS_PER_WEIGHT),
        *_points_of(BINARY, {LABELS: KRAUTH_MEZARD_PATTERNS_PER_WEIGHT, WEIGHT_BITS: 1.0}),
        Point(quantity=PER_BIT, series="any memory, at most", y=1.0),
    ]
    rng = np.random.default_rng([seed, 0xC0BE])
    for n in config.inputs:
        points += _perceptron_points(config, n, seed, rng)
    for dim in config.dims:
        points += _ffn_points(config, dim, seed)
    return points


def _points_of(series: str, numbers: Mapping[str, float], seed: int | None = None) -> list[Point]:
    """Labels a parameter and bits per parameter, and from both the labels a stored bit."""
    numbers = {**numbers, PER_BIT: numbers[LABELS] / numbers[WEIGHT_BITS]}
    return [Point(quantity=quantity, series=series, y=y, seed=seed) for quantity, y in numbers.items()]


def _perceptron_points(config: ClassicalBoundsConfig, n: int, seed: int, rng: np.random.Generator) -> list[Point]:
    points, shares = [], []
    for load in config.loads:
        num_points = round(load * n)
        realised = [
            is_separable(rng.standard_normal((num_points, n)), rng.choice([-1.0, 1.0], size=num_points))
            for _ in range(config.num_dichotomies)
        ]
        shares.append(float(np.mean(realised)))
        points += [
            Point(quantity="share_realised", series=f"n = {n}, linear program", x=load, y=shares[-1], seed=seed),
            Point(quantity="share_realised", series=f"n = {n}, Cover", x=load, y=separability(num_points, n)),
        ]
    half = crossing(config.loads, shares)
    if half is not None:
        points.append(Point(quantity=LABELS, series=f"perceptron, n = {n}: half realised", y=half, seed=seed))
    return points


def is_separable(points_ND: ndarray, labels_N: ndarray) -> bool:
    """Whether some w has label (w x) >= 1 at every point: exact, as w may be as long as it takes."""
    found = linprog(
        np.zeros(points_ND.shape[1]),
        A_ub=-labels_N[:, None] * points_ND,
        b_ub=-np.ones(len(labels_N)),
        bounds=(None, None),
    )
    return bool(found.status == 0)


def crossing(loads: tuple[float, ...], shares: list[float]) -> float | None:
    """The load at which the share falls through 1/2, between two loads by a straight line; None where it never does."""
    for at in range(1, len(loads)):
        if shares[at - 1] >= 0.5 > shares[at]:
            part = (shares[at - 1] - 0.5) / (shares[at - 1] - shares[at])
            return loads[at - 1] + part * (loads[at] - loads[at - 1])
    return None


def two_valued_table(num_facts: int, dim: int, *, seed: int) -> KeyTable:
    """Random unit keys and labels; one output, whose sign is the label."""
    generator = torch.Generator().manual_seed(seed)
    keys_ND = unit_rows(num_facts, dim, generator)
    value_ids_N = torch.randint(2, (num_facts,), generator=generator)
    return KeyTable(keys_ND=keys_ND, value_ids_N=value_ids_N, codes_VE=torch.tensor([[1.0], [-1.0]]))


def _ffn_points(config: ClassicalBoundsConfig, dim: int, seed: int) -> list[Point]:
    ffn_config, budget = DenseConfig(kind="relu", width=config.width), TrainingBudget(steps=config.steps)
    num_params = ffn_config.num_params(dim, 1)

    @cache  # every criterion is searched around the same sizes
    def reached(num_facts: int) -> dict[str, bool]:
        table = two_valued_table(num_facts, dim, seed=seed)
        ffn = train(ffn_config, table, budget, seed=seed)
        whole = accuracy(ffn, table)
        return dict(
            zip(CRITERIA, (whole == 1, whole >= 0.99, accuracy(rounded(ffn, "int8"), table) >= 0.99), strict=True)
        )

    one = ffn_config.build(dim, 1, generator=torch.Generator().manual_seed(0))
    bits = {"float32": 32.0, "int8": 8 * len(packed(one, "int8")) / num_params}
    points = []
    for criterion in CRITERIA:
        labels = most_facts_around(
            lambda n, criterion=criterion: reached(n)[criterion],  # type: ignore[misc]
            expected=_EXPECTED_LABELS * num_params,
            resolution=config.resolution,
        )
        numbers = {LABELS: labels / num_params, WEIGHT_BITS: bits["int8" if "int8" in criterion else "float32"]}
        points += _points_of(f"ReLU, d = {dim}, {criterion}", numbers, seed)
    lower, upper = vc_lower(num_params, 2) / num_params, vc_upper(num_params, 2) / num_params
    deep = memorised_by(num_params)
    return [
        *points,
        Point(quantity=LABELS, series=f"{VC_LOWER}, d = {dim}", y=lower),
        Point(quantity=LABELS, series=f"{VC_UPPER}, d = {dim}", y=upper),
        *_points_of(f"{MEMORISATION}, d = {dim}", deep),
    ]


def memorised_by(num_params: int) -> dict[str, float]:
    """Labels a parameter, and bits per parameter, of the construction with so many parameters: sqrt(N log2 N) = P."""
    num_points = round(brentq(lambda n: n * math.log2(n) - num_params**2, 2.0, num_params**2 + 4.0))
    deep = deep_memorisation(num_points, 2)
    return {LABELS: num_points / deep.num_params, WEIGHT_BITS: deep.bits_per_param}
