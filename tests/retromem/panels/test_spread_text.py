"""Numbers of several seeds in words and cells."""

import pytest

from retromem.panels.points import Point
from retromem.panels.spread_text import NotMeasured, against, known, spread_cell
from retromem.report.numerals import percent_text
from retromem.report.seed_spread import Spread


def spread(low: float, high: float, num_seeds: int = 3) -> Spread:
    return Spread(median=(low + high) / 2, low=low, high=high, num_seeds=num_seeds)


@pytest.mark.parametrize(
    ("first", "second", "resolution", "said"),
    [
        ((2.0, 2.2), (1.5, 1.9), 0.05, "more"),
        ((2.0, 2.2), (1.5, 1.95), 0.05, "no clear difference"),  # 1.95 may be 2.05
        ((2.0, 2.2), (1.5, 1.95), 0.0, "more"),
        ((1.5, 1.9), (2.0, 2.2), 0.05, "less"),
        ((1.5, 2.0), (1.9, 2.2), 0.0, "no clear difference"),
        ((2.0, 2.0), (2.0, 2.0), 0.0, "no clear difference"),
    ],
)
def test_ranges_that_meet_decide_nothing(
    first: tuple[float, float], second: tuple[float, float], resolution: float, said: str
) -> None:
    assert against(spread(*first), spread(*second), resolution=resolution) == said


def test_a_cell_has_its_range_where_there_are_seeds() -> None:
    assert (spread_cell(spread(1.0, 2.0)).text, spread_cell(spread(1.0, 2.0)).detail) == ("1.50", "1.00 to 2.00")
    assert spread_cell(spread(0.5, 0.50001), percent_text).detail == ""
    assert spread_cell(spread(0.5, 0.5, 1), percent_text).text == "50 %"


def test_what_was_not_measured_is_named() -> None:
    points = [Point(quantity="accuracy", series="relu", x=1.0, y=0.5, seed=0)]
    assert known(points, "accuracy", "relu", 1.0).median == 0.5
    with pytest.raises(NotMeasured, match="loss of relu at 1"):
        known(points, "loss", "relu", 1.0)
    with pytest.raises(NotMeasured, match="accuracy of relu, alias at 1"):
        known(points, "accuracy", "relu", 1.0, asked="alias")
