"""Bits recalled beside bits stored: against closed forms, and the page whichever way the points fall."""

import pytest

from models.ffn_kinds import DenseConfig
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import accuracy, first_facts, random_table, train
from retromem.panels.point_spread import series_of, spread_at
from retromem.panels.points import Point
from retromem.panels.theory.physical_limit import PhysicalCapacityConfig
from retromem.report.panel_figures import draw_panel
from retromem.report.panel_page import Panel

TINY = PhysicalCapacityConfig(dims=(3,), num_values=4, accuracy=0.6, resolution=0.2, steps=100, seeds=(0,))


@pytest.fixture(scope="module")
def measured() -> list[Point]:
    return TINY.measure(0, lambda knowledge: knowledge)


def at(points: list[Point], quantity: str, series: str) -> float:
    spread = spread_at(points, quantity, series, 3.0)
    assert spread is not None
    return spread.median


def test_shares_are_those_of_the_bits_that_are_stored_scales_included(measured: list[Point]) -> None:
    # d = 3: 72 parameters in 12 + 3 columns, each column with a scale of 16 bits in int8. Values of 2 bits.
    for precision, stored_bits in (("float32", 72 * 32), ("int8", 72 * 8 + 15 * 16)):
        bits = at(measured, "bits", f"ReLU, {precision}")
        assert bits > 0 and bits % 2 == 0
        assert at(measured, "bits_per_param", f"ReLU, {precision}") == pytest.approx(bits / 72)
        assert at(measured, "share_of_stored", f"ReLU, {precision}") == pytest.approx(bits / stored_bits)
    # The SwiGLU has 8 units of 3 x 3 weights: as many parameters.
    swiglu = at(measured, "bits", "SwiGLU, float32")
    assert at(measured, "bits_per_param", "SwiGLU, float32") == pytest.approx(swiglu / 72)
    assert at(measured, "bits", "stored, float32") == 32 * 72
    assert at(measured, "bits", "stored, int8") == 8 * 72
    assert at(measured, "bits", "one of 2^(4d) patterns") == 12


def test_the_capacity_is_a_number_of_facts_that_is_answered(measured: list[Point]) -> None:
    num_facts = round(at(measured, "bits", "ReLU, float32") / 2)
    # The first facts of the table that is searched: twice 3 bits per parameter, of 72.
    table = first_facts(random_table(2 * 108 + 3, 3, 4, seed=0), num_facts)
    ffn = train(DenseConfig(kind="relu"), table, TrainingBudget(steps=100), seed=0)
    assert accuracy(ffn, table) >= 0.6


def test_seeds_are_measured_anew_and_formulas_are_not(measured: list[Point]) -> None:
    other = TINY.measure(1, lambda knowledge: knowledge)
    assert {point.seed for point in other} == {1, None}
    assert [p for p in other if p.seed is None] == [p for p in measured if p.seed is None]
    assert [p.y for p in other if p.seed == 1] != [p.y for p in measured if p.seed == 0]


def synthetic(relu_bits: float, int8_bits: float) -> list[Point]:
    bits = {"ReLU, float32": relu_bits, "ReLU, int8": int8_bits, "SwiGLU, float32": 500.0, "SwiGLU, int8": 400.0}
    points = [Point(quantity="bits", series="one of 2^(4d) patterns", x=16.0, y=64.0)]
    for series, y in bits.items():
        stored = 2048 * (32 if "float32" in series else 8)
        points += [
            Point(quantity="bits", series=series, x=16.0, y=y, seed=0),
            Point(quantity="bits_per_param", series=series, x=16.0, y=y / 2048, seed=0),
            Point(quantity="share_of_stored", series=series, x=16.0, y=y / stored, seed=0),
        ]
    return points


@pytest.mark.parametrize(
    ("relu", "int8", "said"),
    [
        (
            4096.0,
            2048.0,
            "ReLU 2.00 in float32 (6.2 % of the bits it is stored in) and 1.00 in int8 (12.5 % of the bits",
        ),
        (32.0, 32.0, "ReLU 0.0156 in float32 (0 % of the bits it is stored in) and 0.0156 in int8 (0.1 % of the bits"),
    ],
)
def test_the_finding_says_what_was_measured(relu: float, int8: float, said: str) -> None:
    points = synthetic(relu, int8)
    page = PhysicalCapacityConfig().page(points)
    assert said in page.finding
    assert (
        f"recalls {relu:,.0f} bits in all, where one of the 2^64 patterns of its units is named in 64" in page.finding
    )
    # 2^64 facts of 4 bits are 2^66 bits; 2,048 weights of 32 bits are 2^16.
    assert "would be 2^50 times the bits" in page.finding
    assert series_of(points, "bits")[0] == "one of 2^(4d) patterns"
    assert "Per parameter" in draw_panel(Panel(name="p", page=page, points=points)).alt
