"""The pilot of a plan: its samples, what it asks, and a search of a family, each beside the same done by hand."""

import time
from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np
import pytest
from numpy import ndarray

from retrieval.errors import Refused
from retrieval.plan_request import PlanRequest
from retrieval.planner import Expected, Pilot, Plan, _check, _Trials, plan
from retrieval.recall_law import Sampled, recall_at
from retrieval.sorted_codes import expected_bytes
from retrieval.vector_index import IndexSpec, VectorIndex

DIM = 16


def unit(num: int, seed: int, dim: int = DIM) -> ndarray:
    vectors_ND = np.random.default_rng(seed).standard_normal((num, dim)).astype(np.float32)
    return np.asarray(vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True), dtype=np.float32)


def near(vectors_ND: ndarray, noise: float) -> ndarray:
    questions_ND = vectors_ND + noise * unit(len(vectors_ND), seed=77, dim=vectors_ND.shape[1])
    return np.asarray(questions_ND / np.linalg.norm(questions_ND, axis=1, keepdims=True), dtype=np.float32)


def clock(steps: Sequence[float]) -> Iterator[float]:
    """Times at which somebody looks: each lap, from one look to the next but one, takes the next of the steps."""
    now = 100.0
    for lap in count():
        yield now
        now += steps[lap % len(steps)]
        yield now


def found_by_hand(spec: IndexSpec, vectors_ND: ndarray, questions_QD: ndarray) -> int:
    """Questions whose answer is as near as the nearest there is."""
    index = VectorIndex(spec, vectors_ND.shape[1])
    index.add(vectors_ND)
    similarities_QN = questions_QD @ vectors_ND.T
    answers_Q = index.search(questions_QD, 1)[0][:, 0]
    rows_Q = np.arange(len(questions_QD))
    return int((similarities_QN[rows_Q, answers_Q] >= similarities_QN.max(axis=1) - 1e-6).sum())


@pytest.mark.parametrize(
    ("most_sampled", "sizes"), [(99, [24, 49, 99]), (401, [401]), (400, [100, 200, 400]), (1000, [401])]
)
def test_samples_are_nested_in_the_order_of_the_store_and_asked_what_is_in_all_of_them(
    most_sampled: int, sizes: list[int]
) -> None:
    vectors_ND = unit(401, seed=1)
    questions_ND = near(vectors_ND, 0.3)
    pilot = Pilot(vectors_ND, questions_ND, most_sampled=most_sampled, seed=5)
    assert (pilot.sizes, pilot.num_vectors) == (sizes, 401)
    drawn_N = np.random.default_rng(5).permutation(401)
    for size in sizes:
        np.testing.assert_array_equal(pilot._samples[size], vectors_ND[sorted(drawn_N[:size].tolist())])
        # The largest is asked for all that it holds, the others for what the smallest holds.
        asked_QD = questions_ND[drawn_N[: sizes[-1] if size == sizes[-1] else sizes[0]]]
        np.testing.assert_array_equal(pilot._asked[size], asked_QD)
        np.testing.assert_allclose(
            pilot._best[size], (asked_QD @ pilot._samples[size].T).max(axis=1), rtol=0, atol=1e-6
        )
    assert pilot.num_asked == len(pilot._asked[sizes[-1]])
    assert pilot.num_asked == sizes[-1]


def test_no_more_than_five_thousand_questions_are_asked_of_the_largest_sample() -> None:
    vectors_ND = unit(5003, seed=2, dim=2)
    pilot = Pilot(vectors_ND, vectors_ND, most_sampled=5001)
    assert pilot.sizes == [1250, 2500, 5001]
    assert [len(pilot._asked[size]) for size in pilot.sizes] == [1250, 1250, 5000]
    assert pilot.num_asked == 5000


def test_recall_is_carried_on_from_what_each_sample_found() -> None:
    vectors_ND, spec = unit(700, seed=2, dim=4), IndexSpec(factory="LSH", rotate_to=9)
    pilot = Pilot(vectors_ND, near(vectors_ND, 0.5), most_sampled=403)
    samples = [
        Sampled(
            num_vectors=size,
            asked=len(pilot._asked[size]),
            found=found_by_hand(spec, pilot._samples[size], pilot._asked[size]),
        )
        for size in (100, 201, 403)
    ]
    expected = pilot.expected(spec, 31, thoroughly=False)
    assert expected.recall_at_1 == recall_at(700, samples)
    assert (expected.spec, expected.storage_bytes) == (spec, 31)


@pytest.mark.parametrize(
    ("factory", "num", "build_seconds", "query_ms"),
    [
        # Laps: one of a build, then one a question. 25 are timed, of steps 3, 1, 7 and 2 s in turn: the median is 2 s.
        ("SQ8", 120, 3.0, 2000.0),
        # Three samples of 10, 20 and 40, carried on from 40 to 100 along the line through the first and the last.
        ("SQ8", 100, None, None),
        ("HNSW8", 100, None, None),
    ],
)
def test_seconds_to_build_and_milliseconds_of_a_query_are_those_of_the_clock(
    factory: str, num: int, build_seconds: float | None, query_ms: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors_ND = unit(num, seed=3)
    pilot = Pilot(vectors_ND, near(vectors_ND, 0.2), most_sampled=120 if num == 120 else 40)
    if build_seconds is not None:
        times = clock([3.0, 1.0, 7.0, 2.0])
        monkeypatch.setattr(time, "perf_counter", lambda: next(times))
        expected = pilot.expected(IndexSpec(factory=factory), 0, thoroughly=True)
        assert (expected.build_seconds, expected.query_ms) == (pytest.approx(3.0), pytest.approx(query_ms))
        return
    # Builds take 5, 6 and 8 s; a query of the samples takes 2, 9 and 4 ms. 10 and 20 vectors are asked for 10 facts.
    laps = [5.0, *[0.002] * 10, 6.0, *[0.009] * 10, 8.0, *[0.004] * 25]
    times = clock(laps)
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    expected = pilot.expected(IndexSpec(factory=factory), 0, thoroughly=True)
    assert expected.build_seconds == pytest.approx(8 + 3 * 60 / 30)
    doublings = np.log2(100 / 40)
    assert expected.query_ms == pytest.approx(4 + (doublings if factory == "HNSW8" else 2 * 60 / 30))


# ---- a family ------------------------------------------------------------------------------------------------------

FAMILY = [(IndexSpec(factory="LSH", rotate_to=bits), 1000 + bits) for bits in (4, 8, 12, 16, 24, 32, 48, 64, 96)]


@pytest.fixture(scope="module")
def pilot() -> Pilot:
    vectors_ND = unit(300, seed=4)
    return Pilot(vectors_ND, near(vectors_ND, 0.35))


@pytest.fixture(scope="module")
def recalls(pilot: Pilot) -> list[float]:
    recalls = [pilot.expected(spec, 0, thoroughly=False).recall_at_1 for spec, _ in FAMILY]
    assert recalls == sorted(recalls) and recalls[0] < 0.1 and recalls[-1] > 0.9, "recall rises within the family"
    return recalls


def halved(enough: Sequence[bool]) -> list[int]:
    """The places that are looked at: the last, then always the middle of what is open between too few and enough."""
    looked, low, high = [len(enough) - 1], -1, len(enough) - 1
    while high > low + 1:
        middle = low + (high - low) // 2
        looked.append(middle)
        if enough[middle]:
            high = middle
        else:
            low = middle
    return looked


@pytest.mark.parametrize("place", range(len(FAMILY)))
def test_a_family_is_halved_until_the_smallest_that_finds_enough_is_known(
    pilot: Pilot, recalls: list[float], place: int
) -> None:
    for least in (recalls[place], (recalls[place] + (recalls[place - 1] if place else 0.0)) / 2):
        trials = _Trials(pilot, PlanRequest(min_recall=least))
        trials.try_family(FAMILY)
        assert list(trials.found) == [FAMILY[at][0] for at in halved([recall >= least for recall in recalls])]
        smallest = next(at for at, recall in enumerate(recalls) if recall >= least)
        good = [found for found in trials.found.values() if found.recall_at_1 >= least]
        assert min(found.storage_bytes for found in good) == FAMILY[smallest][1]
        assert {found.spec: found.recall_at_1 for found in good} == {
            FAMILY[at][0]: recalls[at]
            for at in range(len(FAMILY))
            if FAMILY[at][0] in trials.found and recalls[at] >= least
        }
        assert trials.thorough == []


def test_nothing_more_is_tried_where_the_largest_finds_too_little_or_what_is_enough_is_known(
    pilot: Pilot, recalls: list[float]
) -> None:
    trials = _Trials(pilot, PlanRequest(min_recall=(recalls[3] + recalls[4]) / 2))
    trials.try_family(FAMILY[:4])
    assert list(trials.found) == [FAMILY[3][0]]
    trials.try_family([FAMILY[7]])
    assert list(trials.found) == [FAMILY[3][0], FAMILY[7][0]]
    trials.try_family([FAMILY[5]])
    assert list(trials.found) == [FAMILY[3][0], FAMILY[7][0], FAMILY[5][0]]
    # Of two that are good the smaller one bounds: nothing of its bytes or more is tried.
    trials.try_family([FAMILY[2], (IndexSpec(factory="SQ8"), FAMILY[5][1])])
    assert list(trials.found) == [FAMILY[3][0], FAMILY[7][0], FAMILY[5][0], FAMILY[2][0]]
    trials.try_family([(IndexSpec(factory="SQ8"), FAMILY[5][1] - 1)])
    assert list(trials.found)[4:] == [IndexSpec(factory="SQ8")]
    trials.try_family([(IndexSpec(factory="Flat"), 5000)])
    trials.try_family([])
    assert len(trials.found) == 5


@pytest.mark.parametrize("enough", [1, 4, 8])
def test_without_a_recall_the_largest_that_is_quick_enough_is_looked_for(
    pilot: Pilot, enough: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query takes a second for each bit of the code, by a clock that knows the order in which they are tried."""
    bits = [float(spec.rotate_to or 0) for spec, _ in FAMILY]
    expected = [8] if enough == 8 else halved([at > enough for at in range(len(FAMILY))])
    # A lap for the build and one for each of 25 queries; then three more indexes for what follows.
    times = clock([lap for at in [*expected, 8, 7, 0] for lap in [0.5, *[bits[at]] * 25]])
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    most_ms = 1e3 * (FAMILY[enough][0].rotate_to or 0)  # to the last moment
    trials = _Trials(pilot, PlanRequest(max_ms=most_ms))
    trials.try_family(FAMILY)
    assert list(trials.found) == [FAMILY[at][0] for at in expected]
    assert max(found.query_ms for found in trials.found.values() if found.query_ms <= most_ms) == most_ms
    # Both limits: what is good must be in time too, or it bounds nothing.
    slow = _Trials(pilot, PlanRequest(min_recall=0.01, max_ms=5000.0))
    slow.try_family([FAMILY[8]])
    slow.try_family([FAMILY[7]])
    slow.try_family([FAMILY[0]])
    slow.try_family([(IndexSpec(factory="LSH", rotate_to=5), 9999)])
    assert list(slow.found) == [FAMILY[8][0], FAMILY[7][0], FAMILY[0][0]]


def test_without_limits_on_recall_and_time_the_largest_alone_is_tried(pilot: Pilot) -> None:
    trials = _Trials(pilot, PlanRequest(max_bytes=5000.0))
    trials.try_family(FAMILY)
    assert list(trials.found) == [FAMILY[-1][0]]


def test_what_a_sample_is_too_small_to_train_is_passed_over_and_what_is_confirmed_is_asked_more() -> None:
    vectors_ND = unit(1203, seed=6)
    pilot = Pilot(vectors_ND, near(vectors_ND, 0.6))
    trials = _Trials(pilot, PlanRequest(min_recall=0.5))
    trials.try_family([(IndexSpec(factory="IVF2000,Flat"), 7)])
    assert trials.found == {}
    trials.try_family([FAMILY[0], (IndexSpec(factory="IVF2000,Flat"), 7), FAMILY[8]])
    assert list(trials.found) == [FAMILY[8][0], FAMILY[0][0]], "what cannot be trained is as too small"
    trials = _Trials(pilot, PlanRequest(min_recall=0.5))
    spec, size = FAMILY[5]
    trials.try_family([(spec, size)])
    rough, thorough = trials.found[spec], found_by_hand(spec, vectors_ND, pilot._asked[1203]) / 1203
    assert rough.recall_at_1 == found_by_hand(spec, vectors_ND, pilot._asked[1203][:1000]) / 1000 != thorough
    trials.confirm(rough)
    assert (trials.found[spec].recall_at_1, trials.found[spec].storage_bytes) == (thorough, size)
    assert trials.thorough == [trials.found[spec]]


# ---- a plan --------------------------------------------------------------------------------------------------------


def expected(**fields: object) -> Expected:
    given: dict[str, object] = {
        "spec": IndexSpec(), "storage_bytes": 12_345, "recall_at_1": 0.8, "build_seconds": 2.25, "query_ms": 3.0,
    }  # fmt: skip
    return Expected(**{**given, **fields})  # type: ignore[arg-type]


def test_an_expected_index_is_described_in_one_line() -> None:
    one = expected(spec=IndexSpec(factory="IVF64,SQ8", rotate_to=24, nprobe=8), recall_at_1=0.98765, query_ms=0.456)
    assert one.name == "rot24-IVF64,SQ8 (nprobe 8)"
    assert one.described(1000) == (
        "rot24-IVF64,SQ8 (nprobe 8): 12,345 bytes (12.35 a fact), recall@1 0.988, 2.2 s to build, 0.46 ms a query"
    )
    assert expected(spec=IndexSpec(factory="HNSW32", ef_search=40)).name == "HNSW32 (ef_search 40)"
    assert expected().name == "Flat"


def test_limits_are_kept_by_what_just_meets_them(pilot: Pilot) -> None:
    one = expected(recall_at_1=0.8, query_ms=3.0)
    for request in (PlanRequest(min_recall=0.8, max_ms=3.0), PlanRequest(max_bytes=1.0)):
        _check(one, request, 10)
    for request, is_good in (
        (PlanRequest(min_recall=0.8, max_ms=3.0), True),
        (PlanRequest(min_recall=0.81, max_ms=3.0), False),
        (PlanRequest(min_recall=0.8, max_ms=2.99), False),
        (PlanRequest(max_bytes=1.0), True),
    ):
        assert _Trials(pilot, request)._is_good(one) is is_good
    with pytest.raises(Refused) as slow:
        _check(one, PlanRequest(max_ms=2.5, min_recall=0.9), 100)
    assert str(slow.value) == f"no index answers within 2.5 ms here; the fastest is {one.described(100)}"
    with pytest.raises(Refused) as poor:
        _check(one, PlanRequest(max_ms=3.0, min_recall=0.81), 100)
    assert str(poor.value) == (f"no index within these limits reaches recall 0.81; the nearest is {one.described(100)}")


def test_a_plan_of_a_part_says_what_it_saw_and_keeps_payload_and_order_by_bytes() -> None:
    vectors_ND = unit(900, seed=8)
    made = plan(
        PlanRequest(max_bytes=70.0, per_fact=True, min_recall=0.5),
        vectors_ND,
        near(vectors_ND, 0.3),
        payload_bytes=450,
        most_sampled=300,
    )
    assert isinstance(made, Plan)
    assert (made.sampled, made.asked) == (300, 300)
    sizes = [one.storage_bytes for one in made.tried]
    assert sizes == sorted(sizes) and max(sizes) <= 70 * 900
    for one in made.tried:
        if "fs" in one.spec.factory or "IVF" in one.spec.factory:
            continue
        index = VectorIndex(one.spec, DIM)
        index.add(vectors_ND)
        index.sort_codes()
        assert one.storage_bytes == pytest.approx(index.storage_bytes + 450, rel=0.02)
    assert made.chosen in made.tried
    good = [one for one in made.tried if one.recall_at_1 >= 0.5]
    assert made.chosen.storage_bytes == min(one.storage_bytes for one in good)
    assert not any("HNSW" in one.spec.factory or "IVF" in one.spec.factory for one in made.tried), "time is not limited"


def test_a_limit_that_nothing_keeps_names_the_smallest_with_its_payload() -> None:
    vectors_ND = unit(50, seed=9)
    # Sixteen signs a vector, sorted, are the least; 33 of payload come on top.
    least = expected_bytes(16, [50]) + 33
    assert least < 2 * 50 + 33
    with pytest.raises(Refused) as caught:
        plan(PlanRequest(max_bytes=least - 1.0), vectors_ND, vectors_ND, payload_bytes=33)
    assert str(caught.value) == (
        f"no index holds 50 facts in {least - 1} bytes; the smallest is rot16-LSH with {least} "
        f"({least / 50:.2f} a fact)"
    )
    made = plan(PlanRequest(max_bytes=float(least)), vectors_ND, vectors_ND, payload_bytes=33)
    assert [(one.spec, one.storage_bytes) for one in made.tried] == [(IndexSpec(factory="LSH", rotate_to=16), least)]
    assert made.chosen == made.tried[0] and (made.sampled, made.asked) == (50, 50)
