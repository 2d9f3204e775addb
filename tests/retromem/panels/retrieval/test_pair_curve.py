"""The search over widths by brute force; a small panel whose arms must order themselves as they do by nature."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retromem.panels.retrieval.pair_curve import COPY, NO_CHUNK, ORACLE, PAIR, RANDOM, SMALL, WEIGHTS, PairCurveConfig
from retromem.panels.retrieval.pair_curve_points import _asked, _Result, _smallest, smallest_reaching

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=20, unique=True).map(sorted), st.integers(0, 1100))
def test_the_smallest_width_that_reaches(widths: list[int], needed: int) -> None:
    asked = []
    found = smallest_reaching(lambda width: asked.append(width) is None and width >= needed, widths)
    assert found == next((width for width in widths if width >= needed), None)
    assert len(asked) <= 2 + math.log2(len(widths))


@pytest.mark.parametrize(("goal", "smallest"), [(0.5, 2), (0.6, 4), (0.9, 8), (0.95, None)])
def test_sizes_are_those_of_the_smallest_that_reaches_and_the_accuracy_is_that_of_the_largest(
    goal: float, smallest: int | None
) -> None:
    config = PairCurveConfig(num_facts=(20,), num_taught=30, accuracy=goal, widths=(2, 4, 8))
    (part,), _ = config.parts(0)
    accuracies = {2: 0.5, 4: 0.6, 8: 0.9}
    points = _smallest(
        config,
        part,
        PAIR,
        lambda width: _Result(accuracy=accuracies[width], num_params=10 * width, storage_bytes=7 * width + 100),
        3,
    )
    assert {(point.quantity, point.series, point.x, point.y, point.seed) for point in points} == {
        ("accuracy", PAIR, 20.0, 0.9, 3),
        ("min_params", PAIR, 20.0, 10.0 * smallest if smallest else math.inf, 3),
        ("min_storage_bytes", PAIR, 20.0, 7.0 * smallest + 100 if smallest else math.inf, 3),
    }


@pytest.mark.slow
def test_arms_order_themselves_as_they_must(as_in_a_run) -> None:
    config = PairCurveConfig(num_facts=(20, 60), num_taught=100, dim=48, accuracy=0.6, widths=(2, 8, 64), steps=300)
    points = as_in_a_run(config)
    found = {(point.quantity, point.series, point.x): point.y for point in points}
    for size in (20.0, 60.0):
        assert found["min_params", COPY, size] == 0
        for control in (NO_CHUNK, RANDOM):
            assert found["accuracy", control, size] < found["accuracy", COPY, size] - 0.2
        assert math.isfinite(found["min_params", WEIGHTS, size])
        # A pair's store grows with the facts; whether it reads well enough is measured, not taken for granted.
        pair = found["min_storage_bytes", PAIR, size]
        assert pair > found["min_storage_bytes", COPY, size]
        assert found["accuracy", ORACLE, size] >= found["accuracy", PAIR, size] - 0.1
    assert found["min_storage_bytes", SMALL, 60.0] > found["min_storage_bytes", SMALL, 20.0]
    weights = [found["min_params", WEIGHTS, size] for size in (20.0, 60.0)]
    assert all(before <= after for before, after in pairwise(weights))
    page = config.page(points)
    assert "weights alone" in page.finding and page.tables[0].blocks[0][1][0][0].text == WEIGHTS


def test_it_is_asked_in_words_that_were_never_written() -> None:
    (*_, part), _ = PairCurveConfig(num_facts=(20,), num_taught=30).parts(0)
    asked = _asked(part)
    assert asked.phrasing == "heldout" and len(asked) == 20
    assert not set(asked.queries.texts or ()) & {text for cue in part.facts().cues for text in cue.texts or ()}


def test_what_is_asked_was_never_taught() -> None:
    config = PairCurveConfig(num_facts=(50, 200), num_taught=300)
    asked, taught = config.parts(3)
    assert not set(asked[-1].rows_N.tolist()) & set(taught.rows_N.tolist())
    assert taught.num_facts == 300 and asked[0].rows_N.tolist() == asked[1].rows_N[:50].tolist()
    assert asked[0].is_twin and taught.is_twin


def test_settings_without_sense() -> None:
    with pytest.raises(ValueError, match="widths must rise"):
        PairCurveConfig(widths=(8, 4))
    with pytest.raises(ValueError, match="accuracy must be at most 1"):
        PairCurveConfig(accuracy=1.5)
