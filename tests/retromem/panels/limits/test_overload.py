"""Overload: loads against the capacity, noisy loss against guessing, and the finding that follows the curve."""

import math

import pytest

from models.training_budget import TrainingBudget
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.measure.robustness import with_key_noise
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.panels.limits.overload import DIM, NUM_VALUES, OverloadConfig
from retromem.panels.limits.overload_points import overload_points
from retromem.panels.points import Point
from retromem.report.panel_figures import draw_panel
from retromem.report.panel_page import Panel


def test_points_of_every_load_stand_beside_the_published_ones() -> None:
    config = OverloadConfig(loads=(0.5, 2.0), width=6, steps=150)
    points = overload_points(config, 0)
    found = {(point.quantity, point.name, point.x): point.y for point in points}
    for kind, capacity in (("ReLU", 2.03), ("SwiGLU", 2.64)):
        # Bits stored are at most the facts' own, which is load times capacity (facts are whole).
        assert 0 < found["bits_per_param", kind, 0.5] <= 0.51 * capacity
        assert found["accuracy", kind, 2.0] < found["accuracy", kind, 0.5]
        assert found["accuracy_noisy", kind, 0.5] <= found["accuracy", kind, 0.5]
        assert found["loss_noisy_bits", kind, 0.5] > 0
    assert found["bits_per_param", "ReLU, published", 0.5] == 1.02
    assert found["bits_per_param", "SwiGLU, published", 2.0] == 2.01
    assert found["loss_noisy_bits", "guessing", 2.0] == 4.0
    assert draw_panel(Panel(name="o", page=config.page(points), points=points)).svg


def test_the_noisy_loss_is_the_cross_entropy_as_trained() -> None:
    config = OverloadConfig(loads=(1.0,), width=6, steps=100)
    found = {(point.quantity, point.series): point.y for point in overload_points(config, 3)}
    num_facts = config.num_facts("ReLU", 1.0)
    knowledge = keys_set(KeysConfig(dim=DIM, num_values=NUM_VALUES, num_facts=num_facts, seed=3))
    budget = TrainingBudget(steps=100, full_batch_up_to=num_facts)
    memory = FFNMemoryConfig(ffn=config.kinds["ReLU"], training=budget).build(seed=3)
    memory.write(knowledge.facts())
    noisy = with_key_noise(knowledge.ask("identical"), config.query_noise, seed=3)
    scored_Q1 = memory.recall(noisy.queries, score=noisy.value_ids_Q[:, None]).scored_QC
    assert found["loss_noisy_bits", "ReLU"] == pytest.approx(-float(scored_Q1.mean()) / math.log(2), rel=1e-4)


def test_an_untrained_ffn_stores_nothing() -> None:
    points = overload_points(OverloadConfig(loads=(8.0,), width=6, steps=0), 0)
    for point in points:
        if point.quantity == "bits_per_param" and point.seed is not None:
            assert point.y == pytest.approx(0, abs=0.2)


def curve_points(
    loss: tuple[float, float, float], right: tuple[float, float, float], wobble: float = 0.0
) -> list[Point]:
    points = []
    for x, of_loss, of_right, bits in zip((0.5, 1.0, 8.0), loss, right, (1.0, 2.0, 1.4), strict=True):
        for seed, sign in enumerate((-1, 1)):
            for quantity, y in (
                ("accuracy", of_right),
                ("accuracy_noisy", of_right),
                ("bits_per_param", bits),
                ("loss_noisy_bits", of_loss + sign * wobble),
            ):
                points.append(Point(quantity=quantity, series="ReLU", x=x, y=y, seed=seed))
    return points


def test_the_finding_says_whether_there_is_a_double_descent() -> None:
    config = OverloadConfig()
    finding = config.page(curve_points((1.0, 6.0, 3.0), (0.9, 0.5, 0.7))).finding
    assert "ReLU shows a double descent: a noisy query costs 6.00 bits at 1 times the capacity and 3.00" in finding
    assert "right answers rise from 50 % at 1 times to 70 % at 8 times" in finding
    assert "ReLU stores most, 2.00 bits per parameter, at 1 times its capacity, and 1.40 bits" in finding
    answer = config.page(curve_points((1.0, 6.0, 3.0), (0.9, 0.5, 0.7))).answer
    assert answer.endswith("an FFN keeps, in bits per parameter, 1.40 of its 2.00 (ReLU).")
    covered = config.page(curve_points((1.0, 3.1, 3.0), (0.9, 0.5, 0.3), wobble=0.2)).finding
    assert "no double descent" in covered and "up to 3.10 bits at 1 times" in covered
    assert "right answers go from 90 % at 0.5 times to 30 % at 8 times" in covered
    rising = config.page(curve_points((1.0, 2.0, 3.0), (0.9, 0.5, 0.3))).finding
    assert "no double descent" in rising
