import re
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray

from retrieval.errors import Refused, UserError
from retrieval.random_rotation import random_rotation, random_waves, rotated
from retrieval.self_test import self_test
from retrieval.vector_index import IndexSpec, VectorIndex

DIM = 96


def unit(num: int, dim: int = DIM, seed: int = 0) -> ndarray:
    vectors = np.random.default_rng(seed).standard_normal((num, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def exact_unit(num: int, seed: int, dim: int = 8) -> ndarray:
    """Four entries of 1/2 or -1/2: of norm 1, full of ties, and every inner product exact in any order of summation."""
    rng = np.random.default_rng(seed)
    vectors = np.zeros((num, dim), dtype=np.float32)
    for row in vectors:
        row[rng.choice(dim, 4, replace=False)] = rng.choice([-0.5, 0.5], 4)
    return vectors


def built(factory: str, vectors: ndarray, groups: ndarray | None = None, **fields: int) -> VectorIndex:
    index = VectorIndex(IndexSpec(factory=factory, **fields), vectors.shape[1])
    index.add(vectors, groups)
    return index


def brute_force(similarities_QN: ndarray, allowed_N: ndarray, k: int) -> tuple[ndarray, ndarray]:
    positions = np.full((len(similarities_QN), k), -1)
    similarities = np.full((len(similarities_QN), k), -np.inf, dtype=np.float32)
    for row, of_query in enumerate(similarities_QN):
        ranked = sorted(np.flatnonzero(allowed_N), key=lambda position: (-of_query[position], position))[:k]
        positions[row, : len(ranked)] = ranked
        similarities[row, : len(ranked)] = of_query[ranked]
    return positions, similarities


def oracle(factory: str, queries: ndarray, vectors: ndarray) -> ndarray:
    if factory != "LSH":
        return queries @ vectors.T
    return np.array([[1 - 2 * np.mean((q >= 0) != (v >= 0)) for v in vectors] for q in queries], dtype=np.float32)


@settings(max_examples=60)
@given(
    factory=st.sampled_from(["Flat", "LSH"]),
    num_groups=st.integers(1, 4),
    num=st.integers(1, 60),
    num_queries=st.integers(0, 30),
    k=st.integers(0, 70),
    seed=st.integers(0, 1000),
)
def test_every_group_and_all_of_them_are_searched_like_brute_force(
    factory: str, num_groups: int, num: int, num_queries: int, k: int, seed: int
) -> None:
    vectors, queries = exact_unit(num, seed), exact_unit(num_queries, seed + 1)
    groups = np.sort(np.random.default_rng(seed).integers(0, num_groups, num))
    index = built(factory, vectors, groups)
    similarities = oracle(factory, queries, vectors).reshape(num_queries, num)
    for group in [None, *range(num_groups)]:
        found = index.search(queries, k, group)
        allowed = np.ones(num, dtype=bool) if group is None else groups == group
        expected = brute_force(similarities, allowed, k)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("num_queries", [1, 19, 20, 300])
def test_flat_is_brute_force_on_real_numbers(num_queries: int) -> None:
    vectors, queries = unit(1000), unit(num_queries, seed=1)
    positions, similarities = built("Flat", vectors).search(queries, 10)
    expected = brute_force(queries @ vectors.T, np.ones(1000, dtype=bool), 10)
    np.testing.assert_array_equal(positions, expected[0])
    np.testing.assert_allclose(similarities, expected[1], atol=1e-6)


# Recall@1 of stored vectors asked with noise of a tenth of their length; measured 1.000 but where a bound is lower.
APPROXIMATE = {
    IndexSpec(factory="SQ8"): 0.99,
    IndexSpec(factory="SQ4"): 0.99,
    IndexSpec(factory="PQ48np"): 0.99,
    IndexSpec(factory="PQ48x4fs"): 0.99,
    IndexSpec(factory="RaBitQ"): 0.99,
    IndexSpec(factory="RaBitQfs"): 0.99,
    IndexSpec(factory="LSH"): 0.99,
    IndexSpec(factory="IVF64,Flat"): 0.8,
    IndexSpec(factory="IVF64,Flat", nprobe=64): 1.0,
    IndexSpec(factory="IVF16,PQ48x4fs,RFlat"): 0.8,
    IndexSpec(factory="HNSW32"): 0.95,
    IndexSpec(factory="HNSW32", ef_search=64): 0.99,
    IndexSpec(factory="PCA64,SQ8"): 0.99,
    IndexSpec(factory="LSH", rotate_to=64): 0.9,
    IndexSpec(factory="RaBitQ", rotate_to=32): 0.9,
}


@pytest.fixture(scope="module")
def approximate() -> dict[IndexSpec, VectorIndex]:
    """All of them over the same 1,024 vectors in four groups of 256."""
    indexes = {spec: VectorIndex(spec, DIM) for spec in APPROXIMATE}
    for index in indexes.values():
        index.add(unit(1024), np.repeat(np.arange(4), 256))
    return indexes


@pytest.mark.parametrize("spec", APPROXIMATE, ids=lambda spec: spec.label)
def test_approximate_indexes_find_what_they_stored(approximate: dict[IndexSpec, VectorIndex], spec: IndexSpec) -> None:
    index = approximate[spec]
    queries = unit(1024) + 0.1 * unit(1024, seed=1)
    positions, similarities = index.search(queries, 5)
    assert np.mean(positions[:, 0] == np.arange(1024)) >= APPROXIMATE[spec]
    assert (similarities[:, 1:] <= similarities[:, :-1]).all()
    assert ((positions == -1) == (similarities == -np.inf)).all()
    within, _ = index.search(queries[512:768], 5, group=2)
    assert ((within == -1) | ((within >= 512) & (within < 768))).all()
    assert np.mean(within[:, 0] == np.arange(512, 768)) >= APPROXIMATE[spec]
    assert (index.search(queries[:3], 2, group=9)[0] == -1).all()


@pytest.mark.parametrize("spec", APPROXIMATE, ids=lambda spec: spec.label)
def test_every_vector_is_an_answer_where_as_many_are_asked_for(
    approximate: dict[IndexSpec, VectorIndex], spec: IndexSpec
) -> None:
    """However few lists or nodes a search looks into: -1 stands where there are no more, and nowhere else."""
    queries = unit(3, seed=2)
    positions, similarities = approximate[spec].search(queries, 1030)
    np.testing.assert_array_equal(np.sort(positions[:, :1024], axis=1), np.tile(np.arange(1024), (3, 1)))
    assert (positions[:, 1024:] == -1).all() and (similarities[:, 1:] <= similarities[:, :-1]).all()
    within, _ = approximate[spec].search(queries, 256, group=2)
    np.testing.assert_array_equal(np.sort(within, axis=1), np.tile(np.arange(512, 768), (3, 1)))


@pytest.mark.parametrize("spec", APPROXIMATE, ids=lambda spec: spec.label)
def test_stored_and_loaded_indexes_answer_alike(approximate: dict[IndexSpec, VectorIndex], spec: IndexSpec) -> None:
    index, queries = approximate[spec], unit(40, seed=1)
    loaded = VectorIndex.from_storage(spec, DIM, index.storage(), 1024, np.repeat(np.arange(4), 256))
    assert loaded.storage() == index.storage()
    for group in (None, 3):
        for found, expected in zip(loaded.search(queries, 7, group), index.search(queries, 7, group), strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("spec", "bytes_a_vector"),
    [
        (IndexSpec(factory="Flat"), 4 * DIM),
        (IndexSpec(factory="SQ8"), DIM),
        (IndexSpec(factory="SQ4"), DIM / 2),
        (IndexSpec(factory="PQ48x4fs"), 24),
        (IndexSpec(factory="RaBitQ"), DIM / 8 + 8),
        (IndexSpec(factory="LSH"), DIM / 8),
        (IndexSpec(factory="IVF16,Flat"), 4 * DIM + 8),
        (IndexSpec(factory="HNSW32"), 4 * DIM + 8 * 32 + 12 + 4 * 32 / 31),
        (IndexSpec(factory="PCA64,SQ8"), 64),
        (IndexSpec(factory="PQ16np"), 16),
        (IndexSpec(factory="LSH", rotate_to=64), 8),
        (IndexSpec(factory="RaBitQ", rotate_to=32), 4 + 8),
    ],
    ids=lambda value: value.label if isinstance(value, IndexSpec) else None,
)
def test_a_vector_weighs_what_the_formula_says(spec: IndexSpec, bytes_a_vector: float) -> None:
    sizes = []
    for num in (512, 1024):
        index = VectorIndex(spec, DIM)
        index.add(unit(num))
        sizes.append(index.storage_bytes)
    assert (sizes[1] - sizes[0]) / 512 == pytest.approx(bytes_a_vector, abs=2.5 if "HNSW" in spec.factory else 0.02)


@pytest.mark.parametrize(("dim", "to"), [(16, 5), (16, 16), (5, 16)])
def test_a_rotation_is_the_orthonormal_part_of_gaussian_columns_with_positive_lengths(dim: int, to: int) -> None:
    """By Gram and Schmidt, one column after the other: of the two signs QR may choose, only this one is Haar."""
    rotation = random_rotation(dim, to, 7)
    expected: list[ndarray] = []
    for column in np.random.default_rng(7).standard_normal((max(dim, to), min(dim, to))).T:
        rest = column - sum(((column @ one) * one for one in expected), start=np.zeros(len(column)))
        expected.append(rest / np.linalg.norm(rest))
    np.testing.assert_allclose(rotation if to <= dim else rotation.T, np.transpose(expected), atol=1e-12)


def test_rotation_is_orthonormal_seeded_and_free() -> None:
    vectors, queries = unit(300, 16), unit(50, 16, seed=1)
    plain = built("Flat", vectors)
    for rotate_to in (16, 64):  # nothing is lost, so nothing may change
        rotated = built("Flat", vectors, rotate_to=rotate_to)
        np.testing.assert_array_equal(rotated.search(queries, 5)[0], plain.search(queries, 5)[0])
        np.testing.assert_allclose(rotated.search(queries, 5)[1], plain.search(queries, 5)[1], atol=1e-6)
        assert rotated.seeded_bytes == 8 * 16 * rotate_to
        assert rotated.storage() == built("Flat", vectors, rotate_to=rotate_to).storage()
        assert rotated.storage() != built("Flat", vectors, rotate_to=rotate_to, rotation_seed=1).storage()
    assert plain.seeded_bytes == 0
    short, _ = built("Flat", vectors, rotate_to=4).search(vectors, 1)
    np.testing.assert_array_equal(short[:, 0], np.arange(300))
    assert IndexSpec(factory="LSH", rotate_to=64).label == "rot64-LSH"
    assert IndexSpec(factory="PQ8np").label == "PQ8np"


def test_waves_are_the_cosines_of_seeded_products() -> None:
    """The signs by the formula, one wave after the other; wide waves tell near vectors apart in half of their bits."""
    vectors = unit(300, 16)
    waves_DE, phases_E = random_waves(16, 200, 5.0, 3)
    bits = np.array([[np.cos(vector @ w + b) > 0 for w, b in zip(waves_DE.T, phases_E, strict=True)]
                     for vector in vectors.astype(np.float64)])  # fmt: skip
    index = built("LSH", vectors, rotate_to=200, rotation_seed=3, bandwidth=5.0)
    apart = (bits[:, None] != bits).sum(axis=2)
    positions, similarities = index.search(vectors, 3)
    np.testing.assert_array_equal(positions[:, 0], np.arange(300))
    found = np.take_along_axis(apart, positions, axis=1)
    np.testing.assert_allclose(similarities, 1 - 2 * found / 200, atol=1e-6)
    np.testing.assert_array_equal(np.sort(apart, axis=1)[:, :3], found)
    # Frequencies and phases have the moments that Rahimi and Recht ask for, and their seed's own draw.
    assert np.std(waves_DE) == pytest.approx(5.0, rel=0.03) and phases_E.min() >= 0 and phases_E.max() < 2 * np.pi
    assert not np.array_equal(waves_DE, random_waves(16, 200, 5.0, 4)[0])
    near = unit(300, 16) + np.float32(0.05) * unit(300, 16, seed=9)
    near /= np.linalg.norm(near, axis=1, keepdims=True)

    def share_changed(bandwidth: float) -> float:
        signs = [rotated(of, *random_waves(16, 200, bandwidth, 3)) > 0 for of in (vectors, near)]
        return float((signs[0] != signs[1]).mean())

    # A phase that moves by D ~ N(0, (bandwidth r)^2) changes the sign with chance |D| / pi while it is small.
    for bandwidth in (1.0, 5.0):
        expected = bandwidth * 0.05 * np.sqrt(2 / np.pi) / np.pi
        assert share_changed(bandwidth) == pytest.approx(expected, rel=0.05)
    assert share_changed(300.0) == pytest.approx(0.5, abs=0.02)
    assert index.seeded_bytes == 8 * (16 * 200 + 200)
    assert IndexSpec(factory="LSH", rotate_to=18, bandwidth=4.0).label == "waves18x4-LSH"
    with pytest.raises(NotImplementedError, match="keeps rotated vectors"):
        index.reconstruct(np.arange(2))


def test_answers_do_not_depend_on_how_queries_are_grouped() -> None:
    vectors, queries = unit(500), unit(100, seed=1)
    for spec in (
        IndexSpec(),
        IndexSpec(factory="LSH", rotate_to=32),
        IndexSpec(factory="LSH", rotate_to=32, bandwidth=3.0),
    ):
        index = VectorIndex(spec, DIM)
        index.add(vectors)
        positions, similarities = index.search(queries, 10)
        for row in range(100):
            alone = index.search(queries[row : row + 1], 10)
            np.testing.assert_array_equal(alone[0][0], positions[row])
            np.testing.assert_allclose(alone[1][0], similarities[row], atol=1e-6)


@pytest.mark.parametrize("factory", ["SQ8", "PQ16np", "IVF16,Flat", "HNSW16", "RaBitQ", "RQ2x4"])
def test_the_same_vectors_make_the_same_bytes_whatever_the_threads(factory: str) -> None:
    from retrieval._faiss import faiss

    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(1)
        expected = built(factory, unit(600)).storage()
        faiss.omp_set_num_threads(4)
        assert built(factory, unit(600)).storage() == expected
        assert faiss.omp_get_max_threads() == 4  # given back after building
    finally:
        faiss.omp_set_num_threads(before)


@pytest.mark.parametrize("factory", ["Fla", "", "((", "PQ7", "IVF99999999999,Flat", "LSH0", "HNSW1", "RR0,LSH"])
def test_an_unknown_factory_string_is_one_line_with_right_ones(factory: str) -> None:
    with pytest.raises(UserError, match="right ones are Flat, SQ8") as caught:
        VectorIndex(IndexSpec(factory=factory), DIM)
    assert f"index {factory!r}" in str(caught.value)
    assert ".cpp" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"factory": "SQ8_direct_signed"}, "makes unit vectors 0; write SQ8"),
        ({"factory": "IDMap,Flat"}, "leave IDMap out"),
        ({"nprobe": 4}, "nprobe has no effect on index 'Flat', which has no inverted lists; leave it out"),
        ({"factory": "IVF4,Flat", "ef_search": 4}, "ef_search has no effect on index 'IVF4,Flat', which has no graph"),
        ({"factory": "PCA8,IVF4,Flat", "nprobe": 5}, "nprobe of index 'PCA8,IVF4,Flat' is 5, more than its 4 lists"),
        ({"factory": "IVF1k,Flat", "nprobe": 1025}, "is 1025, more than its 1024 lists"),
        ({"rotation_seed": 3}, "rotation_seed has no effect on index 'Flat' without rotate_to; leave it out"),
        ({"rotate_to": 0}, "rotate_to of index 'Flat' must be 1 or more"),
        ({"bandwidth": 2.0}, "bandwidth of index 'Flat' must be more than 0, and needs rotate_to, the number of waves"),
        ({"rotate_to": 3, "bandwidth": 0.0}, "bandwidth of index 'Flat' must be more than 0"),
        ({"factory": "IVF4,Flat", "nprobe": -1}, "nprobe of index 'IVF4,Flat' must be 1 or more"),
    ],
)
def test_settings_without_sense_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        VectorIndex(IndexSpec(**fields), DIM)  # type: ignore[arg-type]


def test_what_is_advised_can_be_built() -> None:
    for dim, num_vectors in ((16, 2), (7, 31), (96, 255)):
        vectors_ND = np.random.default_rng(0).standard_normal((num_vectors, dim)).astype(np.float32)
        vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
        with pytest.raises(Refused, match="these do for") as refused:
            built(f"IVF{num_vectors + 1},Flat", vectors_ND)
        lists, code = re.findall(r"IVF\d+(?= or)|PQ\d+x\d+np", str(refused.value))
        for factory in (f"{lists},Flat", code):
            assert built(factory, vectors_ND).num_vectors == num_vectors
    for dim, asked, advised in (
        (16, "PQ7", "PQ8np"),
        (384, "PQ7", "PQ6np"),
        (384, "Nothing", "PQ48np"),
        (7, "PQ3", "PQ1np"),
    ):
        with pytest.raises(UserError, match=f"LSH, {advised}, HNSW32"):
            VectorIndex(IndexSpec(factory=asked), dim)
        VectorIndex(IndexSpec(factory=advised), dim)


@pytest.mark.parametrize(
    ("factory", "num", "message"),
    [
        ("PQ48np", 255, r"index PQ48np cannot be built from 255 vectors: Number of training points \(255\)"),
        ("IVF64,Flat", 20, "cannot be built from 20 vectors: Number of training points"),
        ("PQ48np", 255, r"; these do for IVF255 or codes of 7 bits \(PQ48x7np\), any number for Flat, SQ8 or RaBitQ$"),
        ("PQ48np", 1, r"Number of training points \(1\) should be at least as large as number of clusters \(256\)$"),
        ("PCA64,SQ8", 20, "PCA matrix cannot output 64 dimensions from [0-9]+$"),
    ],
)
def test_too_few_vectors_to_train_on_are_refused_with_the_reason(factory: str, num: int, message: str) -> None:
    with pytest.raises(Refused, match=message):
        built(factory, unit(num))


def test_training_on_few_vectors_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    for factory in ("PQ16np", "PQ16x4fs", "IVF64,Flat", "IVF4,PQ16np", "PCA32,PQ16np"):
        built(factory, unit(260))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (unit(3).astype(np.float64), "vectors are float64; the index takes float32"),
        (unit(3, 5), r"vectors have shape \(3, 5\); the index takes \(any number, 96\)"),
        (unit(3)[0], r"vectors have shape \(96,\)"),
        (np.asfortranarray(unit(3)), "do not lie row after row"),
        (unit(3) * np.array([[1], [np.nan], [1]], dtype=np.float32), "vector 1 holds NaN or infinity"),
        (unit(3) * np.array([[1], [1], [np.inf]], dtype=np.float32), "vector 2 holds NaN or infinity"),
        (unit(3) * np.array([[1], [1.01], [1]], dtype=np.float32), r"vector 1 has norm 1\.0100; normalise"),
        (unit(3) * np.array([[1], [1], [0]], dtype=np.float32), "vector 2 is zero: its encoder finds nothing in it"),
        (unit(0), "there are no vectors"),
    ],
)
def test_what_faiss_would_swallow_is_refused(vectors: ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        VectorIndex(IndexSpec(), DIM).add(vectors)


def test_queries_are_checked_but_need_no_unit_norm() -> None:
    vectors = unit(50)
    index = built("Flat", vectors)
    np.testing.assert_array_equal(index.search(3 * vectors, 1)[0][:, 0], np.arange(50))
    with pytest.raises(UserError, match="queries are float64"):
        index.search(vectors.astype(np.float64), 1)
    with pytest.raises(UserError, match="queries hold NaN"):
        index.search(vectors * np.float32(np.nan), 1)
    with pytest.raises(UserError, match="queries have shape"):
        index.search(unit(2, 8), 1)


def test_misuse_by_the_programmer_is_asserted() -> None:
    index = built("Flat", unit(3))
    with pytest.raises(AssertionError, match="filled once"):
        index.add(unit(3))
    with pytest.raises(AssertionError, match="without groups"):
        index.search(unit(1), 1, group=0)
    with pytest.raises(AssertionError, match="sorted by group"):
        built("Flat", unit(3), np.array([0, 1, 0]))
    with pytest.raises(AssertionError, match="one group a vector"):
        built("Flat", unit(3), np.array([0, 1]))


def test_what_is_no_such_index_is_not_loaded() -> None:
    data = built("SQ8", unit(100)).storage()
    (whole,) = data.values()
    for damaged in (b"", b"x" * 50, whole[:-1], whole[:40], b"IxFI" + b"\xff" * 100):
        with pytest.raises(UserError, match="cannot be read"):
            VectorIndex.from_storage(IndexSpec(factory="SQ8"), DIM, {"index.faiss": damaged}, 100)
    with pytest.raises(UserError, match="is a IndexScalarQuantizer over 96 dimensions, not Flat over 96"):
        VectorIndex.from_storage(IndexSpec(), DIM, data, 100)
    with pytest.raises(UserError, match="not SQ8 over 32"):
        VectorIndex.from_storage(IndexSpec(factory="SQ8"), 32, data, 100)
    with pytest.raises(UserError, match="holds 100 vectors, not 99"):
        VectorIndex.from_storage(IndexSpec(factory="SQ8"), DIM, data, 99)


def test_flat_remembers_its_vectors() -> None:
    vectors = unit(20)
    positions = np.array([3, 3, 19])
    np.testing.assert_array_equal(built("Flat", vectors).reconstruct(positions), vectors[positions])
    assert np.abs(built("SQ8", vectors).reconstruct(positions) - vectors[positions]).max() < 0.01
    for index in (built("IVF4,Flat", vectors), built("Flat", vectors, rotate_to=8)):
        with pytest.raises(NotImplementedError, match="index"):
            index.reconstruct(positions)


@pytest.mark.parametrize("factory", ["Flat", "SQ4", "PQ8np", "LSH", "RaBitQ", "PCA64,SQ8"])
def test_the_share_of_flipped_bits_is_the_rate(factory: str) -> None:
    index = built(factory, unit(1024), np.repeat(np.arange(4), 256))
    before = index.serialized()
    assert index.with_flipped_bits(0.0, np.random.default_rng(0)).serialized() == before
    flipped = index.with_flipped_bits(0.1, np.random.default_rng(0))
    assert index.serialized() == before
    assert len(flipped.serialized()) == len(before)
    difference = np.frombuffer(before, np.uint8) ^ np.frombuffer(flipped.serialized(), np.uint8)
    every = index.with_flipped_bits(1.0, np.random.default_rng(0)).serialized()
    num_bits = int(np.unpackbits(np.frombuffer(before, np.uint8) ^ np.frombuffer(every, np.uint8)).sum())
    assert num_bits >= 1024 * 64  # 8 bytes of PQ8 are the smallest code here
    num_flipped = int(np.unpackbits(difference).sum())
    assert abs(num_flipped - 0.1 * num_bits) < 5 * np.sqrt(0.09 * num_bits)
    positions, similarities = flipped.search(unit(20, seed=1), 300, group=1)
    assert not np.isnan(similarities).any()
    assert ((positions == -1) | ((positions >= 256) & (positions < 512))).all()
    assert all((after <= earlier).all() for earlier, after in pairwise(similarities.T))


@pytest.mark.parametrize("rate", [3e-4, 3e-3])
def test_rare_flips_are_as_many_as_the_rate_says(rate: float) -> None:
    index = built("Flat", unit(2048))
    flipped = index.with_flipped_bits(rate, np.random.default_rng(0))
    before, after = (np.frombuffer(one.serialized(), np.uint8) for one in (index, flipped))
    expected = rate * 2048 * 32 * unit(1).shape[1]
    assert abs(int(np.unpackbits(before ^ after).sum()) - expected) < 5 * np.sqrt(expected)


def test_a_self_test_counts_what_is_found_of_what_was_asked() -> None:
    vectors = unit(150)
    index = built("LSH", vectors, rotate_to=8)
    tested = self_test(vectors, index)
    found = int((index.search(vectors, 1)[0][:, 0] == np.arange(150)).sum())
    assert (tested.sampled, tested.found, tested.recall_at_1) == (150, found, found / 150)
    assert found < 150


def test_all_bits_of_lsh_flipped_turn_similarity_round() -> None:
    vectors, queries = unit(64), unit(10, seed=1)
    index = built("LSH", vectors)
    positions, similarities = index.search(queries, 64)
    turned_positions, turned = index.with_flipped_bits(1.0, np.random.default_rng(0)).search(queries, 64)
    at, turned_at = np.argsort(positions, axis=1), np.argsort(turned_positions, axis=1)
    np.testing.assert_allclose(
        np.take_along_axis(turned, turned_at, axis=1), -np.take_along_axis(similarities, at, axis=1), atol=1e-6
    )


@pytest.mark.parametrize("factory", ["IVF4,Flat", "HNSW8", "PQ16x4fs"])
def test_codes_in_no_flat_array_cannot_be_flipped(factory: str) -> None:
    with pytest.raises(NotImplementedError, match="in no flat array"):
        built(factory, unit(100)).with_flipped_bits(0.1, np.random.default_rng(0))


def test_importing_costs_neither_torch_nor_faiss_and_faiss_comes_last() -> None:
    program = (
        "import os, sys\n"
        "os.environ.pop('OMP_WAIT_POLICY', None)\n"
        "import retrieval.vector_index, retrieval.chunk_store\n"
        "assert not {'torch', 'faiss', 'pyarrow', 'datasets'} & sys.modules.keys()\n"
        "from retrieval._faiss import faiss\n"
        "loaded = list(sys.modules)\n"
        "assert loaded.index('torch') < loaded.index('faiss')\n"
        "assert os.environ['OMP_WAIT_POLICY'] == 'PASSIVE'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
