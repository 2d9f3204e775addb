"""Byte curves and their crossings against hand-made cases and a brute-force reading."""

from hypothesis import given
from hypothesis import strategies as st

from retromem.report.crossover import Arm, Curve, crossover, min_bytes
from retromem.report.sides import Group
from retromem.rows import Row


def row(memory: str, num_facts: int, accuracy: float | None, storage_bytes: int | None, **changes: object) -> Row:
    side = "parametric" if memory.startswith("ffn") else "retrieval"
    fields: dict[str, object] = {
        "study": "s", "side": side, "memory": memory, "role": "arm", "family": memory.rsplit("-", 1)[0],
        "stores": "statements" if memory.startswith("faiss-s") else "questions",
        "knowledge": "k", "knowledge_name": "n", "twin": False, "num_facts": num_facts, "seed": 0,
        "phrasing": "identical", "accuracy": accuracy, "storage_bytes": storage_bytes,
    }  # fmt: skip
    return Row(**(fields | changes))  # type: ignore[arg-type]


def weights_curve(rows: list[Row]) -> Curve:
    return min_bytes(rows, tau=0.99, phrasing="identical", group=Group.WEIGHTS, twin=False)


def test_smallest_that_reaches_the_accuracy_wins() -> None:
    rows = [row("ffn-a", 10, 0.98, 50), row("ffn-b", 10, 0.99, 80), row("ffn-c", 10, 1.0, 90)]
    assert weights_curve(rows) == {10: Arm(memory="ffn-b", storage_bytes=80.0, accuracy=0.99)}


def test_median_over_seeds_decides() -> None:
    def seeds(*accuracies: float) -> list[Row]:
        return [row("ffn-a", 10, accuracy, 50, seed=seed) for seed, accuracy in enumerate(accuracies)]

    assert weights_curve(seeds(0.5, 0.99, 1.0))[10] is not None
    assert weights_curve(seeds(0.5, 0.98, 1.0))[10] is None


def test_measured_without_success_differs_from_not_measured() -> None:
    curve = weights_curve([row("ffn-a", 10, 0.2, 50), row("faiss-q-Flat", 20, 1.0, 50)])
    assert curve == {10: None}


def test_a_curve_goes_from_few_facts_to_many() -> None:
    sizes = (4000, 500, 8, 100_000, 2000, 3)
    assert list(weights_curve([row("ffn-a", num_facts, 1.0, 50) for num_facts in sizes])) == sorted(sizes)


def test_only_arms_of_the_group_twin_and_phrasing_count() -> None:
    rows = [
        row("ffn-a", 10, 1.0, 100),
        row("ffn-control", 10, 1.0, 1, role="control"),
        row("ffn-twin", 10, 1.0, 2, twin=True),
        row("ffn-heldout", 10, 1.0, 3, phrasing="heldout"),
        row("ffn-untold", 10, 1.0, None),
        row("faiss-q-Flat", 10, 1.0, 4),
        row("faiss-s-Flat", 10, 1.0, 5),
    ]
    smallest = weights_curve(rows)[10]
    assert smallest is not None and smallest.memory == "ffn-a"
    texts = min_bytes(rows, tau=0.99, phrasing="identical", group=Group.TEXT_INDEX, twin=False)
    assert texts == {10: Arm(memory="faiss-s-Flat", storage_bytes=5.0, accuracy=1.0, is_smallest_tried=True)}


def test_what_answers_is_a_bound_unless_something_smaller_was_tried() -> None:
    rows = [
        row("ffn-a", 10, 1.0, 100),
        row("ffn-b", 10, 0.5, 60),
        row("ffn-c", 10, 1.0, 300),
        row("ffn-a", 5, 1.0, 100),
    ]
    curve = weights_curve(rows)
    assert {size: (arm.storage_bytes, arm.is_smallest_tried) for size, arm in curve.items() if arm} == {
        5: (100, True),
        10: (100, False),
    }


def curve_of(sizes: dict[int, int | None]) -> Curve:
    return {
        num_facts: None if size is None else Arm(memory="m", storage_bytes=float(size), accuracy=1.0)
        for num_facts, size in sizes.items()
    }


def test_outcomes() -> None:
    flat, rising = curve_of({1: 50, 2: 50, 4: 50}), curve_of({1: 20, 2: 40, 4: 80})
    never = curve_of({1: None, 2: None})
    found = crossover(flat, rising)
    assert (found.outcome, found.between, found.smaller) == ("crosses", (2, 4), "a")
    assert crossover(flat, curve_of({1: 20, 2: 40, 4: 49})).outcome == "none in range"
    assert crossover(flat, curve_of({1: 20, 2: 40, 4: 49})).smaller == "b"
    assert crossover(never, flat).outcome == "a never"
    assert crossover(flat, never).outcome == "b never"
    assert crossover(never, {}).outcome == "neither"
    assert crossover(curve_of({1: 5}), curve_of({2: 5})).outcome == "no common size"


def test_a_tie_belongs_to_no_side() -> None:
    found = crossover(curve_of({1: 9, 2: 5, 4: 5, 8: 1}), curve_of({1: 1, 2: 5, 4: 5, 8: 9}))
    assert found.changes == ((1, 8),)
    touching = crossover(curve_of({1: 9, 2: 5, 4: 9}), curve_of({1: 1, 2: 5, 4: 1}))
    assert touching.outcome == "none in range"
    assert crossover(curve_of({1: 5}), curve_of({1: 5})).smaller == "equal"


def test_a_size_that_one_side_lacks_is_skipped() -> None:
    found = crossover(curve_of({1: 9, 2: None, 4: 1}), curve_of({1: 1, 2: 5, 4: 9, 8: 9}))
    assert (found.between, found.sizes) == ((1, 4), (1, 4))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8))
def test_every_change_is_one_of_sign_and_swapping_mirrors(pairs: list[tuple[int, int]]) -> None:
    curve_a = curve_of({at: first for at, (first, _) in enumerate(pairs)})
    curve_b = curve_of({at: second for at, (_, second) in enumerate(pairs)})
    found, mirrored = crossover(curve_a, curve_b), crossover(curve_b, curve_a)
    signs = [(at, first > second) for at, (first, second) in enumerate(pairs) if first != second]
    expected = [(signs[k][0], signs[k + 1][0]) for k in range(len(signs) - 1) if signs[k][1] != signs[k + 1][1]]
    assert list(found.changes) == expected == list(mirrored.changes)
    assert (found.outcome == "crosses") == bool(expected)
    assert {"a": "b", "b": "a", "equal": "equal"}[found.smaller or ""] == mirrored.smaller
