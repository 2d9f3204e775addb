"""Points of rank as a cause: FFNs whose matrices are thin products, and trained matrices that are cut.

Shape legend: N facts, V values, B batch, D key dimension, F hidden units, E output dimension, R rank, I and O sides of
a matrix.
"""

import math
from copy import deepcopy
from statistics import fmean

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from models.any_ffn import sized
from models.diagnostics.matrix_rank import effective_rank, truncated, truncated_to_effective_rank
from models.ffn import FFN, uniform
from models.training_budget import TrainingBudget
from retromem.measure.bits import bits_argmax, demand_uniform
from retromem.measure.trained_ffn import (
    KeyTable,
    accuracy,
    first_facts,
    random_table,
    train,
    train_built,
    weight_generator,
)
from retromem.panels.facts_stored import most_stored
from retromem.panels.limits.rank_limits import ARMS, CHANCE, CUTS, FULL_RANK, GUIDE_LINE, LOADS, RankLimitsConfig
from retromem.panels.points import Point
from retromem.theory.memory_formulas import relu_memory

NOISE_DRAWS = 5


class LimitedMatrix(nn.Module):
    """A matrix of rank R at most, as a product of two; None: no limit, and one matrix.

    The product's entries start with the variance that `uniform` gives a matrix.
    """

    def __init__(self, rows: int, rank: int | None, columns: int, *, generator: torch.Generator) -> None:
        super().__init__()
        first = uniform(rows, columns if rank is None else rank, fan_in=rows, generator=generator)
        self.factors = nn.ParameterList([first])
        if rank is not None:
            right_RO = uniform(rank, columns, fan_in=rank, generator=generator)
            with torch.no_grad():
                right_RO.mul_(math.sqrt(3.0))  # R products of variances 1 / (3 I) and 1 / R
            self.factors.append(right_RO)

    def forward(self, x_BI: Tensor) -> Tensor:
        for factor in self.factors:
            x_BI = x_BI @ factor
        return x_BI


class RankLimitedFFN(FFN):
    """relu(x W_in) W_out, each matrix of a given rank at most; None: no limit."""

    def __init__(
        self, dim: int, units: int, *, rank_in: int | None, rank_out: int | None, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.matrix_in = LimitedMatrix(dim, rank_in, units, generator=generator)
        self.matrix_out = LimitedMatrix(units, rank_out, dim, generator=generator)

    def forward(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
        out_BE: Tensor = self.matrix_out(functional.relu(self.matrix_in(x_BD)))
        return out_BE

    def stored(self) -> int:
        """Parameters."""
        return sum(weight.numel() for weight in self.parameters())

    def free(self) -> int:
        """Parameters less the R x R numbers of each product that can be moved from one factor to the other."""
        products = [matrix.factors for matrix in (self.matrix_in, self.matrix_out) if len(matrix.factors) == 2]
        ranks = [int(first_IR.shape[1]) for first_IR, _ in products]
        return self.stored() - sum(rank * rank for rank in ranks)


def widest(num_params: int, dim: int, *, rank_in: int | None, rank_out: int | None) -> int:
    """Hidden units of the largest such FFN with at most so many parameters."""
    fixed = dim * ((rank_in or 0) + (rank_out or 0))
    a_unit = (dim if rank_in is None else rank_in) + (dim if rank_out is None else rank_out)
    return (num_params - fixed) // a_unit


def rank_limits_points(config: RankLimitsConfig, seed: int) -> list[Point]:
    """Capacities with limited ranks, then what is left of trained FFNs once cut."""
    points = _limited_points(config, seed)
    for kind in config.cut_kinds:
        points += _cut_points(config, kind, seed)
    return points


def _limited_points(config: RankLimitsConfig, seed: int) -> list[Point]:
    def bits_held(units: int, rank_in: int | None, rank_out: int | None) -> tuple[float, RankLimitedFFN]:
        def built() -> tuple[RankLimitedFFN, torch.Generator]:
            generator = weight_generator(seed)
            ffn = RankLimitedFFN(config.dim, units, rank_in=rank_in, rank_out=rank_out, generator=generator)
            return ffn, generator

        def trained(table: KeyTable) -> FFN:
            ffn, generator = built()
            train_built(ffn, table, TrainingBudget(steps=config.steps), generator=generator)
            return ffn

        num_facts = most_stored(trained, _table(config, seed), resolution=config.resolution)
        return num_facts * math.log2(config.num_values), built()[0]

    points = []

    def add(quantity: str, series: str, rank: int | None, y: float, seed: int | None = seed) -> None:
        x = None if rank is None else float(rank)
        points.append(Point(quantity=quantity, series=series, x=x, y=y, seed=seed))

    units = widest(config.num_params, config.dim, rank_in=None, rank_out=None)
    bits, ffn = bits_held(units, None, None)
    for rank in config.ranks:
        add("bits_per_param", FULL_RANK, rank, bits / ffn.stored())
    bits, ffn = bits_held(units, min(config.dim, units), min(config.dim, units))
    add("bits_per_free_param", FULL_RANK, None, bits / ffn.free())
    guide = relu_memory(config.dim, units).bits_per_param
    for arm, series in ARMS.items():
        for rank in config.ranks:
            rank_in, rank_out = (None if arm == "out" else rank), (None if arm == "in" else rank)
            units = widest(config.num_params, config.dim, rank_in=rank_in, rank_out=rank_out)
            bits, ffn = bits_held(units, rank_in, rank_out)
            add("bits_per_param", series, rank, bits / ffn.stored())
            if arm == "both":
                add("bits_per_param", GUIDE_LINE, rank, guide * ffn.free() / ffn.stored(), None)
    return points


def _table(config: RankLimitsConfig, seed: int) -> KeyTable:
    """4 bits per parameter: more than any FFN trained like this has held."""
    most = 2 * int(2 * config.num_params / math.log2(config.num_values)) + 3
    return random_table(most, config.dim, config.num_values, seed=seed)


def _cut_points(config: RankLimitsConfig, kind: str, seed: int) -> list[Point]:
    sized_config = sized(config.cut_kinds[kind], config.num_params, config.dim, config.dim)
    num_params = sized_config.num_params(config.dim, config.dim)
    budget = TrainingBudget(steps=config.steps)
    whole = _table(config, seed)
    capacity = most_stored(
        lambda facts: train(sized_config, facts, budget, seed=seed), whole, resolution=config.resolution
    )
    points = []
    for load in LOADS:
        table = first_facts(whole, max(2, int(load * capacity)))
        ffn, series = train(sized_config, table, budget, seed=seed), config.cut_series(kind, load)
        # Another stream than that of the keys: noise made of the stored keys would be no noise.
        generator = torch.Generator().manual_seed(30_000 + seed)

        def add(quantity: str, y: float, x: float | None = None, series: str = series) -> None:
            points.append(Point(quantity=quantity, series=series, x=x, y=y, seed=seed))

        add("accuracy_uncut", accuracy(ffn, table))
        add("bits_per_param_uncut", bits_left(ffn, table) / num_params)
        ranks = [effective_rank(torch.linalg.svdvals(w_IO.detach())) for w_IO in ffn.parameters()]
        add("rank_kept", fmean(float(rank.round()) for rank in ranks))
        for share in CUTS.values():
            less, cut_away = cut_ffn(ffn, share)
            add("accuracy_cut", accuracy(less, table), share)
            add("bits_per_param_cut", bits_left(less, table) / num_params, share)
            add("energy_cut", cut_away, share)
            noisy = fmean(accuracy(noise_of_cut(ffn, less, generator), table) for _ in range(NOISE_DRAWS))
            add("accuracy_noise", noisy, share)
        add("accuracy_cut", accuracy(ffn, table), 1.0)
    shares = [*filter(None, CUTS.values()), 1.0]
    return points + [Point(quantity="accuracy_cut", series=CHANCE, x=x, y=1 / config.num_values) for x in shares]


@torch.no_grad()
def cut_ffn(ffn: FFN, share: float | None) -> tuple[FFN, float]:
    """A copy with every matrix at this share of its full rank, or at its effective one where None.

    And the share of the sum of squares of all matrices that is gone.
    """
    less = deepcopy(ffn)
    before = after = 0.0
    for w_IO in less.parameters():
        before += float(w_IO.square().sum())
        if share is None:
            w_IO.copy_(truncated_to_effective_rank(w_IO))
        else:
            w_IO.copy_(truncated(w_IO, max(1, round(share * min(w_IO.shape)))))
        after += float(w_IO.square().sum())
    return less, 1 - after / before


@torch.no_grad()
def noise_of_cut(ffn: FFN, less: FFN, generator: torch.Generator) -> FFN:
    """A copy with Gaussian noise added to each matrix, as long as what the cut took from it."""
    noisy = deepcopy(ffn)
    for w_IO, less_IO in zip(noisy.parameters(), less.parameters(), strict=True):
        noise_IO = torch.randn(w_IO.shape, generator=generator)
        w_IO.add_(noise_IO * ((w_IO - less_IO).norm() / noise_IO.norm()))
    return noisy


@torch.no_grad()
def bits_left(ffn: FFN, table: KeyTable) -> float:
    """Demand less the list of corrections to the first answers."""
    num_facts, num_values = len(table.keys_ND), len(table.codes_VE)
    right_N = ((ffn(table.keys_ND) @ table.codes_VE.T).argmax(1) == table.value_ids_N).numpy()
    demand = demand_uniform([num_facts], [num_values])
    return bits_argmax(demand, right_N, np.full(num_facts, num_values), num_facts)
