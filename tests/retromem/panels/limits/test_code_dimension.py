"""The panel of value codes: tables, points and both ways its finding can go."""

import pytest
import torch

from retromem.panels.limits.code_dimension import CodeDimensionConfig
from retromem.panels.limits.code_dimension_points import _moved, code_dimension_points, coded_table
from retromem.panels.points import Point

TINY = CodeDimensionConfig(
    dim=6, num_values=4, num_params=90, code_dims=(2, 6), steps=300, long_steps=300, long_bits_per_param=1.0, seeds=(0,)
)


def test_tables_differ_in_the_dimension_of_their_codes_alone():
    low, high = (coded_table(20, TINY, dim, seed=1) for dim in (2, 6))
    assert torch.equal(low.keys_ND, high.keys_ND) and torch.equal(low.value_ids_N, high.value_ids_N)
    assert low.codes_VE.shape == (4, 2) and high.codes_VE.shape == (4, 6)
    assert torch.allclose(low.codes_VE.norm(dim=1), torch.ones(4))
    assert torch.equal(coded_table(10, TINY, 2, seed=1).codes_VE, low.codes_VE)


def test_keys_move_by_a_tenth_of_their_length():
    table = coded_table(500, TINY, 2, seed=1)
    cosines = (_moved(table, 1).keys_ND * table.keys_ND).sum(1)
    # At a tenth of the length and any angle: .995 is the tangent, and the mean square of a sine is 5/6 in 6 dimensions.
    assert cosines.min() > 0.9949
    assert (1 - cosines).mean().item() == pytest.approx(0.1**2 / 2 * 5 / 6, rel=0.1)


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
@pytest.mark.slow
def test_every_dimension_has_a_capacity_and_the_long_training_an_accuracy():
    points = code_dimension_points(TINY, 0)
    density = {p.x: p.y for p in points if p.quantity == "bits_per_param" and p.seed == 0}
    assert density.keys() == {2.0, 6.0} and all(0 < y < 4.2 for y in density.values())
    (long,) = [p for p in points if p.quantity == "accuracy at length"]
    assert 0.3 < long.y <= 1


@pytest.mark.parametrize(("few", "many", "densest"), [(3.0, 2.5, 3), (2.0, 2.5, 32)])
def test_the_finding_names_what_held_most(few, many, densest):
    points = [
        Point(quantity="bits_per_param", series="SwiGLU", x=x, y=y, seed=0) for x, y in ((3.0, few), (32.0, many))
    ]
    points += [Point(quantity="accuracy at key noise .1", series="SwiGLU", x=x, y=0.5, seed=0) for x in (3.0, 32.0)]
    points += [
        Point(quantity="accuracy at length", series="SwiGLU", x=3.0, y=y, seed=s) for s, y in ((0, 1.0), (1, 0.98))
    ]
    finding = CodeDimensionConfig().page(points).finding
    assert CodeDimensionConfig().page(points).answer.startswith(f"Value codes in {densest} dimensions let")
    assert f"by their dimensions: {few:.2f} in 3 and {many:.2f} in 32." in finding
    assert "held by 1 of 2 seeds" in finding
