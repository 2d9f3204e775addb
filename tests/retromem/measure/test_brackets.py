"""Where searches ask next: whatever trainings seem to tell, the boundary is found; told right, it is found at once."""

import math
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retromem.measure.brackets import End, in_a_row, next_size
from retromem.measure.capacity import Capacity, Outcome, search_from_outcomes
from retromem.measure.capacity_law import facts_over_capacity, facts_over_capacity_in_new_words
from retromem.measure.settings import CapacitySearch, SmallestSearch
from retromem.measure.smallest import Smallest, Tried, search_smallest


class Facts:
    """A memory that holds `capacity` facts, and says of each size how many times the capacity it is, times `error`."""

    def __init__(self, capacity: int, error: float = 1.0) -> None:
        self.capacity, self.error, self.sizes = capacity, error, list[int]()

    def __call__(self, num_facts: int) -> Outcome:
        self.sizes.append(num_facts)
        reached = num_facts <= self.capacity
        over = num_facts / max(1, self.capacity) * self.error
        return Outcome(reached=reached, over_capacity=min(over, 1.0) if reached else max(over, 1.0))


@given(
    capacity=st.integers(0, 3000),
    start=st.integers(1, 3000),
    high=st.integers(1, 2500),
    resolution=st.sampled_from([1e-9, 0.02, 0.3]),
    error=st.floats(0.3, 3.0),
)
@example(capacity=0, start=900, high=2000, resolution=0.02, error=1.0)
@example(capacity=2000, start=1, high=2000, resolution=0.02, error=3.0)
def test_capacities_are_found_whatever_trainings_tell(
    capacity: int, start: int, high: int, resolution: float, error: float
) -> None:
    facts = Facts(capacity, error)
    found = search_from_outcomes(
        facts, CapacitySearch(low=1, high=high, resolution=resolution), num_available=2400, start=start
    )
    most = min(high, 2400)
    assert all(0 < size <= most for size in facts.sizes) and len(set(facts.sizes)) == len(facts.sizes)
    if capacity >= most:
        assert found == Capacity(num_facts=most, censored=True)
        return
    # Brute force: the boundary is the capacity itself. Told wrong, a search may end a tenth below it.
    assert not found.censored and found.monotone
    trusted = 0.1 if error != 1 else 0.0
    assert 0 <= capacity - found.num_facts <= max(1.0 * (error != 1), max(resolution, trusted) * found.num_facts)
    assert found.num_facts in (0, *facts.sizes)
    assert len(facts.sizes) <= 2 * math.log2(most + 1) + 12


@pytest.mark.parametrize("start", [600, 930, 1000, 1060, 2500])
def test_a_search_that_is_told_right_takes_a_few_trainings(start: int) -> None:
    facts = Facts(1000)
    found = search_from_outcomes(facts, CapacitySearch(high=4000), num_available=4000, start=start)
    assert 980 <= found.num_facts <= 1000
    assert len(facts.sizes) <= 4 and min(size for size in facts.sizes if size > 1000) <= 1100


def test_one_failure_below_the_capacity_is_looked_behind() -> None:
    """950 to 1,020 fail and 1,021 to 1,200 do not: the look beyond the first failure goes on from there."""
    facts = Facts(1200)

    def holed(num_facts: int) -> Outcome:
        told = facts(num_facts)
        return Outcome(reached=False, over_capacity=1.01) if 950 <= num_facts <= 1020 else told

    found = search_from_outcomes(holed, CapacitySearch(high=4000), num_available=4000, start=1000)
    assert 1176 <= found.num_facts <= 1200 and not found.monotone


@given(
    needed=st.integers(1, 3000),
    low=st.integers(1, 400),
    length=st.integers(1, 900),
    start=st.integers(1, 4000),
    error=st.floats(0.3, 3.0),
    resolution=st.sampled_from([1e-9, 0.05]),
)
def test_smallest_memories_are_found_whatever_trainings_tell(
    needed: int, low: int, length: int, start: int, error: float, resolution: float
) -> None:
    settings = range(low, low + length)
    found = sought(needed, settings, start, error=error, resolution=resolution)
    first = min(settings, key=lambda setting: abs(setting - start))
    good = [setting for setting in settings if setting >= needed and setting <= 64 * first]
    tried = [one.setting for one in found.tried]
    assert len(set(tried)) == len(tried) <= 2 * math.log2(4000) + 12
    if not good:
        assert found.found is None
        return
    assert found.found is not None and found.found.storage_bytes is not None and found.monotone
    assert 0 <= found.found.storage_bytes - good[0] <= resolution * found.found.storage_bytes


def sought(needed: int, settings: range, start: int, *, error: float = 1.0, resolution: float = 0.05) -> Smallest:
    """Of a family of `setting` bytes, of which `needed` do."""

    def written(setting: int) -> Tried:
        reached, over = setting >= needed, needed / setting * error
        over = min(over, 1.0) if reached else max(over, 1.0)
        return Tried(setting=setting, storage_bytes=setting, accuracy=0.95 if reached else 0.5, over_capacity=over)

    return search_smallest(written, settings, SmallestSearch(accuracy=0.9, resolution=resolution), start=start)


@pytest.mark.parametrize("start", [40, 90, 100, 110, 300])
def test_a_smallest_memory_that_is_told_right_takes_a_few_trainings(start: int) -> None:
    found = sought(100, range(1, 4000), start)
    assert found.found is not None and 100 <= found.found.setting <= 105 and len(found.tried) <= 5


def test_a_bracket_of_whole_settings_closes_where_bytes_fall_faster_than_they_do() -> None:
    """70 w - 500 bytes: 58 and 61 are told apart, 59 and 61 are not."""
    tried = []

    def written(setting: int) -> Tried:
        tried.append(setting)
        reached = setting >= 60
        return Tried(
            setting=setting,
            storage_bytes=70 * setting - 500,
            accuracy=0.95 if reached else 0.5,
            over_capacity=1.0 if reached else 1.02,
        )

    found = search_smallest(written, range(1, 400), SmallestSearch(accuracy=0.9), start=61)
    assert found.found is not None and found.found.setting == 61 and tried == [61, 59, 53]


@given(
    low=st.floats(1, 1000),
    factor=st.floats(1.01, 50),
    expected=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)),
    same=st.integers(1, 5),
)
def test_the_next_size_lies_within_the_bracket(
    low: float, factor: float, expected: tuple[float, float], same: int
) -> None:
    ends = [End(size=low, expected=low * expected[0]), End(size=low * factor, expected=low * factor * expected[1])]
    between = next_size(*ends, tolerance=0.02, same=same)
    assert low * 0.98 <= between <= low * factor * 1.02
    assert next_size(ends[0], None, tolerance=0.02, same=same) >= low * 1.019
    assert next_size(None, ends[1], tolerance=0.02, same=same) <= low * factor / 1.019
    blind = [replace(end, expected=None) for end in ends]
    assert next_size(*blind, tolerance=0.02, same=same) == pytest.approx(low * math.sqrt(factor))


def test_sizes_in_a_row_on_one_side() -> None:
    assert [in_a_row(row) for row in ([True], [False, True], [True, True], [True, False, False, False])] == [1, 1, 2, 3]


@pytest.mark.parametrize("rounding_aware", [False, True])
def test_how_a_training_ended_tells_how_far_the_capacity_is(rounding_aware: bool) -> None:
    def over(accuracy: float, share: float = 1.0, **how: bool) -> float:
        return facts_over_capacity(accuracy, 0.99, share_of_steps=share, rounding_aware=rounding_aware, **how)

    failed = [over(right / 100) for right in range(10, 99)]
    assert failed == sorted(failed, reverse=True) and failed[-1] > 1 and failed[0] > 1.25
    reached = [over(0.995, share / 10) for share in range(1, 11)]
    assert reached == sorted(reached) and reached[-1] == 1 and reached[0] < 0.75
    told = [over(right / 100, 0.3, abandoned=True) for right in range(5, 99)]
    assert told == sorted(told, reverse=True) and told[-1] == 1 and told[0] <= 3
    assert over(0.6, 0.3, abandoned=True) < over(0.5, 0.3, abandoned=True) <= over(0.5, 0.4, abandoned=True)
    assert over(0.989, 0.3, abandoned=True) == 1


@pytest.mark.parametrize(("right", "on_keys", "on_cities"), [(0.7, 1.15, 1.27), (0.8, 1.07, 1.17)])
def test_an_abandoned_training_of_rounded_weights_is_expected_between_keys_and_cities(
    right: float, on_keys: float, on_cities: float
) -> None:
    """Both as measured (docs/log.md, 2026-11-30)."""
    told = facts_over_capacity(right, 0.99, share_of_steps=0.9, rounding_aware=True, abandoned=True)
    assert on_keys <= told <= on_cities


def test_in_new_words_the_accuracy_tells_on_both_sides_of_the_goal() -> None:
    told = [facts_over_capacity_in_new_words(right / 1000, 0.95) for right in range(0, 1001, 10)]
    assert told == sorted(told, reverse=True) and facts_over_capacity_in_new_words(0.95, 0.95) == pytest.approx(1)
    # Seen: 95.25 % at width 136, 89.75 % at 113.
    ratio = facts_over_capacity_in_new_words(0.8975, 0.95) / facts_over_capacity_in_new_words(0.9525, 0.95)
    assert ratio == pytest.approx(136 / 113, rel=0.05)
    assert 1 < told[0] < 6 and 0.3 < told[-1] < 1
