"""What is ranked, beside a sort of everything: whatever the search underneath hides, ties, pads or leaves out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy import ndarray

from retrieval import ranked_search
from retrieval.bit_flips import flip_bits
from retrieval.exact_recall import best_similarities, num_nearest
from retrieval.exhaustive_search import may_miss, search_everything
from retrieval.faiss_search import FaissSearch
from retrieval.ranked_search import NearestSearch, ranked
from retrieval.self_test import SelfTest, self_test
from retrieval.torch_search import TorchSearch
from retrieval.vector_index import IndexSpec, VectorIndex


class Backwards:
    """A search in numpy that breaks ties the other way round: the larger position first."""

    def __init__(self, vectors_ND: ndarray, *, selects: bool, may_miss: bool, spare: int) -> None:
        self.vectors_ND = vectors_ND
        self.selects, self.may_miss, self.spare = selects, may_miss, spare
        self.asked: list[tuple[int, int, bool]] = []

    @property
    def num_vectors(self) -> int:
        return len(self.vectors_ND)

    def nearest(
        self, queries_QE: ndarray, depth: int, window: range, is_live_N: ndarray | None, *, everywhere: bool
    ) -> tuple[ndarray, ndarray]:
        self.asked.append((len(queries_QE), depth, everywhere))
        is_seen_N = np.ones(self.num_vectors, dtype=bool)
        if self.selects:
            is_seen_N[:] = False
            is_seen_N[window.start : window.stop] = True
            is_seen_N &= True if is_live_N is None else is_live_N
        if self.may_miss and not everywhere:
            is_seen_N[1::3] = False
        similarities_QK = np.full((len(queries_QE), depth), -np.inf, dtype=np.float32)
        positions_QK = np.full((len(queries_QE), depth), -1, dtype=np.int64)
        for row, of_query_N in enumerate(queries_QE @ self.vectors_ND.T):
            order = sorted(np.flatnonzero(is_seen_N).tolist(), key=lambda at: (-of_query_N[at], -at))[:depth]
            positions_QK[row, : len(order)] = order
            similarities_QK[row, : len(order)] = of_query_N[order]
        return similarities_QK, positions_QK


def whole(num: int, seed: int, most: int = 2) -> ndarray:
    """Vectors of small whole numbers: full of ties, and exact in any order of summation."""
    return np.random.default_rng(seed).integers(-most, most + 1, (num, 3)).astype(np.float32)


def sorted_by_hand(
    vectors_ND: ndarray, queries_QD: ndarray, k: int, allowed: list[int]
) -> tuple[list[list[int]], list[list[float]]]:
    positions, similarities = [], []
    for query_D in queries_QD:
        products = {at: float(query_D @ vectors_ND[at]) for at in allowed}
        order = sorted(allowed, key=lambda at: (-products[at], at))[:k]
        positions.append(order + [-1] * (k - len(order)))
        similarities.append([products[at] for at in order] + [-np.inf] * (k - len(order)))
    return positions, similarities


@given(
    num=st.integers(1, 40),
    k=st.integers(0, 12),
    bounds=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    share=st.sampled_from([None, 0.1, 0.6]),
    selects=st.booleans(),
    spare=st.integers(1, 4),
    a_block=st.sampled_from([1, 9, 1 << 22]),
    seed=st.integers(0, 99),
)
def test_answers_are_those_of_a_sort_of_everything(
    num: int, k: int, bounds: tuple[int, int], share: float | None, selects: bool, spare: int, a_block: int, seed: int
) -> None:
    vectors_ND, queries_QD = whole(num, seed), whole(5, seed + 100)
    window = range(min(*bounds, num), min(max(bounds), num))
    is_live_N = None if share is None else np.random.default_rng(seed).random(num) < share
    allowed = [at for at in window if is_live_N is None or is_live_N[at]]
    search = Backwards(vectors_ND, selects=selects, may_miss=False, spare=spare)
    assert isinstance(search, NearestSearch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranked_search, "_MAX_ANSWERS_A_BLOCK", a_block)
        positions_QK, similarities_QK = ranked(search, queries_QD, k, window, is_live_N)
    positions, similarities = sorted_by_hand(vectors_ND, queries_QD, k, allowed)
    assert (positions_QK.tolist(), similarities_QK.tolist()) == (positions, similarities)
    assert (positions_QK.dtype, similarities_QK.dtype) == (np.int64, np.float32)
    if a_block > 9:
        assert not search.asked or search.asked[0][0] == 5
    else:
        assert all(rows == 1 or rows * depth <= a_block for rows, depth, _ in search.asked)


def test_an_approximate_search_is_asked_everywhere_for_the_rows_that_it_left_short() -> None:
    # Position 1, 4 and 7 are found only everywhere: of a window of seven, five are found otherwise.
    vectors_ND = np.array([[9.0], [8], [7], [6], [5], [4], [3], [2]], dtype=np.float32)
    search = Backwards(vectors_ND, selects=True, may_miss=True, spare=1)
    queries_QD = np.array([[1.0], [-1.0]], dtype=np.float32)
    positions_QK, similarities_QK = ranked(search, queries_QD, 5, range(0, 7))
    assert positions_QK.tolist() == [[0, 2, 3, 5, 6], [6, 5, 3, 2, 0]], "full rows stay approximate"
    assert not any(everywhere for _, _, everywhere in search.asked)
    positions_QK, similarities_QK = ranked(search, queries_QD, 6, range(0, 7))
    assert positions_QK.tolist() == [[0, 1, 2, 3, 4, 5], [6, 5, 4, 3, 2, 1]]
    assert similarities_QK.tolist() == [[9, 8, 7, 6, 5, 4], [-3, -4, -5, -6, -7, -8]]
    assert search.asked[-1] == (2, 8, True)
    # A row that cannot be full, since the window has no more, is not short.
    is_live_N = np.array([True, False, True, True, False, True, True, True])
    search.asked.clear()
    positions_QK, _ = ranked(search, queries_QD, 6, range(0, 7), is_live_N)
    assert positions_QK.tolist() == [[0, 2, 3, 5, 6, -1], [6, 5, 3, 2, 0, -1]]
    assert not any(everywhere for _, _, everywhere in search.asked)


def test_answers_in_order_from_within_the_window_are_taken_as_they_come_and_ties_are_looked_into() -> None:
    # First: nothing ties. Then the last place ties with two behind it, which lie too deep for the spare answer.
    for values, expected, asked in (
        ([4, 3, 2, 1, 0], [0, 1], [(1, 3, False)]),
        ([4, 2, 2, 2, 2], [0, 1], [(1, 3, False), (1, 5, False)]),
        ([4, 2, 1, 1, 0], [0, 1], [(1, 3, False)]),
        ([4, 4, 4, 2, 2], [0, 1], [(1, 3, False), (1, 5, False)]),
    ):
        search = Backwards(np.array(values, dtype=np.float32)[:, None], selects=False, may_miss=False, spare=1)
        positions_QK, similarities_QK = ranked(search, np.ones((1, 1), dtype=np.float32), 2, range(5))
        assert positions_QK.tolist() == [expected]
        assert similarities_QK.tolist() == [[float(values[at]) for at in expected]]
        assert search.asked == asked


# ---- the engines ---------------------------------------------------------------------------------------------------


def test_what_an_engine_says_of_itself() -> None:
    for factory, selects, misses, spare in (
        ("Flat", True, False, 4),
        ("SQ8", True, False, 4),
        ("RaBitQ", True, False, 4),
        ("IVF2,Flat", True, True, 4),
        ("HNSW4", False, True, 4),
        ("LSH", False, False, 16),
        ("PQ2x4fs", False, False, 4),
        ("SQ8,RFlat", False, True, 4),
        ("PCA4,IVF2,Flat", True, True, 4),
        ("PCA4,SQ8", True, False, 4),
    ):
        index = VectorIndex(IndexSpec(factory=factory), 8)
        search = FaissSearch(index._index)
        assert (search.selects, search.may_miss, search.spare) == (selects, misses, spare), factory
        assert search.num_vectors == 0
    torch = TorchSearch(np.eye(5, 3, dtype=np.float32), "cpu")
    assert (torch.selects, torch.may_miss, torch.spare, torch.num_vectors) == (True, False, 4, 5)


def unit(num: int, seed: int, dim: int = 8) -> ndarray:
    vectors_ND = np.random.default_rng(seed).standard_normal((num, dim)).astype(np.float32)
    return np.asarray(vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True), dtype=np.float32)


@pytest.mark.parametrize("factory", ["IVF7,Flat", "HNSW4", "SQ8,RFlat", "PCA8,IVF7,Flat", "RR8,HNSW4,Flat", "Flat"])
def test_a_search_of_everything_is_brute_force(factory: str) -> None:
    vectors_ND, queries_QD = unit(90, seed=1), unit(6, seed=2)
    index = VectorIndex(IndexSpec(factory=factory), 8)
    index.add(vectors_ND)
    assert may_miss(index._index) is (factory != "Flat")
    distances, positions = search_everything(index._index, queries_QD, 11)
    products_QN = queries_QD @ vectors_ND.T
    if factory.startswith("PCA"):  # it takes the mean away before it turns
        products_QN = (queries_QD - vectors_ND.mean(axis=0)) @ (vectors_ND - vectors_ND.mean(axis=0)).T
    expected_QK = np.argsort(-products_QN, axis=1)[:, :11]
    np.testing.assert_array_equal(positions, expected_QK)
    np.testing.assert_allclose(distances, np.take_along_axis(products_QN, expected_QK, axis=1), atol=1e-5)


def test_a_window_and_the_dead_are_kept_from_lists_that_are_looked_into() -> None:
    """As many lists as the index is set to, and of them what is in the window and alive."""
    vectors_ND, queries_QD = unit(60, seed=3), unit(9, seed=4)
    index = VectorIndex(IndexSpec(factory="IVF5,Flat", nprobe=5), 8)
    index.add(vectors_ND, np.repeat([0, 1, 2], [11, 30, 19]))
    is_live_N = np.random.default_rng(5).random(60) < 0.5
    products_QN = queries_QD @ vectors_ND.T
    for group, window in ((None, range(60)), (1, range(11, 41)), (2, range(41, 60))):
        for live_N in (None, is_live_N):
            allowed = [at for at in window if live_N is None or live_N[at]]
            positions_QK, similarities_QK = index.search(queries_QD, 4, group, live_N)
            for row, of_query_N in enumerate(products_QN):
                order = sorted(allowed, key=lambda at: -of_query_N[at])[:4]
                assert positions_QK[row].tolist() == order
                np.testing.assert_allclose(similarities_QK[row], of_query_N[order], atol=1e-6)
    # One list alone: no answer lies in another one, unless the row would be short.
    narrow = VectorIndex(IndexSpec(factory="IVF5,Flat"), 8)
    narrow.add(vectors_ND)
    centroids_LD = narrow._inner.quantizer.reconstruct_n(0, 5)
    list_of_N = (vectors_ND @ centroids_LD.T).argmax(axis=1)
    nearest_Q = (queries_QD @ centroids_LD.T).argmax(axis=1)
    for row, position in enumerate(narrow.search(queries_QD, 1)[0][:, 0].tolist()):
        of_list = np.flatnonzero(list_of_N == nearest_Q[row])
        assert position == of_list[products_QN[row, of_list].argmax()]


def test_the_similarity_of_lsh_is_by_the_share_of_bits_that_differ() -> None:
    vectors_ND, queries_QD = unit(30, seed=6), unit(4, seed=7)
    index = VectorIndex(IndexSpec(factory="LSH"), 8)
    index.add(vectors_ND)
    positions_QK, similarities_QK = index.search(queries_QD, 30)
    differ_QN = ((queries_QD >= 0)[:, None] != (vectors_ND >= 0)[None]).sum(axis=2)
    for row in range(4):
        order = sorted(range(30), key=lambda at: (differ_QN[row, at], at))
        assert positions_QK[row].tolist() == order
        np.testing.assert_allclose(similarities_QK[row], 1 - 2 * differ_QN[row, order] / 8, atol=1e-6)


# ---- recall against exact search -----------------------------------------------------------------------------------


def test_the_nearest_is_counted_and_ties_with_it_are_as_good() -> None:
    vectors_ND = np.array([[1, 0], [0, 1], [1, 0], [0.6, 0.8]], dtype=np.float32)
    queries_QD = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0.8, 0.6]], dtype=np.float32)
    assert best_similarities(vectors_ND, queries_QD) == pytest.approx([1, 1, 1, 1, 0.96])
    # 2 is as near as 0; 3 is not the nearest of (0, 1); -1 is no answer, even where position 0 would be right.
    assert num_nearest(np.array([0, 2, 1, 3, 3]), vectors_ND, queries_QD) == 4
    assert num_nearest(np.array([-1, -1, -1, 1, 0]), vectors_ND, queries_QD) == 1
    known_Q = np.array([1, 1 + 5e-6, 1, 0.8, 0.96], dtype=np.float32)
    assert num_nearest(np.array([0, 0, 1, 3, 0]), vectors_ND, queries_QD, known_Q) == 3


def test_the_nearest_is_found_beyond_the_first_block() -> None:
    vectors_ND = np.zeros(((1 << 15) + 2, 1), dtype=np.float32)
    vectors_ND[[5, -1], 0] = [0.25, 0.5]
    queries_QD = np.array([[1.0], [-1.0]], dtype=np.float32)
    assert best_similarities(vectors_ND, queries_QD).tolist() == [0.5, 0]
    assert best_similarities(vectors_ND[:-1], queries_QD).tolist() == [0.25, 0]


def test_a_self_test_asks_two_hundred_at_most_for_themselves() -> None:
    for num, sampled in ((7, 7), (200, 200), (201, 200), (450, 200)):
        vectors_ND = unit(num, seed=8)
        index = VectorIndex(IndexSpec(factory="LSH"), 8)
        index.add(vectors_ND)
        rows_S = np.sort(np.random.default_rng(0).choice(num, sampled, replace=False))
        answers_S = index.search(vectors_ND[rows_S], 1)[0][:, 0]
        tested = self_test(vectors_ND, index)
        # No two of these vectors are the same: whoever is found is the one that was asked for.
        assert tested == SelfTest(sampled=sampled, found=int((answers_S == rows_S).sum()))
        assert tested.recall_at_1 == tested.found / sampled
    assert 0 < tested.found < 200


# ---- flipped bits --------------------------------------------------------------------------------------------------


def codes_of(vectors_ND: ndarray) -> ndarray:
    return np.packbits(vectors_ND >= 0, axis=1, bitorder="little")


@pytest.mark.parametrize("rate", [0.0009, 0.001, 0.3, 1.0])
def test_flips_are_those_that_the_generator_draws(rate: float) -> None:
    """Numbered from the lowest bit of the first byte; the last three are not stored."""
    before = np.random.default_rng(2).integers(0, 256, 1800, dtype=np.uint8)
    data, num_bits = before.copy(), 8 * 1800 - 3
    flip_bits(data, num_bits, rate, np.random.default_rng(11))
    rng = np.random.default_rng(11)
    flips = np.zeros(8 * 1800, dtype=bool)
    if rate < 0.001:
        places = rng.integers(num_bits, size=rng.binomial(num_bits, rate))
        assert len(set(places.tolist())) == len(places) > 3
        flips[places] = True
    else:
        flips[:num_bits] = rng.random(num_bits, dtype=np.float32) < rate
    np.testing.assert_array_equal(data ^ before, np.packbits(flips, bitorder="little"))
    flip_bits(data, 0, rate, rng)
    flip_bits(data[:0], 0, rate, rng)
    np.testing.assert_array_equal(data ^ before, np.packbits(flips, bitorder="little"))
