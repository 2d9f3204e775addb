"""Crowds are as large as the dial says, in the whole set and in a part of it; nobody stands in it twice."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from retromem.knowledge.near_duplicates import NearDuplicatesConfig, near_duplicates_set


def subjects(**dials) -> tuple[str, ...]:
    text = near_duplicates_set(NearDuplicatesConfig(**dials)).text
    assert text is not None
    return text.subjects


@pytest.mark.parametrize("kind", ["names", "numbers"])
@pytest.mark.parametrize("crowd", [1, 16, 256])
def test_subjects_differ_and_are_drawn_by_the_seed(kind: str, crowd: int) -> None:
    found = subjects(kind=kind, crowd=crowd, num_facts=2048)
    assert len(set(found)) == len(found) == 2048
    assert found == subjects(kind=kind, crowd=crowd, num_facts=2048)
    assert found != subjects(kind=kind, crowd=crowd, num_facts=2048, seed=1)


@pytest.mark.parametrize("crowd", [1, 16, 256])
def test_a_family_has_as_many_members_as_the_dial_says(crowd: int) -> None:
    found = subjects(crowd=crowd, num_facts=2048)
    for part in (found, found[: 2 * crowd]):
        assert set(Counter(name.split()[1] for name in part).values()) == {crowd}


@pytest.mark.parametrize("crowd", [1, 16, 256])
def test_numbers_run_in_as_long_a_row_as_the_dial_says(crowd: int) -> None:
    numbers = [int(name.removeprefix("sample ")) for name in subjects(kind="numbers", crowd=crowd, num_facts=2048)]
    assert {len(str(number)) for number in numbers} == {8}
    steps = [after - before for before, after in pairwise(numbers)]
    assert sum(step == 1 for step in steps) >= 2048 - 2048 // crowd
    assert all(steps[place] == 1 for place in range(len(steps)) if (place + 1) % crowd)


def test_values_are_uniform_and_of_known_entropy() -> None:
    knowledge = near_duplicates_set(NearDuplicatesConfig(num_facts=4096))
    assert knowledge.uniform and knowledge.demand_bits() == pytest.approx(4096 * 6)  # 64 towns
    counts = np.bincount(knowledge.value_ids_N, minlength=64)
    assert counts.min() > 30 and counts.max() < 110


def test_dials_that_cannot_be_had_are_refused() -> None:
    with pytest.raises(ValueError, match="crowd should be 1 to 320"):
        NearDuplicatesConfig(crowd=321)
    with pytest.raises(ValueError, match="num_facts should be 1 to 8,192"):
        NearDuplicatesConfig(num_facts=9000)
    with pytest.raises(ValueError, match="no more than pool, which is at most 3"):
        NearDuplicatesConfig(kind="numbers", pool=4)
