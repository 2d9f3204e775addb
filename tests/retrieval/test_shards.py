"""Shards are one store: what several threads build answers like what one built."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy import ndarray

from retrieval import store_updates
from retrieval.chunk_store import ChunkStore
from retrieval.chunks import Chunks
from retrieval.sealed_folder import verify_sealed
from retrieval.sharded_build import bounds_of_shards
from retrieval.vector_index import IndexSpec, VectorIndex

DIM = 32
SAME_BYTES = ["Flat", "SQ8", "SQ4", "PQ8np", "RaBitQ", "LSH", "IVF8,Flat", "IVF8,SQ8", "IVF8,RaBitQ", "IVF8,PQ8np"]
SAME_ANSWERS = [*SAME_BYTES, "PQ8x4fs", "RaBitQfs", "IVF8,PQ8x4fs", "PCA16,Flat", "OPQ8_16,PQ8x4fs"]
SIDE_BY_SIDE = ["HNSW8", "HNSW8_SQ8", "SQ8,RFlat"]


def unit(num: int, seed: int = 0) -> ndarray:
    vectors = np.random.default_rng(seed).standard_normal((num, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def chunks(num: int = 700) -> Chunks:
    rng = np.random.default_rng(0)
    groups = np.sort(rng.integers(0, 3, num))
    return Chunks(
        ids_N=rng.permutation(num),
        vectors_ND=unit(num),
        labels_N=rng.integers(0, 8, num),
        groups_N=groups,
        label_bits_G=(3, 3, 3),
        texts=[f"text {row}" for row in range(num)],
    )


@given(num=st.integers(1, 2000), num_shards=st.integers(1, 40))
def test_shards_cover_every_vector_once_and_are_even(num: int, num_shards: int) -> None:
    bounds = bounds_of_shards(num, num_shards)
    assert len(bounds) == min(num, num_shards)
    assert [position for start, stop in bounds for position in range(start, stop)] == list(range(num))
    sizes = [stop - start for start, stop in bounds]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1


@pytest.mark.parametrize("num_shards", [2, 3, 7])
@pytest.mark.parametrize("factory", SAME_BYTES)
def test_merged_shards_are_the_very_index_of_one_thread(factory: str, num_shards: int) -> None:
    spec = IndexSpec(factory=factory, rotate_to=16 if factory == "LSH" else None)
    whole, sharded = VectorIndex(spec, DIM), VectorIndex(spec, DIM)
    whole.add(unit(700))
    sharded.add(unit(700), num_shards=num_shards)
    assert sharded.storage() == whole.storage()


@pytest.mark.parametrize("factory", SAME_ANSWERS)
def test_a_store_of_merged_shards_answers_like_one_store(factory: str) -> None:
    whole = ChunkStore.build(chunks(), IndexSpec(factory=factory))
    sharded = ChunkStore.build(chunks(), IndexSpec(factory=factory), num_shards=3)
    assert len(sharded.segments) == 1
    for group in (None, 0, 2):
        positions, similarities = whole.search(unit(40, 1), 5, group)
        found = sharded.search(unit(40, 1), 5, group)
        np.testing.assert_array_equal(found[0], positions)
        np.testing.assert_allclose(found[1], similarities, atol=1e-6)


@pytest.mark.parametrize("factory", SIDE_BY_SIDE)
def test_what_cannot_be_merged_stands_side_by_side_and_can_be_changed(tmp_path: Path, factory: str) -> None:
    store = ChunkStore.build(chunks(), IndexSpec(factory=factory), num_shards=3)
    assert [len(segment) for segment in store.segments] == [233, 233, 234]
    store.save(tmp_path / "store", extra_files={}, meta={})
    verify_sealed(tmp_path / "store")
    opened = ChunkStore.open(tmp_path / "store")
    assert opened.ids_N.tolist() == chunks().ids_N.tolist()
    assert opened.text(500) == "text 500"
    positions, similarities = store.search(unit(700), 1)
    assert np.mean(positions[:, 0] == np.arange(700)) > 0.98
    for found, expected in zip(opened.search(unit(40, 1), 5), store.search(unit(40, 1), 5), strict=True):
        np.testing.assert_array_equal(found, expected)
    after = store_updates.delete(tmp_path / "store", opened.ids_N[:10])
    assert after.num_live == 690
    compacted = store_updates.compact(tmp_path / "store")
    assert len(compacted.segments) == 1
    assert compacted.num_live == 690
    assert similarities.shape == (700, 1)


def test_exact_shards_side_by_side_are_exact() -> None:
    """The merged best of several searches is the best of all, ties and gone chunks included."""
    exact = ChunkStore.build(chunks(), IndexSpec())
    part = exact.segments[0]
    from retrieval.segment import Segment

    segments = []
    for number, of_shard in enumerate(part.chunks.parts(4)):
        index = VectorIndex(IndexSpec(), DIM)
        index.add(of_shard.vectors_ND, of_shard.groups_N)
        segments.append(Segment(of_shard, index, number))
    dead = np.arange(0, 700, 3)
    beside = ChunkStore(segments, None, dead_P=dead, generation=3)
    whole = ChunkStore(exact.segments, None, dead_P=dead)
    for num_queries in (3, 40):  # FAISS computes few queries and many in two ways
        for group in (None, 1):
            for k in (1, 5, 300):
                positions, similarities = whole.search(unit(num_queries, 1), k, group)
                found = beside.search(unit(num_queries, 1), k, group)
                np.testing.assert_array_equal(found[0], positions)
                np.testing.assert_array_equal(found[1], similarities)
