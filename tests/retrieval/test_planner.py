"""Plans: bytes against what FAISS writes, recall against what a whole store finds, refusals that name the nearest."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy import ndarray

from retrieval.errors import Refused, UserError
from retrieval.exact_recall import num_nearest
from retrieval.plan_candidates import bytes_of, families
from retrieval.plan_request import PlanRequest, is_request, parse_request
from retrieval.planner import Expected, Pilot, _best, plan
from retrieval.recall_law import PRIOR_SLOPE, Sampled, recall_at, slope_of
from retrieval.vector_index import IndexSpec, VectorIndex

DIM = 32


def unit(num: int, seed: int = 0) -> ndarray:
    vectors = np.random.default_rng(seed).standard_normal((num, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def asked(vectors: ndarray, noise: float = 0.4) -> ndarray:
    """Questions: the vectors, disturbed."""
    questions = vectors + noise * unit(len(vectors), seed=1)
    return np.asarray(questions / np.linalg.norm(questions, axis=1, keepdims=True), dtype=np.float32)


def index_of(spec: IndexSpec, vectors: ndarray) -> VectorIndex:
    index = VectorIndex(spec, vectors.shape[1])
    index.add(vectors)
    return index


@given(
    max_bytes=st.floats(0.5, 1e9),
    per_fact=st.booleans(),
    min_recall=st.one_of(st.none(), st.floats(0.01, 1)),
    max_ms=st.one_of(st.none(), st.floats(0.01, 1e3)),
)
def test_a_request_is_read_as_it_was_written(
    max_bytes: float, per_fact: bool, min_recall: float | None, max_ms: float | None
) -> None:
    parts = [f"bytes<={max_bytes!r}{' per fact' if per_fact else ''}"]
    parts += [] if min_recall is None else [f"recall >= {min_recall!r}"]
    parts += [] if max_ms is None else [f"ms<={max_ms!r}"]
    request = parse_request("auto: " + ", ".join(parts))
    assert request == PlanRequest(max_bytes=max_bytes, per_fact=per_fact, min_recall=min_recall, max_ms=max_ms)
    assert request.bytes_for(10) == (10 * max_bytes if per_fact else max_bytes)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("auto:", "'' is no limit"),
        ("auto: bytes<64", "'bytes<64' is no limit"),
        ("auto: bytes>=64", "no limit"),
        ("auto: recall<=.9", "no limit"),
        ("auto: recall>=.9 per fact", "no limit"),
        ("auto: bytes<=6-4", "no limit"),
        ("auto: speed<=3", "no limit; write 'auto: bytes<=64 per fact, recall>=0.95, ms<=2'"),
        ("auto: recall>=1.5", "recall must be more than 0 and at most 1, not 1.5"),
        ("auto: bytes<=0", "bytes must be more than 0"),
        ("auto: ms<=1, ms<=2", "ms is limited twice"),
    ],
)
def test_what_is_no_request_is_one_line(index: str, message: str) -> None:
    assert is_request(index)
    with pytest.raises(UserError, match=message):
        parse_request(index)


def test_names_of_indexes_are_no_requests() -> None:
    assert not any(is_request(name) for name in ("Flat", "PQ48np", "automatic"))


@pytest.mark.parametrize("dim", [32, 384])
def test_bytes_of_every_candidate_are_those_that_faiss_writes(dim: int) -> None:
    num = 300
    vectors = np.random.default_rng(0).standard_normal((num, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for specs in families(dim, num, in_time=True).values():
        for spec in specs:
            index = index_of(spec, vectors)
            index.sort_codes()
            # Graphs are drawn, and distances of sorted codes are those of the data.
            about = 0.01 if "HNSW" in spec.factory or "sorted_codes.bin" in index.storage_names else 0
            assert index.storage_bytes == pytest.approx(bytes_of(spec, dim, num), rel=about, abs=0), spec.label


def test_families_rise_in_bytes_and_leave_out_what_would_be_all_codebook() -> None:
    small, large = families(384, 1000, in_time=False), families(384, 10**6, in_time=False)
    assert "PQ np" not in small
    assert [spec.factory for spec in large["PQ np"]][-1] == "PQ192np"
    for specs in large.values():
        sizes = [bytes_of(spec, 384, 10**6) for spec in specs]
        assert sizes == sorted(sizes)
    assert "HNSW" not in large
    timed = families(384, 10**6, in_time=True)
    assert [spec.nprobe for spec in timed["IVF SQ8"]] == [4, 8, 16, 32, 64, 128]
    assert {spec.factory for spec in timed["IVF Flat"]} == {"IVF4096,Flat"} and "HNSW" in timed
    assert not any("IVF" in name for name in families(384, 100, in_time=True))


@given(level=st.floats(-8, 0), slope=st.floats(0, 1), doublings=st.integers(1, 6))
def test_the_law_is_followed_where_samples_are_large(level: float, slope: float, doublings: int) -> None:
    def share(size: float) -> float:
        return 1 / (1 + math.exp(-(level + slope * math.log2(size / 4096))))

    samples = [
        Sampled(num_vectors=size, asked=10**9, found=round(10**9 * (1 - share(size)))) for size in (4096, 8192, 16384)
    ]
    whole = 16384 * 2**doublings
    assert slope_of(samples) == pytest.approx(slope, abs=0.01)
    assert recall_at(whole, samples) == pytest.approx(1 - share(whole), abs=0.005)
    assert recall_at(16384, samples) == samples[-1].found / 10**9


def test_without_misses_the_slope_is_that_of_other_sets() -> None:
    samples = [Sampled(num_vectors=size, asked=50, found=50) for size in (1000, 2000, 4000)]
    assert slope_of(samples) == pytest.approx(PRIOR_SLOPE, abs=0.1)
    assert recall_at(4000, samples) == 1.0
    assert 0.9 < recall_at(16_000, samples) < 1.0


def test_a_slope_is_weighed_against_those_of_other_sets_by_hand() -> None:
    few, many = (Sampled(num_vectors=size, asked=100, found=found) for size, found in ((1000, 90), (2000, 80)))
    variances = [1 / 10.5 + 1 / 90.5, 1 / 20.5 + 1 / 80.5]
    own, precision = math.log(20.5 / 80.5) - math.log(10.5 / 90.5), 1 / sum(variances)
    assert slope_of([few, many]) == pytest.approx((own * precision + 0.35 * 25) / (precision + 25))
    assert recall_at(4000, [few, many]) == pytest.approx(1 / (1 + 20.5 / 80.5 * math.exp(slope_of([few, many]))))


def test_a_codebook_is_a_tenth_of_its_codes_at_most() -> None:
    # 98,304 bytes of a codebook; a code of 24 parts would take 960,000, one of 32 parts takes 1,280,000.
    assert [spec.factory for spec in families(96, 40_000, in_time=False)["PQ np"]] == ["PQ32np", "PQ48np", "PQ96np"]


def test_recall_is_counted_against_brute_force() -> None:
    vectors, queries = unit(500), asked(unit(500), noise=1.5)
    answers = index_of(IndexSpec(factory="LSH", rotate_to=16), vectors).search(queries, 1)[0][:, 0]
    best = (queries @ vectors.T).argmax(axis=1)
    assert num_nearest(answers, vectors, queries) == (answers == best).sum()
    assert num_nearest(best, vectors, queries) == 500
    assert num_nearest(np.full(500, -1), vectors, queries) == 0


def test_time_is_carried_on_along_a_line_that_never_falls() -> None:
    pilot = Pilot(unit(400), asked(unit(400)), most_sampled=100)
    assert pilot.sizes == [25, 50, 100]
    # 75 vectors more took 3 ms more, so 300 more take 12; twice from 25 to 100, and once more to 400, for a graph.
    assert pilot._carried_on([1.0, 9.0, 4.0]) == pytest.approx(16)
    assert pilot._carried_on([1.0, 9.0, 4.0], logarithmic=True) == pytest.approx(7)
    assert pilot._carried_on([4.0, 9.0, 1.0]) == pilot._carried_on([4.0, 9.0, 1.0], logarithmic=True) == 1


def test_of_indexes_that_find_alike_the_smaller_one_is_chosen() -> None:
    def expected(factory: str, storage_bytes: int, recall: float, query_ms: float = 1.0) -> Expected:
        return Expected(
            spec=IndexSpec(factory=factory), storage_bytes=storage_bytes, recall_at_1=recall, build_seconds=1.0,
            query_ms=query_ms,
        )  # fmt: skip

    large, small, least = expected("Flat", 900, 0.9504), expected("SQ8", 500, 0.9496), expected("SQ4", 100, 0.8)
    for tried in ([large, small, least], [least, small, large]):
        # Equal to a thousandth; asked for a recall, the fewest bytes that reach it; without one that does, the most.
        assert _best(tried, PlanRequest(max_bytes=1000.0), 10) == small
        assert _best(tried, PlanRequest(min_recall=0.8), 10) == least
        assert _best(tried, PlanRequest(min_recall=0.95), 10) == _best(tried, PlanRequest(min_recall=1.0), 10) == large
    slow, quick = expected("Flat", 100, 1.0, query_ms=9.0), expected("HNSW32", 900, 0.9, query_ms=5.0)
    assert _best([slow, quick], PlanRequest(max_ms=5.0), 10) == quick  # in time, to the last moment
    assert _best([slow, quick], PlanRequest(max_ms=1.0), 10) == quick  # neither is: the nearest
    with pytest.raises(Refused, match="too few"):
        _best([], PlanRequest(max_ms=1.0), 10)


def test_a_small_store_is_tried_whole_and_a_large_one_carried_on() -> None:
    vectors, spec = unit(6000), IndexSpec(factory="LSH", rotate_to=64)
    questions = asked(vectors, noise=0.65)
    whole = Pilot(vectors, questions).expected(spec, 0, thoroughly=True)
    answers = index_of(spec, vectors).search(questions, 1)[0][:, 0]
    measured = num_nearest(answers, vectors, questions) / 6000
    assert whole.recall_at_1 == pytest.approx(measured, abs=0.01)
    part = Pilot(vectors, questions, most_sampled=2000)
    assert part.sizes == [500, 1000, 2000]
    carried = part.expected(spec, 0, thoroughly=True).recall_at_1
    assert carried == pytest.approx(measured, abs=0.04)  # 500 questions, and 1.6 doublings on
    assert 0.5 < measured < 0.97


def test_whoever_is_asked_does_not_win_ties() -> None:
    vectors, spec = unit(9000), IndexSpec(factory="LSH", rotate_to=12)  # 4,096 codes: ties everywhere
    questions = asked(vectors, noise=0.2)
    answers = index_of(spec, vectors).search(questions, 1)[0][:, 0]
    measured = num_nearest(answers, vectors, questions) / 9000
    assert Pilot(vectors, questions).expected(spec, 0, thoroughly=True).recall_at_1 == pytest.approx(measured, abs=0.02)


@pytest.mark.parametrize(
    "request_text",
    ["auto: bytes<=12 per fact", "auto: recall>=0.9", "auto: bytes<=100 per fact, recall>=0.8", "auto: ms<=1000"],
)
def test_what_is_chosen_keeps_the_limits_and_is_the_best_of_what_was_tried(request_text: str) -> None:
    vectors, request = unit(1500), parse_request(request_text)
    made = plan(request, vectors, asked(vectors), payload_bytes=100)
    chosen = made.chosen
    index = index_of(chosen.spec, vectors)
    index.sort_codes()
    assert chosen.storage_bytes == pytest.approx(index.storage_bytes + 100, rel=0.01)
    limit = request.bytes_for(1500) or math.inf
    assert chosen.storage_bytes <= limit
    within = [
        found
        for found in made.tried
        if found.storage_bytes <= limit and (request.max_ms is None or found.query_ms <= request.max_ms)
    ]
    if request.min_recall is None:
        assert chosen.recall_at_1 >= max(found.recall_at_1 for found in within) - 0.0011
    else:
        assert chosen.recall_at_1 >= request.min_recall
        good = [found for found in within if found.recall_at_1 >= request.min_recall]
        assert chosen.storage_bytes == min(found.storage_bytes for found in good)
    assert made.sampled == made.asked == 1500


def test_what_a_rough_trial_flattered_gives_way_to_what_it_had_kept_out() -> None:
    num, request = 1500, parse_request("auto: bytes<=40 per fact, recall>=0.9")
    vectors = unit(num)
    questions = asked(vectors, noise=0.9)
    roughly_asked = np.random.default_rng(0).permutation(num)[:1000]  # the pilot's own draw
    questions[roughly_asked] = vectors[roughly_asked]
    chosen = plan(request, vectors, questions, payload_bytes=0).chosen
    pilot, limit = Pilot(vectors, questions), request.bytes_for(num) or 0
    thorough = [
        pilot.expected(spec, size, thoroughly=True)
        for specs in families(DIM, num, in_time=False).values()
        for spec in specs
        if (size := bytes_of(spec, DIM, num)) <= limit
    ]
    flattered = [found for found in thorough if found.recall_at_1 < 0.9 and found.storage_bytes < chosen.storage_bytes]
    assert any(pilot.expected(one.spec, 0, thoroughly=False).recall_at_1 >= 0.9 for one in flattered)
    assert chosen.recall_at_1 >= 0.9
    assert chosen.storage_bytes == min(found.storage_bytes for found in thorough if found.recall_at_1 >= 0.9)


def test_a_limit_is_kept_by_what_takes_exactly_as_much() -> None:
    vectors = unit(40)
    sizes = {bytes_of(spec, DIM, 40) + 9 for specs in families(DIM, 40, in_time=False).values() for spec in specs}
    made = plan(PlanRequest(max_bytes=float(min(sizes))), vectors, asked(vectors), payload_bytes=9)
    assert made.chosen.storage_bytes == min(sizes)
    with pytest.raises(Refused, match=f"no index holds 40 facts in {min(sizes) - 1:,} bytes; the smallest is "):
        plan(PlanRequest(max_bytes=min(sizes) - 1.0), vectors, asked(vectors), payload_bytes=9)


@pytest.mark.parametrize(
    ("request_text", "message"),
    [
        ("auto: bytes<=1 per fact", r"no index holds 400 facts in 400 bytes; the smallest is .* a fact\)"),
        (
            "auto: bytes<=4 per fact, recall>=0.999",
            r"no index within these limits reaches recall 0.999; the nearest is",
        ),
        ("auto: ms<=0.000001", "no index answers within 1e-06 ms here; the fastest is"),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_nearest_that_can(request_text: str, message: str) -> None:
    vectors = unit(400)
    with pytest.raises(Refused, match=message):
        plan(parse_request(request_text), vectors, asked(vectors), payload_bytes=0)
