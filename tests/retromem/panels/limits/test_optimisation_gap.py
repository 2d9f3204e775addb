"""Optimisation: what is searched and solved against direct counts, and the finding that follows the points."""

import pytest
import torch

from models.ffn import FFN
from models.ffn_kinds import GatedConfig
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import KeyTable, accuracy, random_table
from retromem.panels.limits.optimisation_gap import OptimisationConfig
from retromem.panels.limits.optimisation_gap_points import (
    _compared,
    _constructions,
    _of_exposures,
    _on_a_line,
    _Task,
    _Writer,
)
from retromem.panels.points import PUBLISHED, Point
from retromem.report.panel_figures import draw_panel
from retromem.report.panel_page import Panel

TASKS = OptimisationConfig().tasks


def test_every_exposure_and_optimiser_is_searched_beside_the_published_bits() -> None:
    config = OptimisationConfig(exposures=(30,), width=8, resolution=0.5, constructions=False)
    points = config.measure(0, lambda knowledge: knowledge)
    found = {(point.quantity, point.name, point.x): point.y for point in points}
    # 256 parameters hold at most 8 bits each, and what is stored is a whole number of facts of 4 bits.
    for kind in ("ReLU", "SwiGLU"):
        assert 0 <= found["bits_per_param", kind, 30.0] < 8
        for optimizer in ("adam", "adamw", "sgd", "muon"):
            assert found["optimiser_bits_per_param", f"{optimizer}, {kind}", None] >= 0
    assert found["bits_per_param", "ReLU, published", 30.0] == 0.45
    assert found["bits_per_param", "SwiGLU, published", 30.0] == 0.36


def test_values_on_a_line_fill_the_ffn_that_is_compared_and_seeds_draw_other_weights() -> None:
    config = GatedConfig(kind="swiglu", width=12, bias=True)
    table = random_table(200, 16, 16, seed=0)
    one, other = (_on_a_line(config, table, seed=seed) for seed in (0, 1))
    assert sum(weight.numel() for weight in one.parameters()) == config.num_params(16, 16)
    assert accuracy(one, table) >= 0.99
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


class HoldsSoMany(FFN):
    """Right about every one-hot key where there are no more than the limit, wrong about every one beyond."""

    def __init__(self, num_facts: int, limit: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()) if num_facts <= limit else -torch.ones(()))

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        return x_BD * self.weight


def test_each_way_is_searched_to_its_own_limit_and_disturbed_at_the_same_load() -> None:
    asked: dict[str, list[int]] = {"trained": [], "solved": []}

    def holding(series: str, limit: int) -> _Writer:
        def write(table: KeyTable) -> FFN:
            asked[series].append(len(table.keys_ND))
            return HoldsSoMany(len(table.keys_ND), limit)

        return _Writer(series=series, write=write, expected=100.0)

    def table_of(num_facts: int) -> KeyTable:
        eye = torch.eye(num_facts)
        return KeyTable(keys_ND=eye, value_ids_N=torch.arange(num_facts), codes_VE=eye)

    task = _Task(name="keys", table_of=table_of, num_params=100, goal=1.0)
    points = _compared(task, [holding("trained", 90), holding("solved", 140)], 0.001, 0)
    found = {(point.quantity, point.series): point.y for point in points}
    assert (found["facts", "trained"], found["facts", "solved"]) == (90, 140)
    assert found["stored_bits_per_param", "solved"] == 140 * 4 / 100
    assert asked["trained"][-1] == asked["solved"][-1] == 81  # .9 of what training stores


def test_few_exposures_get_the_high_rates_of_the_published_sweep() -> None:
    assert _of_exposures(300) == [TrainingBudget(steps=300, learning_rate=rate) for rate in (3e-2, 1e-1)]
    assert _of_exposures(1000) == [TrainingBudget(steps=1000, learning_rate=rate) for rate in (1e-2, 3e-2)]


def page_points(*, muon: tuple[float, float], solved: float) -> list[Point]:
    points = []
    series_of_tasks = [(task, series) for task, pair in TASKS.items() for series in pair]
    for seed in (0, 1):
        for (task, series), bits, noise in zip(
            series_of_tasks, (1.5, solved, 2.6, 3.1), (2e-2, 1e-5, 2e-2, 1e-3), strict=True
        ):
            for quantity, y in (("stored_bits_per_param", bits), ("facts", 100 * bits + seed), ("sigma90", noise)):
                points.append(Point(quantity=quantity, series=series, labels={"task": task}, y=y, seed=seed))
        for kind in ("ReLU", "SwiGLU"):
            for x, bits in ((30.0, 0.5), (3000.0, 2.0)):
                points.append(Point(quantity="bits_per_param", series=kind, x=x, y=bits, seed=seed))
            for series, y in (("adam", 2.0 + 0.1 * seed), ("muon", muon[seed])):
                labels = {"kind": kind}
                points.append(Point(quantity="optimiser_bits_per_param", series=series, labels=labels, y=y, seed=seed))
    for kind in ("ReLU", "SwiGLU"):
        for x in (30.0, 3000.0):
            points.append(Point(quantity="bits_per_param", series=kind, labels=PUBLISHED, x=x, y=1.0))
    published = [
        Point(quantity="facts_published", series=series, labels={"task": "token pairs"}, y=496.0)
        for series in TASKS["token pairs"]
    ]
    return [*points, *published]


def test_the_finding_follows_the_points() -> None:
    config = OptimisationConfig()
    points = page_points(muon=(2.4, 2.5), solved=2.25)
    finding = config.page(points).finding
    assert "two-sided construction holds 2.25 bits per parameter where training holds 1.50" in finding
    assert "stands weight noise of 1.0e-05 where training stands 0.0200" in finding
    assert "After 30 and 3,000 exposures ReLU holds 0.500 and 2.00 (published 1.00 and 1.00)" in finding
    assert "muon for ReLU (2.45, adam 2.05)" in finding and "seeds and search" not in finding
    # 1.5 of 2.25 bits; the narrower of the two margins of noise.
    assert config.page(points).answer.startswith("Gradient descent stores 66.6 %")
    assert "stands 2,000 and 20.0 times as much weight noise" in config.page(points).answer
    unclear = config.page(page_points(muon=(1.9, 2.1), solved=0.75)).finding
    assert "seeds and search" in unclear and "adam for ReLU (2.05, muon 2.00, closer" in unclear
    assert draw_panel(Panel(name="o", page=config.page(points), points=points)).svg


@pytest.mark.slow
def test_the_construction_outdoes_training_and_stands_less_noise() -> None:
    points = _constructions(OptimisationConfig(resolution=0.1), lambda n: random_table(n, 16, 16, seed=0), 0)
    found = {(point.quantity, point.series): point.y for point in points}
    for (trained, solved), least in zip(TASKS.values(), (400, 600), strict=True):
        assert found["facts", solved] > found["facts", trained] > least
        assert found["sigma90", solved] < 0.1 * found["sigma90", trained]
