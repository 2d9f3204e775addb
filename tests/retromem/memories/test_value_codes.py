"""Frozen codes of values: unit vectors that no other value changes, and signs where there is one dimension."""

import numpy as np
import pytest

from retrieval.errors import Refused
from retromem.memories.value_codes import value_codes
from retromem.seam import ValueTable


def table(**values: tuple[str, ...]) -> ValueTable:
    starts = [0]
    for own in values.values():
        starts.append(starts[-1] + len(own))
    return ValueTable(
        strings=tuple(value for own in values.values() for value in own), relations=tuple(values), starts=tuple(starts)
    )


def rows(values: ValueTable, dim: int, seed: int = 3) -> dict[tuple[str, str], list[float]]:
    """(relation, value) -> code."""
    codes_VE = value_codes(values, dim, seed=seed)
    assert codes_VE.dtype == np.float32 and codes_VE.shape == (values.num_values, dim)
    assert values.strings is not None
    return {
        (relation, values.strings[value]): codes_VE[value].tolist()
        for number, relation in enumerate(values.relations)
        for value in values.candidates(number)
    }


@pytest.mark.parametrize("dim", [2, 3, 64])
def test_a_code_is_of_its_relation_and_value_and_of_nothing_beside_them(dim: int) -> None:
    few = rows(table(colour=("red", "tan"), size=("big",)), dim)
    more = rows(table(shape=("round",), size=("tiny", "big"), colour=("tan", "blue", "red")), dim)
    assert few == {name: more[name] for name in few}
    norms = np.linalg.norm(np.array(list(more.values())), axis=1)
    assert norms == pytest.approx(1.0, abs=1e-6)
    assert len({tuple(code) for code in more.values()}) == 6
    other = rows(table(colour=("red", "tan"), size=("big",)), dim, seed=4)
    assert not any(other[name] == few[name] for name in few)
    # The same word is another value in another relation.
    two = rows(table(colour=("orange",), fruit=("orange",)), dim)
    assert two["colour", "orange"] != two["fruit", "orange"]


def test_codes_point_everywhere_alike() -> None:
    codes_VE = value_codes(table(number=tuple(map(str, range(4000)))), 5, seed=0)
    # Of random unit vectors: mean 0 and variance 1/5 in each dimension, none of it shared.
    np.testing.assert_allclose(codes_VE.mean(axis=0), 0, atol=5 * np.sqrt(0.2 / 4000))
    np.testing.assert_allclose(codes_VE.T @ codes_VE / 4000, np.eye(5) / 5, atol=0.03)


def test_values_without_names_are_told_apart_by_their_ids() -> None:
    nameless = ValueTable(strings=None, relations=("a", "b"), starts=(0, 2, 5))
    named = ValueTable(strings=tuple("01234"), relations=("a", "b"), starts=(0, 2, 5))
    assert value_codes(nameless, 7, seed=1).tolist() == value_codes(named, 7, seed=1).tolist()


def test_in_one_dimension_the_first_value_is_plus_and_the_second_minus() -> None:
    codes_V1 = value_codes(table(coin=("heads", "tails"), only=("one",), door=("open", "shut")), 1, seed=9)
    assert codes_V1.tolist() == [[1.0], [-1.0], [1.0], [1.0], [-1.0]]
    assert codes_V1.dtype == np.float32
    with pytest.raises(Refused, match="^3 values have two codes between them in one dimension: code_dim must be 2"):
        value_codes(table(coin=("heads", "tails"), colour=("red", "tan", "blue")), 1, seed=9)
