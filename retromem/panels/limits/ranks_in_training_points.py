"""Points of the ranks along a training: weights and hidden activations, beside a Gaussian matrix of the same shape.

Shape legend: N facts, D key dimension, B batch, E output dimension, I and O sides of a matrix.
"""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import fmean

import torch
from torch import Tensor

from models.any_ffn import sized
from models.diagnostics.matrix_rank import MatrixRanks, activation_ranks, matrix_ranks
from models.ffn import FFN, GatedFFN, HiddenLayerFFN
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import KeyTable, accuracy, train_built, weight_generator
from retromem.panels.limits.chosen_keys import RANDOM_KEYS, ChosenKeys
from retromem.panels.limits.ranks_in_training import (
    EQUAL_FACTS,
    GIVEN,
    KINDS,
    OWN,
    RANKS,
    RanksInTrainingConfig,
    gaussian,
)
from retromem.panels.points import Point

GAUSSIAN_DRAWS = 20


class WatchedFFN(FFN):
    """An FFN that is looked at after every optimisation step."""

    def __init__(self, ffn: FFN, steps: int, look: Callable[[int], None]) -> None:
        super().__init__()
        self.ffn, self._steps, self._look = ffn, steps, look

    def forward(self, x_BD: Tensor) -> Tensor:
        out_BE: Tensor = self.ffn(x_BD)
        return out_BE

    def step_done(self, progress: float) -> None:
        self.ffn.step_done(progress)
        self._look(round(progress * self._steps))


def named_ranks(ranks: MatrixRanks) -> Iterator[tuple[str, float]]:
    """The ranks of one matrix, in dimensions."""
    for name in RANKS:
        yield name, float(getattr(ranks, name))


def ranks_of_parts(ffn: HiddenLayerFFN, keys_ND: Tensor) -> dict[str, tuple[MatrixRanks, tuple[int, int]]]:
    """Ranks and shape of each matrix, and of the hidden activations of all facts less their mean."""
    matrices = {"w_in": ffn.w_in_DF, "w_out": ffn.w_out_FE}
    if isinstance(ffn, GatedFFN):
        matrices["w_gate"] = ffn.w_gate_DF
    parts = {name: (matrix_ranks(a_IO), (a_IO.shape[0], a_IO.shape[1])) for name, a_IO in matrices.items()}
    with torch.no_grad():
        hidden_NF = ffn.hidden(keys_ND)
    return parts | {"hidden": (activation_ranks([hidden_NF]), (hidden_NF.shape[0], hidden_NF.shape[1]))}


def gaussian_ranks(shape: tuple[int, int], *, centred: bool) -> dict[str, float]:
    """Mean over some Gaussian matrices of this shape; less their column means where `centred`."""
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(GAUSSIAN_DRAWS):
        a_IO = torch.randn(*shape, generator=generator)
        draws.append(dict(named_ranks(activation_ranks([a_IO]) if centred else matrix_ranks(a_IO))))
    return {name: fmean(draw[name] for draw in draws) for name in draws[0]}


def ranks_in_training_points(config: RanksInTrainingConfig, seed: int, keys: ChosenKeys = RANDOM_KEYS) -> list[Point]:
    """Every kind at its own load and, once trained, at the number of facts that all kinds hold; and the chosen keys."""
    table_of = partial(keys.table, dim=config.dim, num_values=config.num_values, seed=seed)
    points = []
    for kind, facts in config.num_facts.items():
        points += _one_training(config, kind, table_of(facts), seed=seed)
    for kind in config.num_facts:
        few = table_of(min(config.num_facts.values()))
        points += _one_training(config, kind, few, seed=seed, at_equal_facts=True)
    for place, rows in ((GIVEN, keys.given_MD), (OWN, keys.own_MK)):
        if rows is not None:
            rank = float(activation_ranks([rows]).participation_ratio)
            of_gaussian = gaussian_ranks((rows.shape[0], rows.shape[1]), centred=True)["participation_ratio"]
            of_keys = partial(Point, quantity="participation_ratio", labels={"part": "keys"})
            points.append(of_keys(series=place, y=rank, seed=seed))
            points.append(of_keys(series=gaussian(f"keys {place}"), y=of_gaussian))
    return points


def _one_training(
    config: RanksInTrainingConfig, kind: str, table: KeyTable, *, seed: int, at_equal_facts: bool = False
) -> list[Point]:
    generator = weight_generator(seed)
    sized_config = sized(KINDS[kind], config.num_params, config.dim, config.dim)
    ffn = sized_config.build(config.dim, config.dim, generator=generator)
    assert isinstance(ffn, HiddenLayerFFN)
    points: list[Point] = []

    def add(x: float | None = None, **labels: str) -> None:
        for part, (ranks, _) in ranks_of_parts(ffn, table.keys_ND).items():
            for name, rank in named_ranks(ranks):
                of = {"part": part, **labels}
                points.append(Point(quantity=name, series=kind, labels=of, x=x, y=rank, seed=seed))

    def look(step: int) -> None:
        if step in config.at_steps and not at_equal_facts:
            add(float(step))

    if not at_equal_facts:
        add()  # untrained, without an x: there is no 0 on a logarithmic axis
    budget = TrainingBudget(steps=max(config.at_steps), goal_nats=0.0)
    train_built(WatchedFFN(ffn, budget.steps, look), table, budget, generator=generator)
    if at_equal_facts:
        add(None, **EQUAL_FACTS)
        return points
    points.append(Point(quantity="accuracy", series=kind, y=accuracy(ffn, table), seed=seed))
    for part, (_, shape) in ranks_of_parts(ffn, table.keys_ND).items():
        labels = {"part": part}
        points.append(Point(quantity="largest", series=kind, labels=labels, y=float(min(shape))))
        for name, rank in gaussian_ranks(shape, centred=part == "hidden").items():
            of_gaussian = partial(Point, quantity=name, series=gaussian(kind), labels=labels, y=rank)
            points += [of_gaussian(x=float(step)) for step in config.at_steps if step]
    return points
