"""Codes at exactly their bits: their bytes beside FAISS's own, what they answer, and what is read of them."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy import ndarray

from retrieval import store_updates
from retrieval.bit_packing import pack_codes, packed_size, unpack_codes
from retrieval.chunk_store import ChunkStore
from retrieval.chunks import Chunks
from retrieval.errors import UserError
from retrieval.index_bytes import index_bytes
from retrieval.packed_codes import bits_of_packed, codes_of
from retrieval.random_rotation import random_rotation
from retrieval.sealed_folder import read_manifest, verify_sealed
from retrieval.self_test import self_test
from retrieval.vector_index import IndexSpec, VectorIndex

DIM = 20
LSH = [IndexSpec(factory="LSH"), *(IndexSpec(factory="LSH", rotate_to=to) for to in (1, 7, 13, 16, 41))]
TRAINED = [
    IndexSpec(factory=name)
    for name in ("LSHt", "LSH27rt", "LSH27r", "PCA13,LSH", "PQ20x1np", "PQ10x5np", "PQ4x3", "PQ10x4np", "PQ4np")
] + [IndexSpec(factory="PQ5x3np", rotate_to=15), IndexSpec(factory="RR15,PQ5x3np")]  # fmt: skip
WHOLE = [
    IndexSpec(factory=name) for name in ("Flat", "PQ10np", "PQ20x4np", "SQ6", "IVF4,PQ10x5np", "SQ4,Refine(PQ4x3)")
]


def unit(num: int, seed: int = 0) -> ndarray:
    vectors_ND = np.random.default_rng(seed).standard_normal((num, DIM)).astype(np.float32)
    return np.asarray(vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True), dtype=np.float32)


def built(spec: IndexSpec, num: int = 333, groups_N: ndarray | None = None) -> VectorIndex:
    index = VectorIndex(spec, DIM)
    index.add(unit(num), groups_N)
    return index


def label(value: object) -> str | None:
    return value.label if isinstance(value, IndexSpec) else None


# ---- bits ----------------------------------------------------------------------------------------------------------


@given(count=st.integers(0, 40), num_bytes=st.integers(1, 5), seed=st.integers(0, 9), data=st.data())
def test_codes_are_packed_bit_after_bit(count: int, num_bytes: int, seed: int, data: st.DataObject) -> None:
    bits = data.draw(st.integers(8 * num_bytes - 7, 8 * num_bytes))
    bits_Nb = np.random.default_rng(seed).integers(0, 2, (count, bits))
    codes_NB = np.zeros((count, num_bytes), dtype=np.uint8)
    for row, column in zip(*np.nonzero(bits_Nb), strict=True):
        codes_NB[row, column // 8] |= 1 << (column % 8)
    packed = pack_codes(codes_NB, bits)
    expected = np.zeros(packed_size(count, bits), dtype=np.uint8)
    for place in np.flatnonzero(bits_Nb.reshape(-1)):
        expected[place // 8] |= 1 << (place % 8)
    assert packed == expected.tobytes()
    np.testing.assert_array_equal(unpack_codes(packed, count, bits), codes_NB)
    with pytest.raises(ValueError, match=f"{count} codes of {bits} bits take {len(packed)} bytes, not"):
        unpack_codes(packed + b"\0", count, bits)


def test_a_million_codes_are_packed_in_blocks_and_well_under_a_second() -> None:
    for bits in (20, 24):
        codes_NB = np.random.default_rng(0).integers(0, 256, (1_000_001, 3), dtype=np.uint8)
        codes_NB[:, 2] &= 0xFF >> (24 - bits)
        start = time.perf_counter()
        packed = pack_codes(codes_NB, bits)
        again_NB = unpack_codes(packed, len(codes_NB), bits)
        assert time.perf_counter() - start < 2.0, "some .1 s on an idle processor"
        assert len(packed) == packed_size(1_000_001, bits)
        np.testing.assert_array_equal(again_NB, codes_NB)


# ---- indexes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", LSH + TRAINED, ids=label)
def test_a_packed_index_is_its_codes_to_the_bit_and_what_was_trained(spec: IndexSpec) -> None:
    from retrieval._faiss import faiss

    index = built(spec)
    bits = bits_of_packed(index._index)
    assert bits is not None
    files = index.storage()
    assert tuple(files) == index.storage_names == (("codes.bin",) if spec in LSH else ("index.faiss", "codes.bin"))
    assert len(files["codes.bin"]) == -(-333 * bits // 8)
    if spec not in LSH:
        empty = faiss.deserialize_index(np.frombuffer(files["index.faiss"], dtype=np.uint8))
        assert empty.ntotal == 0 and empty.is_trained
    code_size = -(-bits // 8)
    header = 93 if spec in LSH else len(files["index.faiss"])
    assert len(index.serialized()) == header + 333 * code_size, "as FAISS has it"
    assert index.unpacked_bytes == 333 * code_size
    assert index.storage_bytes == sum(map(len, files.values()))
    assert index.storage_bytes == index_bytes(spec.factory, spec.rotate_to or DIM, 333)


@pytest.mark.parametrize("spec", LSH + TRAINED, ids=label)
def test_a_packed_index_answers_as_it_did(spec: IndexSpec, tmp_path: Path) -> None:
    groups_N = np.repeat(np.arange(3), 111)
    index = built(spec, groups_N=groups_N)
    paths = {name: tmp_path / name for name in index.storage_names}
    for name, content in index.storage().items():
        paths[name].write_bytes(content)
    for loaded in (
        VectorIndex.from_storage(spec, DIM, index.storage(), 333, groups_N),
        VectorIndex.from_storage(spec, DIM, paths, 333, groups_N),
    ):
        assert loaded.serialized() == index.serialized() and loaded.storage() == index.storage()
        for group in (None, 2):
            pairs = zip(loaded.search(unit(9, seed=1), 8, group), index.search(unit(9, seed=1), 8, group), strict=True)
            for found, expected in pairs:
                np.testing.assert_array_equal(found, expected)
        assert self_test(unit(333), loaded) == self_test(unit(333), index)


@pytest.mark.parametrize("spec", WHOLE, ids=label)
def test_other_indexes_are_stored_as_faiss_writes_them(spec: IndexSpec) -> None:
    index = built(spec)
    assert index.storage() == {"index.faiss": index.serialized()} and index.storage_names == ("index.faiss",)
    assert index.unpacked_bytes == 0


@pytest.mark.parametrize("spec", [*LSH, *TRAINED], ids=label)
def test_an_index_is_the_same_from_several_threads(spec: IndexSpec) -> None:
    sharded, whole = VectorIndex(spec, DIM), built(spec)
    sharded.add(unit(333), num_shards=3)
    if spec.factory.endswith("rt"):
        # The threshold of a bit is a vector's own rotated number, and a product of fewer rows may round it otherwise.
        changed_NB = codes_of(sharded._index) ^ codes_of(whole._index)
        assert np.unpackbits(changed_NB, axis=1).sum(axis=0).max() <= 1
    else:
        assert sharded.storage() == whole.storage()


@pytest.mark.parametrize("to", [5, 7, 13, 20, 27])
def test_lsh_of_any_number_of_bits_is_brute_force_hamming_over_them(to: int) -> None:
    """Ties go to the smaller position; signs of a rotated number of 0 are set, as FAISS has them."""
    index = built(IndexSpec(factory="LSH", rotate_to=to))
    loaded = VectorIndex.from_storage(index.spec, DIM, index.storage(), 333)
    rotation_DE = random_rotation(DIM, to, 0)
    bits_NE, asked_QE = unit(333) @ rotation_DE >= 0, unit(50, seed=1) @ rotation_DE >= 0
    distances_QN = (asked_QE[:, None] != bits_NE[None]).sum(axis=2)
    positions_QK, similarities_QK = loaded.search(unit(50, seed=1), 333)
    np.testing.assert_array_equal(positions_QK, np.argsort(distances_QN, axis=1, kind="stable"))
    np.testing.assert_allclose(similarities_QK, 1 - 2 * np.sort(distances_QN, axis=1) / to, atol=1e-6)


@pytest.mark.parametrize(("factory", "parts", "bits"), [("PQ20x1np", 20, 1), ("PQ10x5np", 10, 5), ("PQ4x3np", 4, 3)])
def test_product_codes_are_ranked_by_distance_to_their_centroids(factory: str, parts: int, bits: int) -> None:
    """As an exact search would rank what the codes say, for questions of any length."""
    from retrieval._faiss import faiss

    index = built(IndexSpec(factory=factory))
    loaded = VectorIndex.from_storage(index.spec, DIM, index.storage(), 333)
    centroids = faiss.vector_to_array(loaded._inner.pq.centroids).reshape(parts, 1 << bits, DIM // parts)
    vectors = unit(333).reshape(333, parts, 1, DIM // parts)
    nearest = ((vectors - centroids) ** 2).sum(axis=3).argmin(axis=2)
    approximations = centroids[np.arange(parts), nearest].reshape(333, DIM)
    np.testing.assert_allclose(loaded.reconstruct(np.arange(333)), approximations, atol=1e-6)
    asked = unit(40, seed=1)
    similar_QN = 1 - ((asked[:, None] - approximations[None]) ** 2).sum(axis=2) / 2
    for length in (1, 7):
        positions_QK, similarities_QK = loaded.search(np.float32(length) * asked, 10)
        np.testing.assert_allclose(similarities_QK, -np.sort(-similar_QN, axis=1)[:, :10], atol=1e-5)
        np.testing.assert_allclose(np.take_along_axis(similar_QN, positions_QK, axis=1), similarities_QK, atol=1e-5)
    # A vector's own code is the nearest that there is, whatever its length.
    assert (
        loaded.search(unit(333), 1)[1][:, 0] >= 1 - ((unit(333) - approximations) ** 2).sum(axis=1) / 2 - 1e-5
    ).all()


@pytest.mark.parametrize("spec", [LSH[2], LSH[5], TRAINED[4], TRAINED[5]], ids=label)
def test_only_bits_that_are_stored_flip(spec: IndexSpec) -> None:
    index = built(spec)
    bits = bits_of_packed(index._index)
    assert bits is not None and bits % 8
    before = np.unpackbits(codes_of(index._index), axis=1, bitorder="little")
    for rate in (0.0, 0.0005, 0.1, 1.0):
        other = index.with_flipped_bits(rate, np.random.default_rng(0))
        differs = np.unpackbits(codes_of(other._index), axis=1, bitorder="little") != before
        assert not differs[:, bits:].any()
        expected = rate * 333 * bits
        assert abs(differs.sum() - expected) <= 5 * np.sqrt(expected * (1 - rate))
        assert other.num_vectors == 333
    np.testing.assert_array_equal(np.unpackbits(codes_of(index._index), axis=1, bitorder="little"), before)


def test_what_does_not_belong_together_is_one_line() -> None:
    lsh, pq = IndexSpec(factory="LSH"), IndexSpec(factory="PQ10x5np")
    signs, products = built(lsh).storage(), built(pq).storage()
    codes = signs["codes.bin"]
    for spec, files, num, message in (
        (lsh, {"codes.bin": codes[:-1]}, 333, "333 codes of 20 bits take 833 bytes, not 832"),
        (lsh, {"codes.bin": codes}, 331, "331 codes of 20 bits take 828 bytes, not 833"),
        (lsh, {}, 333, "the stored index holds 0 vectors, not 333"),
        (pq, {"codes.bin": products["codes.bin"]}, 333, "what index PQ10x5np was trained to is missing"),
        (pq, {"index.faiss": products["index.faiss"]}, 333, "the stored index holds 0 vectors, not 333"),
        (pq, {**products, "index.faiss": built(lsh).serialized()}, 333, "is a IndexLSH over 20 dimensions, not PQ10x5"),
        (IndexSpec(), {"index.faiss": built(IndexSpec()).serialized(), "codes.bin": b""}, 333, "has no packed codes"),
    ):
        with pytest.raises(UserError, match=f"{message}.*; build the store again$"):
            VectorIndex.from_storage(spec, DIM, files, num)


# ---- stores --------------------------------------------------------------------------------------------------------


def chunks(ids: range) -> Chunks:
    return Chunks(
        ids_N=np.array(ids),
        vectors_ND=unit(1000)[list(ids)],
        labels_N=np.array(ids) % 4,
        groups_N=np.zeros(len(ids), dtype=np.int64),
        label_bits_G=(2,),
    )


def bytes_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


@pytest.mark.parametrize("spec", [LSH[0], LSH[3], TRAINED[0], TRAINED[5]], ids=label)
def test_a_packed_store_through_saving_changes_and_verifying(spec: IndexSpec, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = ChunkStore.build(chunks(range(300)), spec)
    store.save(folder, extra_files={}, meta={})
    store_updates.add(folder, chunks(range(300, 321)))
    store_updates.delete(folder, np.array([5, 310]))
    verify_sealed(folder)
    changed = ChunkStore.open(folder)
    names = {"sorted_codes.bin", "sorted_codes-00000001.bin"}
    assert {name for name in changed.file_bytes if "codes" in name} == names
    assert ("index.faiss" in changed.file_bytes) == (spec.factory != "LSH")
    manifest = len(changed.manifest_bytes(extra_files={}, meta={}))
    ledger = sum(changed.file_bytes.values()) + sum(map(len, changed.maintain_files().values())) + manifest
    assert ledger == sum(bytes_in(folder).values())
    whole = VectorIndex(spec, DIM)
    whole.train(unit(1000)[:300])
    whole.add(unit(1000)[:321])
    is_live_N = ~np.isin(np.arange(321), [5, 310])
    found, expected = changed.search(unit(20, seed=3), 30), whole.search(unit(20, seed=3), 30, None, is_live_N)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-6)
    bits = bits_of_packed(whole._index)
    assert bits is not None
    trained = sum(size for name, size in changed.file_bytes.items() if name.startswith("index"))
    assert changed.resident_bytes == 321 * -(-bits // 8) + trained + 8 * 321 + changed.seeded_bytes
    compacted = store_updates.compact(folder)
    fresh = ChunkStore.build(chunks(range(300)), spec)
    assert [name for name in bytes_in(folder) if "codes" in name] == ["sorted_codes-00000003.bin"]
    assert compacted.num_live == 319 and fresh.storage_files() == store.storage_files()
    damaged = folder / "sorted_codes-00000003.bin"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"sorted_codes-00000003\.bin: has \d+ bytes where the manifest says"):
        ChunkStore.open(folder, verify=False)


@pytest.mark.parametrize("spec", [LSH[0], LSH[3], TRAINED[5]], ids=label)
def test_a_store_whose_codes_are_not_packed_still_opens_and_changes(spec: IndexSpec, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = ChunkStore.build(chunks(range(300)), spec)
    expected = store.search(unit(20, seed=3), 9)
    store.segments[0].index._is_stored_whole = True  # as all were before
    store.save(folder, extra_files={}, meta={})
    assert {"index.faiss", "payload.bin"} < bytes_in(folder).keys() and "sorted_codes.bin" not in bytes_in(folder)
    opened = ChunkStore.open(folder)
    for found, right in zip(opened.search(unit(20, seed=3), 9), expected, strict=True):
        np.testing.assert_array_equal(found, right)
    assert opened.file_bytes == {name: bytes_in(folder)[name] for name in ("index.faiss", "payload.bin")}
    assert opened.resident_bytes == len(store.segments[0].index.serialized()) + 8 * 300 + opened.seeded_bytes
    store_updates.add(folder, chunks(range(300, 310)))
    both = ChunkStore.open(folder)
    assert {"index.faiss", "sorted_codes-00000001.bin"} < both.file_bytes.keys()
    assert "sorted_codes.bin" not in both.file_bytes
    np.testing.assert_array_equal(both.search(unit(1000)[300:310], 1)[1], both.search(unit(1000)[300:310], 2)[1][:, :1])
    store_updates.compact(folder)
    files = read_manifest(folder)["files"]
    assert "sorted_codes-00000002.bin" in files and "index.faiss" not in bytes_in(folder)
    again = ChunkStore.build(replace(chunks(range(310))), spec)
    # Trained on the same vectors in another order.
    assert again.file_bytes["sorted_codes.bin"] == pytest.approx(files["sorted_codes-00000002.bin"]["bytes"], rel=0.01)


@pytest.mark.parametrize("spec", [LSH[0], LSH[3], TRAINED[5], TRAINED[7]], ids=label)
def test_chunks_of_a_store_follow_their_codes_and_are_the_same_facts(spec: IndexSpec, tmp_path: Path) -> None:
    """Each chunk keeps its id, label, vector and group; codes rise within each group, and take fewer bytes."""
    groups_N = np.repeat([0, 2], [200, 133])
    given = Chunks(
        ids_N=np.arange(333), vectors_ND=unit(333), labels_N=np.arange(333) % 4, groups_N=groups_N,
        label_bits_G=(2, 0, 2), texts=[f"text {row}" for row in range(333)], places=[f"{row}" for row in range(333)],
    )  # fmt: skip
    store = ChunkStore.build(given, spec)
    laid = store.segments[0].chunks
    assert sorted(laid.ids_N.tolist()) == list(range(333)) and laid.ids_N.tolist() != list(range(333))
    for row, own in enumerate(laid.ids_N.tolist()):
        assert (laid.labels_N[row], laid.groups_N[row]) == (own % 4, groups_N[own])
        assert laid.texts is not None and laid.places is not None
        assert (laid.texts[row], laid.places[row]) == (f"text {own}", f"{own}")
        np.testing.assert_array_equal(laid.vectors_ND[row], given.vectors_ND[own])
    plain = VectorIndex(spec, DIM)
    plain.add(given.vectors_ND, groups_N)
    np.testing.assert_array_equal(codes_of(store.segments[0].index._index), codes_of(plain._index)[laid.ids_N])
    bits = bits_of_packed(plain._index)
    assert bits is not None
    saved = sum(size for name, size in store.file_bytes.items() if name == "sorted_codes.bin")
    assert saved < 0.9 * -(-333 * bits // 8) if bits < 60 else saved <= -(-333 * bits // 8)
    for group in (None, 0, 2):
        found, expected = store.search(unit(30, seed=1), 333, group), plain.search(unit(30, seed=1), 333, group)
        np.testing.assert_array_equal(found[1], expected[1])
    store.save(tmp_path / "store", extra_files={}, meta={})
    opened = ChunkStore.open(tmp_path / "store")
    for one, other in zip(opened.search(unit(30, seed=1), 9), store.search(unit(30, seed=1), 9), strict=True):
        np.testing.assert_array_equal(one, other)


def test_flipped_bits_of_sorted_codes_move_what_follows(tmp_path: Path) -> None:
    store = ChunkStore.build(chunks(range(300)), IndexSpec(factory="LSH"))
    whole = codes_of(store.segments[0].index._index)
    num_bits = 8 * len(store.storage_files()["sorted_codes.bin"])
    for rate in (0.0, 0.0002, 0.01):
        same = []
        for seed in range(12):
            other = store.segments[0].index.with_flipped_bits(rate, np.random.default_rng(seed))
            same.append(float((codes_of(other._index) == whole).all(axis=1).mean()))
        # The first of m flips in one stream of distances leaves a share of 1 / (m + 1) before it as it was.
        expected = (1 - np.exp(-rate * num_bits)) / (rate * num_bits) if rate else 1.0
        assert abs(np.mean(same) - expected) < (0.3 if 0 < rate < 0.01 else 0.06)
    assert np.mean(same) < 0.1
