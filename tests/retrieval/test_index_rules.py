"""What an index may be, and what it weighs, refuses and keeps: on both sides of every limit."""

import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from retrieval.errors import Refused, UserError
from retrieval.faiss_factory import empty_index, innermost, one_thread, read_index, reason, set_search_parameters
from retrieval.index_bytes import CodeBytes, code_bytes, index_bytes
from retrieval.lexical_index import LexicalIndex, LexicalSpec
from retrieval.plan_request import PlanRequest, is_request, parse_request
from retrieval.sharded_build import bounds_of_shards, can_merge
from retrieval.vector_index import IndexSpec, VectorIndex
from retrieval.whole_numbers import whole_numbers

DIM = 12


def unit(num: int, seed: int = 0, dim: int = DIM) -> ndarray:
    vectors_ND = np.random.default_rng(seed).standard_normal((num, dim)).astype(np.float32)
    return np.asarray(vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True), dtype=np.float32)


def refused(**fields: object) -> str:
    with pytest.raises(UserError) as caught:
        IndexSpec(**fields)  # type: ignore[arg-type]
    return str(caught.value)


# ---- settings ------------------------------------------------------------------------------------------------------


def test_dials_of_an_index_are_kept_to_what_they_turn() -> None:
    for fields in (
        {"factory": "IVF7,Flat", "nprobe": 7},
        {"factory": "IVF1k,Flat", "nprobe": 1024},
        {"factory": "IVF1M,Flat", "nprobe": 2**20},
        {"factory": "IMI2x4,Flat", "nprobe": 9},
        {"factory": "IVF7_HNSW32,Flat", "nprobe": 1, "ef_search": 1},
        {"rotate_to": 1, "rotation_seed": 3},
    ):
        assert IndexSpec(**fields).factory == fields.get("factory", "Flat")  # type: ignore[arg-type]
    assert refused(factory="IVF7,Flat", nprobe=8) == "nprobe of index 'IVF7,Flat' is 8, more than its 7 lists"
    assert refused(factory="IVF1k,Flat", nprobe=1025).endswith("is 1025, more than its 1024 lists")
    assert refused(factory="IVF1M,Flat", nprobe=2**20 + 1).endswith(f"more than its {2**20} lists")
    for name in ("rotate_to", "nprobe", "ef_search"):
        assert refused(factory="IVF7_HNSW32,Flat", **{name: 0}) == (
            f"{name} of index 'IVF7_HNSW32,Flat' must be 1 or more, not 0"
        )
    assert refused(nprobe=1) == "nprobe has no effect on index 'Flat', which has no inverted lists; leave it out"
    assert refused(ef_search=1) == "ef_search has no effect on index 'Flat', which has no graph; leave it out"
    assert refused(rotation_seed=1) == "rotation_seed has no effect on index 'Flat' without rotate_to; leave it out"


def test_search_dials_reach_faiss_behind_any_transform() -> None:
    lists = VectorIndex(IndexSpec(factory="PCA8,IVF7,Flat", nprobe=5), DIM)
    assert lists._inner.nprobe == 5 and innermost(lists._index) is not lists._index
    assert VectorIndex(IndexSpec(factory="HNSW8", ef_search=33), DIM)._inner.hnsw.efSearch == 33
    for factory, name in (("Flat", "nprobe"), ("SQ8", "ef_search")):
        with pytest.raises(UserError, match=f"^{name} has no effect on a Index(Flat|ScalarQuantizer); leave it out$"):
            set_search_parameters(empty_index(factory, DIM), **{name: 3})
    set_search_parameters(empty_index("Flat", DIM), nprobe=None, ef_search=None)


def test_faiss_is_quoted_without_its_places() -> None:
    assert reason(RuntimeError("Error in void f() at /x/y.cpp:12: Error: 'n > 3' failed: too few\nof them")) == (
        "too few\nof them"
    )
    assert reason(RuntimeError("at /x/y.cpp:12: all wrong")) == "all wrong"
    assert reason(RuntimeError("plain")) == "plain"
    for factory, number in (("HNSW1", "HNSW1"), ("PQ0np", "Q0"), ("LSH00", "H00"), ("IVF0,Flat", "F0")):
        with pytest.raises(UserError) as caught:
            empty_index(factory, DIM)
        assert str(caught.value) == (
            f"index {factory!r}: {number} is too small a number; right ones are Flat, SQ8, RaBitQ, LSH, "
            f"PQ{DIM // 8}np, HNSW32 or IVF64,Flat"
        )
    assert empty_index("HNSW10", DIM).hnsw.nb_neighbors(1) == 10, "a number that begins so is none of those"
    with pytest.raises(UserError, match=r"^index 'Fla' over 12 dimensions: .*; right ones are Flat, SQ8"):
        empty_index("Fla", DIM)
    for damaged in (b"", b"\x00" * 30, b"IxFI"):
        with pytest.raises(UserError, match=r"^the stored index cannot be read: .*; build the store again$"):
            read_index(damaged)


def test_metrics_training_points_and_threads() -> None:
    from retrieval._faiss import faiss

    for factory, metric in (
        ("Flat", faiss.METRIC_INNER_PRODUCT),
        ("IVF4,Flat", faiss.METRIC_INNER_PRODUCT),
        ("LSH", faiss.METRIC_L2),
        ("RR16,LSH24rt", faiss.METRIC_L2),
    ):
        assert empty_index(factory, DIM).metric_type == metric
    assert empty_index("IVF4,PQ4np", DIM).cp.min_points_per_centroid == 1
    assert innermost(empty_index("PCA8,IVF4,PQ4np", DIM)).pq.cp.min_points_per_centroid == 1
    assert empty_index("PQ4np", DIM).pq.cp.min_points_per_centroid == 1
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(3)
        with one_thread():
            assert faiss.omp_get_max_threads() == 1
        assert faiss.omp_get_max_threads() == 3
        with pytest.raises(RuntimeError), one_thread():
            raise RuntimeError
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)
    limits = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()
    index = VectorIndex(IndexSpec(), DIM)
    index.add(unit(5))
    read_index(index.serialized())
    assert (faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()) == limits


# ---- vectors -------------------------------------------------------------------------------------------------------


def test_norms_are_one_within_a_thousandth() -> None:
    index = VectorIndex(IndexSpec(), DIM)
    for scale in (1.00099, 0.99901):
        index.check_storable(np.float32(scale) * unit(3))
    vectors_ND = unit(4)
    vectors_ND[1] *= np.float32(1.0012)
    vectors_ND[2] *= np.float32(0.998)
    texts = ["a", "b", "c" * 70, "d"]
    for given, named in ((None, ""), (texts, f" (of '{'c' * 60}')")):
        with pytest.raises(UserError) as caught:
            index.check_storable(vectors_ND, given)
        assert str(caught.value) == f"vector 2{named} has norm 0.9980; normalise to 1", "the furthest off is named"
    vectors_ND[3] = 0
    with pytest.raises(
        UserError, match=r"^vector 3 \(of 'd'\) is zero: its encoder finds nothing in it; leave it out$"
    ):
        index.check_storable(vectors_ND, texts)
    vectors_ND[0, 5] = np.inf
    with pytest.raises(UserError, match=r"^vector 0 \(of 'a'\) holds NaN or infinity$"):
        index.check_storable(vectors_ND, texts)


def test_a_rotation_turns_normalises_and_searches_like_the_turned_vectors() -> None:
    from retrieval.random_rotation import random_rotation

    vectors_ND, queries_QD = unit(50), unit(7, seed=1)
    for to in (5, 12, 20):
        index = VectorIndex(IndexSpec(rotate_to=to, rotation_seed=8), DIM)
        index.add(vectors_ND)
        rotation_DE = random_rotation(DIM, to, 8)
        turned_NE, asked_QE = vectors_ND @ rotation_DE, queries_QD @ rotation_DE
        turned_NE = turned_NE / np.linalg.norm(turned_NE, axis=1, keepdims=True)
        asked_QE = asked_QE / np.linalg.norm(asked_QE, axis=1, keepdims=True)
        products_QN = asked_QE @ turned_NE.T
        positions_QK, similarities_QK = index.search(queries_QD, 6)
        np.testing.assert_array_equal(positions_QK, np.argsort(-products_QN, axis=1)[:, :6])
        np.testing.assert_allclose(similarities_QK, -np.sort(-products_QN, axis=1)[:, :6], atol=1e-6)
        assert index.seeded_bytes == 8 * DIM * to and not rotation_DE.flags.writeable
        with pytest.raises(NotImplementedError, match=f"index rot{to}-Flat keeps rotated vectors"):
            index.reconstruct(np.array([1]))
    zero = VectorIndex(IndexSpec(rotate_to=4), DIM)
    assert zero._rotated(np.zeros((1, DIM), dtype=np.float32)).tolist() == [[0, 0, 0, 0]], "no direction, and no NaN"


def test_an_emptied_index_codes_as_the_one_it_came_from() -> None:
    for factory in ("SQ8", "PQ4x4np", "IVF4,SQ8", "Flat", "PCA6,SQ8"):
        index = VectorIndex(IndexSpec(factory=factory), DIM)
        index.add(unit(300))
        empty = index.emptied()
        assert (empty.num_vectors, empty.spec, empty.dim) == (0, index.spec, DIM)
        empty.add(unit(300))
        assert empty.storage() == index.storage(), "nothing is trained again"
        other = index.emptied()
        other.add(unit(300, seed=5))
        alone = VectorIndex(IndexSpec(factory=factory), DIM)
        alone.add(unit(300, seed=5))
        assert (other.storage() == alone.storage()) is (factory == "Flat")
    trained = VectorIndex(IndexSpec(factory="SQ8"), DIM)
    trained.train(unit(300))
    trained.add(unit(40, seed=5))
    once = VectorIndex(IndexSpec(factory="SQ8"), DIM)
    once.add(unit(300))
    later = once.emptied()
    later.add(unit(40, seed=5))
    assert trained.storage() == later.storage()


def test_what_was_stored_is_checked_as_it_is_read() -> None:
    index = VectorIndex(IndexSpec(factory="SQ8"), DIM)
    index.add(unit(9), np.array([0, 0, 2, 2, 2, 3, 3, 3, 3]))
    data = index.storage()
    groups_N = np.array([0, 0, 2, 2, 2, 3, 3, 3, 3])
    again = VectorIndex.from_storage(index.spec, DIM, data, 9, groups_N)
    for group, members in ((0, {0, 1}), (1, set()), (2, {2, 3, 4}), (3, {5, 6, 7, 8}), (4, set())):
        for one in (index, again):
            positions = one.search(unit(1, seed=3), 9, group)[0][0].tolist()
            assert set(positions) - {-1} == members and positions[: len(members)] == [p for p in positions if p >= 0]
    for spec, dim, message in (
        (IndexSpec(), DIM, "the stored index is a IndexScalarQuantizer over 12 dimensions, not Flat over 12"),
        (
            IndexSpec(factory="SQ8"),
            13,
            "the stored index is a IndexScalarQuantizer over 12 dimensions, not SQ8 over 13",
        ),
        (IndexSpec(factory="SQ8", rotate_to=7), DIM, "a IndexScalarQuantizer over 12 dimensions, not rot7-SQ8 over 7"),
    ):
        with pytest.raises(UserError, match=f"{message}; build the store again$"):
            VectorIndex.from_storage(spec, dim, data, 9)
    with pytest.raises(UserError, match="^the stored index holds 9 vectors, not 8; build the store again$"):
        VectorIndex.from_storage(index.spec, DIM, data, 8, groups_N[:8])
    with pytest.raises(Refused, match="^index IVF9,Flat cannot be built from 4 vectors: "):
        VectorIndex(IndexSpec(factory="IVF9,Flat"), DIM).add(unit(4))
    assert (index.metric, VectorIndex(IndexSpec(factory="RR8,LSH"), DIM).metric) == ("inner product", "hamming")


def test_shards_are_even_and_codes_alone_are_merged() -> None:
    assert bounds_of_shards(10, 4) == [(0, 2), (2, 5), (5, 7), (7, 10)]
    assert bounds_of_shards(2, 5) == [(0, 1), (1, 2)] and bounds_of_shards(3, 1) == [(0, 3)]
    for factory, merges in (
        ("Flat", True),
        ("IVF4,Flat", True),
        ("PQ4x4fs", True),
        ("HNSW8", False),
        ("RR8,SQ8", True),
        ("SQ8,RFlat", False),
    ):
        assert can_merge(empty_index(factory, DIM)) is VectorIndex(IndexSpec(factory=factory), DIM).merges is merges


def test_whole_numbers_are_kept_to_the_last_one() -> None:
    for given in (
        np.array([], dtype=np.float64),
        np.array([3, -4], dtype=np.int8),
        np.array([2**63 - 1], dtype=np.uint64),
    ):
        found_N = whole_numbers(given, "ids")
        assert found_N.dtype == np.int64 and found_N.tolist() == given.tolist()
    for given, message in (
        (np.array(5), "ids have shape (); give one in a row for each chunk"),
        (np.array([1.0]), "ids are float64; give whole numbers, such as int64"),
        (np.array([2**63], dtype=np.uint64), f"ids go to {2**63}; the largest is {2**63 - 1}"),
    ):
        with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
            whole_numbers(given, "ids")


# ---- bytes by formula ----------------------------------------------------------------------------------------------


def test_bytes_of_codes_by_hand() -> None:
    for codec, expected in (
        ("Flat", CodeBytes(once=45, once_in_lists=0, a_vector=40)),
        ("SQ8", CodeBytes(once=161, once_in_lists=125, a_vector=10)),
        ("SQ6", CodeBytes(once=161, once_in_lists=125, a_vector=8)),
        ("SQ4", CodeBytes(once=161, once_in_lists=125, a_vector=5)),
        ("SQfp16", CodeBytes(once=81, once_in_lists=45, a_vector=20)),
        ("PQ5np", CodeBytes(once=86 + 10240, once_in_lists=41 + 10240, a_vector=5, packed_bits=40)),
        ("PQ10np", CodeBytes(once=86 + 10240, once_in_lists=41 + 10240, a_vector=10)),
        ("PQ5x6", CodeBytes(once=86 + 2560, once_in_lists=41 + 2560, a_vector=4, packed_bits=30)),
        ("PQ5x4fs", CodeBytes(once=105 + 640, once_in_lists=61 + 640, a_vector=3, block=32)),
        ("LSH", CodeBytes(once=93, once_in_lists=93, a_vector=2, packed_bits=10, is_trained=False)),
        ("LSH33rt", CodeBytes(once=93 + 40 * 33 + 132, once_in_lists=93 + 40 * 33 + 132, a_vector=5, packed_bits=33)),
        ("RaBitQ", CodeBytes(once=114, once_in_lists=30, a_vector=10)),
        ("RaBitQ1", CodeBytes(once=114, once_in_lists=30, a_vector=10)),
        ("RaBitQ3", CodeBytes(once=122, once_in_lists=38, a_vector=2 + 12 + 3 + 8)),
    ):
        assert code_bytes(codec, 10) == expected, codec
    # 2 M links on the lowest level and M / (M - 1) above, four bytes each, and 12 bytes of offsets, rounded once.
    assert index_bytes("HNSW5,SQ8", 10, 77) == 265 + round(77 * (40 + 12 + 20 / 4)) + 161 + 770
    assert index_bytes("HNSW5", 10, 77) == 265 + round(77 * (40 + 12 + 20 / 4)) + 45 + 3080
    assert index_bytes("IVF6,PQ5x4fs", 10, 0) == 45 + 240 + 94 + 48 + 61 + 640
    assert index_bytes("IVF6,PQ5x4fs", 10, 100) == 45 + 240 + 94 + 48 + 61 + 640 + round(3 * (100 + 6 * 31 / 2) + 800)
    assert index_bytes("PQ5x4fs", 10, 33) == 105 + 640 + 3 * 64 and index_bytes("PQ5x4fs", 10, 32) == 105 + 640 + 3 * 32
    # Packed to the bit, beside what was trained; a code that refines another, or lies in lists, has whole bytes.
    assert index_bytes("LSH", 10, 33) == 42 and index_bytes("L2norm,LSH", 10, 33) == 41 + 17 + 93 + 42
    assert index_bytes("LSHt", 10, 33) == 93 + 40 + 42 and index_bytes("PQ5x6", 10, 33) == 86 + 2560 + 124
    assert index_bytes("Flat,Refine(PQ5x6)", 10, 33) == 45 + 1320 + 41 + 86 + 2560 + 132
    assert index_bytes("IVF6,PQ5x6", 10, 33) == 45 + 240 + 94 + 48 + 41 + 2560 + 33 * 12
    for factory in ("Pad16,Flat", "IVF6,Nothing", "PQ5x4fsr", "LSHr3"):
        with pytest.raises(ValueError, match="^no formula for the bytes of (Pad16|Nothing|PQ5x4fsr|LSHr3)$"):
            index_bytes(factory, 10, 5)


# ---- requests ------------------------------------------------------------------------------------------------------


def test_limits_are_read_with_their_bounds() -> None:
    assert parse_request(" auto: recall>=1, bytes <= 1_000 per fact,ms<=.5 ") == PlanRequest(
        max_bytes=1000.0, per_fact=True, min_recall=1.0, max_ms=0.5
    )
    assert parse_request("AUTO:ms<=2e3") == PlanRequest(max_ms=2000.0)
    assert PlanRequest(max_bytes=8.0, per_fact=True).bytes_for(7) == 56
    assert PlanRequest(max_bytes=8.0).bytes_for(7) == 8 and PlanRequest(max_ms=1.0).bytes_for(7) is None
    assert is_request("  Auto: x") and not is_request("xauto:")
    example = "; write 'auto: bytes<=64 per fact, recall>=0.95, ms<=2', or one of these"
    for index, message in (
        ("auto: recall>=1.01", "recall must be more than 0 and at most 1, not 1.01"),
        ("auto: recall>=0", "recall must be more than 0 and at most 1, not 0"),
        ("auto: ms<=0", "ms must be more than 0, not 0"),
        ("auto: ms<=1e999", "ms must be more than 0, not 1e999"),
        ("auto: ms<=1, ms<=1", "ms is limited twice"),
        ("auto: ms<=1 per fact", f"'ms<=1 per fact' is no limit{example}"),
        ("auto: recall<=1", f"'recall<=1' is no limit{example}"),
        ("auto: ms>=1", f"'ms>=1' is no limit{example}"),
        ("auto: ms<=1.2.3", f"'ms<=1.2.3' is no limit{example}"),
        ("auto: ms<=1,", f"'' is no limit{example}"),
    ):
        with pytest.raises(UserError) as caught:
            parse_request(index)
        assert str(caught.value) == f"index {index!r}: {message}"


# ---- words ---------------------------------------------------------------------------------------------------------


def test_a_lexical_index_is_written_out() -> None:
    spec = LexicalSpec(method="robertson", k1=1.2, b=0.3)
    texts = ["red cat", "red dog red", "blue bird in a tree"]
    index = LexicalIndex.build(texts, spec)
    with np.load(io.BytesIO(index.storage())) as stored:
        words = stored["words"].tobytes().decode().split("\n")
        assert sorted(filter(None, words)) == ["a", "bird", "blue", "cat", "dog", "in", "red", "tree"]
        assert json.loads(stored["spec"].tobytes()) == {"method": "robertson", "k1": 1.2, "b": 0.3, "num_texts": 3}
        assert [stored[name].dtype for name in ("data", "indices", "starts")] == [np.float32, np.uint32, np.uint32]
        at = int(stored["starts"][words.index("red")]), int(stored["starts"][words.index("red") + 1])
        assert stored["indices"][slice(*at)].tolist() == [0, 1]
    scores = index._bm25.scores
    assert index.resident_bytes == sum(scores[name].nbytes for name in ("data", "indices", "indptr"))
    again = LexicalIndex.from_storage(index.storage())
    assert (again.spec, again.num_texts) == (spec, 3)
    # Robertson's idf of a word in one of three texts is log(2.5 / 1.5).
    mean = 10 / 3
    expected = math.log(2.5 / 1.5) * 1 / (1 + 1.2 * (0.7 + 0.3 * 5 / mean))
    for one in (index, again):
        positions_QK, scores_QK = one.search(["a BIRD", "nothing", "tree"], 2)
        assert positions_QK.tolist() == [[2, -1], [-1, -1], [2, -1]]
        assert scores_QK[2, 0] == pytest.approx(scores_QK[0, 0] / 2) and scores_QK[:, 1].tolist() == [0, 0, 0]
        assert scores_QK[2, 0] == pytest.approx(expected, rel=1e-5)
        assert one.search(["cat tree"], 2, range(1, 3))[0].tolist() == [[2, -1]]
        assert one.search(["cat tree"], 3, range(0, 2))[0].tolist() == [[0, -1, -1]]
    with pytest.raises(Refused) as caught:
        LexicalIndex.build([f"{'?' * 50}", "!"], spec)
    assert str(caught.value) == f"none of the 2 texts has a word (the first is {'?' * 40!r}); BM25 needs some"


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_stored_lexical_index_is_never_unpickled(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.savez(file, spec=np.array([Touch(tmp_path / "here")], dtype=object))
    with pytest.raises(UserError, match="the stored lexical index cannot be read"):
        LexicalIndex.from_storage(file.getvalue())
    assert list(tmp_path.iterdir()) == []


def test_dials_of_words_have_bounds_and_a_label() -> None:
    for fields, label in (
        ({"k1": 0.0, "b": 0.0}, "bm25-k0-b0"),
        ({"b": 1.0}, "bm25-b1"),
        ({"k1": 2.5}, "bm25-k2.5"),
        ({"method": "robertson"}, "bm25-robertson"),
    ):
        assert LexicalSpec(**fields).label == label  # type: ignore[arg-type]
    for fields in ({"k1": -0.1}, {"b": -0.1}, {"b": 1.1}):
        spec = {"k1": 1.5, "b": 0.75} | fields
        with pytest.raises(UserError) as caught:
            replace(LexicalSpec(), **fields)
        assert str(caught.value) == (
            f"BM25 takes k1 of 0 or more and b between 0 and 1, not {spec['k1']:g} and {spec['b']:g}"
        )
