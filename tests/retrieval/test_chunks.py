"""A small store, all of whose notes are written out: fingerprint, manifest, and every change."""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from retrieval import store_changes, store_updates
from retrieval.chunk_store import ChunkStore, read_tombstones
from retrieval.chunks import Chunks, EncoderId, npy_bytes
from retrieval.errors import Refused, UserError
from retrieval.faiss_search import FaissSearch
from retrieval.index_bytes import index_bytes
from retrieval.payload import count_labels
from retrieval.sealed_folder import read_manifest, verify_sealed
from retrieval.segment import Segment, package_versions
from retrieval.store_dataset import to_dataset
from retrieval.torch_search import TorchSearch
from retrieval.vector_index import IndexSpec, VectorIndex

DIM = 6
ENCODER = EncoderId(name="mini", revision="abc")


def unit(num: int, seed: int = 0) -> ndarray:
    vectors_ND = np.random.default_rng(seed).standard_normal((num, DIM)).astype(np.float32)
    return np.asarray(vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True), dtype=np.float32)


def chunks(ids: Sequence[int], groups: Sequence[int], labels: Sequence[int], **fields: object) -> Chunks:
    given: dict[str, object] = {
        "ids_N": np.array(ids),
        "vectors_ND": np.concatenate([unit(1, seed=chunk_id) for chunk_id in ids]),
        "labels_N": np.array(labels),
        "groups_N": np.array(groups),
        "label_bits_G": (3, 0, 5),
        "texts": [f"text {chunk_id}" for chunk_id in ids],
        "places": [f"a.txt {chunk_id}" for chunk_id in ids],
        "named_labels_G": (5, 1, 20),
    }
    return Chunks(**{**given, **fields})  # type: ignore[arg-type]


def seven() -> Chunks:
    return chunks([31, 12, 53, 24, 75, 46, 97], [0, 0, 0, 1, 2, 2, 2], [4, 0, 3, 0, 19, 7, 8])


def counted(given: Chunks) -> Chunks:
    """The same, with how often each label occurs told to all."""
    return replace(given, label_counts_G=count_labels(given.labels_N, given.groups_N, given.num_labels_G))


# ---- bytes ---------------------------------------------------------------------------------------------------------


def test_arrays_are_files_that_numpy_reads() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(np.load(io.BytesIO(npy_bytes(array)), allow_pickle=False), array)
    with pytest.raises(ValueError, match="allow_pickle"):
        npy_bytes(np.array([{}], dtype=object))


def fingerprint_by_hand(given: Chunks, spec: IndexSpec, encoder: EncoderId | None) -> str:
    head = {
        "dim": DIM,
        "encoder": None if encoder is None else {"name": encoder.name, "revision": encoder.revision},
        "has_texts": given.texts is not None,
        "has_places": given.places is not None,
        "index": asdict(spec),
        "num_chunks": len(given.ids_N),
        "num_labels": list(given.num_labels_G),
    }
    if given.label_counts_G is not None:
        head["label_counts"] = [counts.tolist() for counts in given.label_counts_G]
    content = json.dumps(head, sort_keys=True).encode()
    for numbers in (given.ids_N, given.labels_N, given.groups_N):
        content += b"".join(int(number).to_bytes(8, "little") for number in numbers)
    content += given.vectors_ND.astype("<f4").tobytes()
    for text in [*(given.texts or ()), *(given.places or ())]:
        content += len(text.encode()).to_bytes(8, "little") + text.encode()
    return hashlib.sha256(content).hexdigest()


def test_a_fingerprint_is_of_all_inputs_one_after_the_other() -> None:
    for given in (
        seven(),
        replace(seven(), texts=None, places=None),
        replace(seven(), texts=["Straße"] * 7),
        counted(seven()),
    ):
        for encoder in (ENCODER, None):
            spec = IndexSpec(factory="LSH", rotate_to=9, rotation_seed=4)
            assert given.fingerprint(spec, encoder) == fingerprint_by_hand(given, spec, encoder)


def test_parts_are_runs_as_even_as_can_be() -> None:
    parts = seven().parts(3)
    assert [part.ids_N.tolist() for part in parts] == [[31, 12], [53, 24], [75, 46, 97]]
    assert [part.labels_N.tolist() for part in parts] == [[4, 0], [3, 0], [19, 7, 8]]
    assert [part.groups_N.tolist() for part in parts] == [[0, 0], [0, 1], [2, 2, 2]]
    assert [list(part.texts or ()) for part in parts] == [
        [f"text {chunk_id}" for chunk_id in part.ids_N] for part in parts
    ]
    assert [list(part.places or ()) for part in parts] == [
        [f"a.txt {chunk_id}" for chunk_id in part.ids_N] for part in parts
    ]
    np.testing.assert_array_equal(np.concatenate([part.vectors_ND for part in parts]), seven().vectors_ND)
    assert all(part.num_labels_G == [5, 1, 20] and part.label_bits_G == (3, 0, 5) for part in parts)
    plain = replace(seven(), texts=None, places=None)
    assert [(part.texts, part.places) for part in plain.parts(2)] == [(None, None)] * 2
    assert [len(part.ids_N) for part in plain.parts(9)] == [1] * 7


def test_labels_are_as_many_as_the_bits_name_where_nothing_else_is_said() -> None:
    assert replace(seven(), named_labels_G=()).num_labels_G == [8, 1, 32]
    with pytest.raises(UserError) as caught:
        replace(seven(), labels_N=np.array([4, 0, 3, 0, 20, 7, 8]))
    assert str(caught.value) == (
        "chunk id 75 has label 20, and its group 20 labels, from 0 "
        "(facts of values that a store has not seen: `python -m retromem index add`)"
    )
    with pytest.raises(UserError, match="chunk id 24 has label 1, and its group 1 labels"):
        replace(seven(), labels_N=np.array([4, 0, 3, 1, 99, 7, 8]))


def test_a_vector_that_cannot_be_stored_is_named_by_its_text() -> None:
    vectors_ND = seven().vectors_ND.copy()
    vectors_ND[4] = 0
    for num_shards in (1, 3):
        with pytest.raises(UserError) as caught:
            ChunkStore.build(replace(seven(), vectors_ND=vectors_ND), IndexSpec(factory="HNSW4"), num_shards=num_shards)
        assert str(caught.value) == "vector 4 (of 'text 75') is zero: its encoder finds nothing in it; leave it out"


# ---- what a store says of itself ----------------------------------------------------------------------------------


def test_the_notes_of_a_store_are_written_out() -> None:
    store = ChunkStore.build(seven(), IndexSpec(factory="SQ8"), ENCODER)
    fingerprint = fingerprint_by_hand(seven(), IndexSpec(factory="SQ8"), ENCODER)
    note = {
        "generation": 0,
        "num_chunks": 7,
        "num_labels": [5, 1, 20],
        "label_bits": [3, 0, 5],
        "payload": "fixed",
        "fingerprint": fingerprint,
        "self_test": {"sampled": 7, "found": 7, "recall_at_1": 1.0},
        "versions": package_versions(),
    }
    assert store.own_meta() == {
        "num_chunks": 7,
        "num_deleted": 0,
        "deleted_generation": 0,
        "dim": DIM,
        "metric": "inner product",
        "index": asdict(IndexSpec(factory="SQ8")),
        "encoder": {"name": "mini", "revision": "abc"},
        "segments": [note],
        "fingerprint": hashlib.sha256(fingerprint.encode()).hexdigest(),
    }
    # 12 is replaced, 24 and 97 are gone: positions 1, 3 and 6 are dead, and the new one lies behind.
    without = store_changes.deleted(store, np.array([97, 24]))
    new = chunks([12, 88], [0, 2], [2, 11])
    changed = store_changes.put(without, new)
    meta = changed.own_meta()
    of_new = fingerprint_by_hand(new, IndexSpec(factory="SQ8"), ENCODER)
    dead = b"".join(position.to_bytes(4, "little") for position in (1, 3, 6))
    assert meta["fingerprint"] == hashlib.sha256((fingerprint + of_new).encode() + dead).hexdigest()
    assert (meta["num_chunks"], meta["num_deleted"], meta["deleted_generation"]) == (6, 3, 2)
    assert [segment["generation"] for segment in meta["segments"]] == [0, 2]
    assert [segment["num_chunks"] for segment in meta["segments"]] == [7, 2]
    assert changed.replaced == ("tombstones-00000001.bin",) and without.replaced == ()
    suffixes = ("chunks{}.arrow", "ids{}.npy", "index{}.faiss", "payload{}.bin", "vectors{}.npy")
    assert sorted(without.new_files()) == ["tombstones-00000001.bin"]
    new_names = [name.format("-00000002") for name in suffixes] + ["tombstones-00000002.bin"]
    assert sorted(changed.new_files()) == sorted(new_names)
    assert changed.new_files()["tombstones-00000002.bin"] == dead
    assert changed.names() == {*(name.format("") for name in suffixes), *new_names}
    assert changed.storage_files().keys() == {
        "index.faiss", "payload.bin", "index-00000002.faiss", "payload-00000002.bin", "tombstones-00000002.bin",
    }  # fmt: skip
    assert changed.maintain_files().keys() == changed.names() - changed.storage_files().keys()
    # Both indexes as they are serialised, eight bytes a label, and no rotation.
    sizes = [index_bytes("SQ8", DIM, num) for num in (7, 2)]
    assert changed.resident_bytes == sum(sizes) + 8 * 9
    assert changed.file_bytes["index-00000002.faiss"] == sizes[1]
    assert (changed.num_live, changed.dim, changed.num_labels_G, changed.label_bits_G) == (
        6,
        DIM,
        [5, 1, 20],
        (3, 0, 5),
    )
    assert changed.labels_N.tolist() == [4, 0, 3, 0, 19, 7, 8, 2, 11]
    assert changed.groups_N.tolist() == [0, 0, 0, 1, 2, 2, 2, 0, 2]
    assert [changed.text(position) for position in range(9)] == [
        "text 31", "", "text 53", "", "text 75", "text 46", "", "text 12", "text 88",
    ]  # fmt: skip
    assert [changed.place(position) for position in (0, 1, 8)] == ["a.txt 31", "", "a.txt 88"]


def test_a_self_test_is_noted_to_four_places() -> None:
    given = chunks(range(70), [0] * 70, [0] * 70)
    store = ChunkStore.build(given, IndexSpec(factory="LSH"))
    laid = store.segments[0].chunks
    own = store.search(laid.vectors_ND, 1)[0][:, 0]
    found = int((own == np.arange(70)).sum())
    assert 0 < found < 70
    note = store.segments[0].note(None)
    assert note["self_test"] == {"sampled": 70, "found": found, "recall_at_1": round(found / 70, 4)}
    assert note["fingerprint"] == fingerprint_by_hand(laid, IndexSpec(factory="LSH"), None)
    note["num_chunks"] = 0
    assert store.segments[0].note(None)["num_chunks"] == 70, "what was handed out may be changed"


def test_a_rotation_is_in_memory_alone() -> None:
    store = ChunkStore.build(seven(), IndexSpec(factory="Flat", rotate_to=4, rotation_seed=1))
    assert store.seeded_bytes == 8 * DIM * 4
    assert store.resident_bytes == index_bytes("Flat", 4, 7) + 8 * 7 + 8 * DIM * 4


def test_disturbed_segments_read_their_own_flipped_labels_and_codes() -> None:
    first = ChunkStore.build(seven(), IndexSpec(factory="SQ8"))
    more = chunks([12, 88], [0, 2], [2, 11])
    store = store_changes.deleted(store_changes.put(first, more), np.array([53]))
    for rate in (0.0, 1.0):
        other = store.disturbed(rate, np.random.default_rng(0))
        # 4 turns to 3, 0 to 7, which of five labels is 2, 3 to 4; 19 to 12, 7 to 24, which of twenty is 4, ...
        assert [segment.chunks.labels_N.tolist() for segment in other.segments] == (
            [[4, 0, 3, 0, 19, 7, 8], [2, 11]] if rate == 0 else [[3, 2, 4, 0, 12, 4, 3], [0, 0]]
        )
        assert [segment.generation for segment in other.segments] == [0, 1]
        assert (other.dead_P.tolist(), other.dead_generation, other.encoder) == ([1, 2], 2, None)
        of_group = other.search(unit(4, seed=9), 9, group=2)[0]
        assert all(set(row) - {-1} == {4, 5, 6, 8} for row in of_group.tolist()), "groups stay"
        positions_QK, similarities_QK = other.search(unit(4, seed=9), 9)
        expected_QK, right_QK = store.search(unit(4, seed=9), 9)
        assert set(positions_QK[0].tolist()) == set(expected_QK[0].tolist()) == {0, 3, 4, 5, 6, 7, 8, -1}
        if rate == 0:
            np.testing.assert_array_equal(positions_QK, expected_QK)
            np.testing.assert_array_equal(similarities_QK, right_QK)
        else:  # what was coded as the least of a dimension is its greatest now
            assert (np.abs(similarities_QK[:, :7] - right_QK[:, :7]) > 1e-3).all()
    assert store.labels_N.tolist() == [4, 0, 3, 0, 19, 7, 8, 2, 11], "the store itself stays as it was"


def test_vectors_are_remembered_by_position_through_all_segments() -> None:
    store = store_changes.added(ChunkStore.build(seven(), IndexSpec()), chunks([13, 88, 90], [0, 2, 2], [2, 11, 0]))
    vectors_ND = np.concatenate([segment.chunks.vectors_ND for segment in store.segments])
    for positions in ([9, 0, 7, 6, 3], [8], [2, 2, 1]):
        np.testing.assert_array_equal(store.reconstruct(np.array(positions)), vectors_ND[positions])


# ---- changes -------------------------------------------------------------------------------------------------------


def sizes_of(store: ChunkStore) -> list[int]:
    return [len(segment) for segment in store.segments]


def test_what_comes_melts_with_segments_that_are_no_larger() -> None:
    store = ChunkStore.build(seven(), IndexSpec())
    sizes = []
    for number in range(1, 7):
        store = store_changes.added(store, chunks([100 + number], [0], [number % 5]))
        sizes.append(sizes_of(store))
        assert store.generation == store.segments[-1].generation == number
    # A counter in base two, behind the first segment, which always stays.
    assert sizes == [[7, 1], [7, 2], [7, 2, 1], [7, 4], [7, 4, 1], [7, 4, 2]]
    assert store.ids_N.tolist() == [31, 12, 53, 24, 75, 46, 97, 101, 102, 103, 104, 105, 106]
    # Two of the four are dead, and three come: the last two melt with them, and two of the four are as many as five.
    store = store_changes.deleted(store, np.array([101, 104, 31]))
    assert (sizes_of(store), store.dead_P.tolist()) == ([7, 4, 2], [0, 7, 10])
    more = chunks([7, 5, 3], [0, 1, 2], [1, 0, 2])
    after = store_changes.added(store, more)
    assert sizes_of(after) == [7, 7] and after.dead_P.tolist() == [0], "the dead are left out where segments melt"
    assert after.ids_N.tolist()[7:] == [102, 103, 105, 106, 7, 5, 3]
    assert after.groups_N.tolist()[7:] == [0, 0, 0, 0, 0, 1, 2]
    assert after.labels_N.tolist()[7:] == [2, 3, 0, 1, 1, 0, 2]
    assert [after.text(position) for position in range(7, 14)] == [f"text {i}" for i in after.ids_N[7:]]
    names = ("chunks{}.arrow", "ids{}.npy", "index{}.faiss", "payload{}.bin", "vectors{}.npy")
    gone = [name.format(f"-0000000{generation}") for generation in (4, 6) for name in names]
    assert list(after.replaced) == sorted([*gone, "tombstones-00000007.bin"])
    np.testing.assert_array_equal(after.segments[1].chunks.vectors_ND[4], unit(1, seed=7)[0])
    again = store_changes.compacted(after)
    assert (sizes_of(again), again.dead_P.tolist(), again.generation) == ([13], [], after.generation + 1)
    assert again.groups_N.tolist() == [0] * 7 + [1, 1] + [2] * 4
    assert again.ids_N.tolist() == [12, 53, 102, 103, 105, 106, 7, 24, 5, 75, 46, 97, 3]
    assert store_changes.compacted(again) is again


def test_put_brings_labels_and_groups_and_takes_others_away() -> None:
    store = ChunkStore.build(seven(), IndexSpec())
    more = chunks([53, 60], [0, 3], [9, 1], label_bits_G=(4, 0, 5, 1), named_labels_G=(10, 1, 20, 2))
    after = store_changes.put(store, more, without_P=np.array([46, 97]))
    assert after.dead_P.tolist() == [2, 5, 6]
    assert (after.num_labels_G, after.label_bits_G) == ([10, 1, 20, 2], (4, 0, 5, 1))
    assert after.labels_N.tolist() == [4, 0, 3, 0, 19, 7, 8, 9, 1]
    # What is dead is not there: it may come again, but cannot be taken away again.
    assert store_changes.put(after, replace(more, ids_N=np.array([46, 61]))).num_live == 8
    for change, message in (
        (lambda: store_changes.put(store, more, without_P=np.array([46, 98])), "chunk id 98 is not in the store"),
        (lambda: store_changes.deleted(after, np.array([46])), "chunk id 46 is not in the store; add it first"),
        (lambda: store_changes.deleted(after, np.array([98])), "chunk id 98 is not in the store; add it first"),
        (lambda: store_changes.deleted(after, np.array([1])), "chunk id 1 is not in the store; add it first"),
        (
            lambda: store_changes.replaced(after, chunks([31], [0], [1])),
            r"labels of \[3, 0, 5\] bits, not \[4, 0, 5, 1\]",
        ),
        (lambda: store_changes.added(store, chunks([31], [0], [1])), "chunk id 31 is in the store already; replace it"),
        (
            lambda: store_changes.added(store, chunks([1], [0], [6], named_labels_G=())),
            "chunk id 1 has label 6, and its group 5 labels",
        ),
        (
            lambda: store_changes.added(store, chunks([1], [0], [1], texts=None, places=None)),
            "the store's chunks have texts; so must what is added",
        ),
    ):
        with pytest.raises(UserError, match=message):
            change()
    empty = chunks([31], [0], [1]).parts(1)[0]
    nothing = replace(
        empty, ids_N=np.zeros(0, int), vectors_ND=unit(1)[:0], labels_N=np.zeros(0, int), groups_N=np.zeros(0, int),
        texts=[], places=[],
    )  # fmt: skip
    assert store_changes.put(store, nothing, without_P=np.array([46])) is store
    assert store_changes.added(store, nothing) is store_changes.replaced(store, nothing) is store
    gone = store_changes.deleted(store, store.ids_N)
    with pytest.raises(Refused, match="every chunk was deleted, and no index can be built of none; add chunks first"):
        store_changes.compacted(gone)
    with pytest.raises(UserError, match="chunk id 31 is not in the store; add it first"):
        store_changes.deleted(gone, np.array([31]))
    plain = ChunkStore.build(replace(seven(), texts=None, places=None), IndexSpec())
    with pytest.raises(UserError, match="the store's chunks have no texts; so must what is added"):
        store_changes.added(plain, chunks([1], [0], [1]))


def test_places_are_empty_for_chunks_of_a_part_without_any() -> None:
    store = ChunkStore.build(replace(seven(), places=None), IndexSpec())
    assert [store.place(position) for position in range(7)] == [""] * 7
    store = store_changes.added(store, chunks([88], [1], [0]))
    compacted = store_changes.compacted(store)
    assert compacted.ids_N.tolist() == [31, 12, 53, 24, 88, 75, 46, 97]
    assert list(compacted.segments[0].chunks.places or ()) == ["", "", "", "", "a.txt 88", "", "", ""]


# ---- on disk -------------------------------------------------------------------------------------------------------


def test_a_saved_change_names_its_extra_files_by_generation(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = ChunkStore.build(seven(), IndexSpec(), ENCODER)
    store.save(folder, extra_files={"notes.bin": b"first", "kept.bin": b"kept"}, meta={"x": 1})

    def change(before: ChunkStore, extra: object) -> store_updates.Changed:
        assert extra == {"x": 1}
        return store_updates.Changed(store_changes.deleted(before, np.array([12])), {"notes.bin": b"second"}, {"y": 2})

    after = store_updates.update(folder, change)
    manifest = verify_sealed(folder)
    assert manifest["meta"]["extra"] == {"y": 2} and manifest["meta"]["store"] == after.own_meta()
    assert manifest["replaced"] == ["notes.bin"] and manifest["generation"] == 1
    assert {name for name in manifest["files"] if "notes" in name or "kept" in name} == {
        "notes-00000001.bin", "kept.bin",
    }  # fmt: skip
    assert (folder / "notes-00000001.bin").read_bytes() == b"second" and not (folder / "notes.bin").exists()
    store_updates.update(folder, lambda before, extra: store_updates.Changed(before, {"notes.bin": b"third"}))
    assert read_manifest(folder) == manifest, "a store that is given back is not written"
    store_updates.delete(folder, np.array([31]))
    manifest = verify_sealed(folder)
    assert manifest["meta"]["extra"] == {"y": 2} and manifest["replaced"] == ["tombstones-00000001.bin"]
    opened = ChunkStore.open(folder)
    assert (opened.generation, opened.dead_generation, opened.replaced) == (2, 2, ("tombstones-00000001.bin",))
    assert (opened.dead_P.tolist(), opened.encoder) == ([0, 1], ENCODER)
    found = to_dataset(folder)
    assert found.column_names == ["id", "text", "group", "label", "place"]
    assert found[1] == {"id": 24, "text": "text 24", "group": 1, "label": 0, "place": "a.txt 24"}
    assert found["id"][:] == [53, 24, 75, 46, 97]


def test_a_change_checks_what_it_reads_unless_it_is_told_not_to(tmp_path: Path) -> None:
    store = ChunkStore.build(seven(), IndexSpec())
    changes = {
        "add": lambda folder, **options: store_updates.add(folder, chunks([88], [2], [11]), **options),
        "delete": lambda folder, **options: store_updates.delete(folder, np.array([12]), **options),
        "replace": lambda folder, **options: store_updates.replace(folder, chunks([12], [0], [2]), **options),
    }
    for name, change in changes.items():
        folder = tmp_path / name
        store.save(folder, extra_files={"beside.bin": b"abc"}, meta={})
        (folder / "beside.bin").write_bytes(b"abd")
        with pytest.raises(UserError, match="beside.bin: its sha256 is not the manifest's"):
            change(folder)
        with pytest.raises(UserError, match="beside.bin: its sha256 is not the manifest's"):
            store_updates.compact(folder)
        with pytest.raises(UserError, match="beside.bin: its sha256 is not the manifest's"):
            store_updates.update(folder, lambda before, extra: store_updates.Changed(before))
        assert change(folder, verify=False).generation == 1
        assert store_updates.compact(folder, verify=False).generation == 2
        assert not (folder.parent / f"{name}.lock").exists()
    with pytest.raises(UserError, match="is no retromem store"):
        store_updates.compact(tmp_path / "none")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(changes)


def test_an_opened_store_is_searched_by_the_engine_that_was_asked_for(tmp_path: Path) -> None:
    store = store_changes.added(ChunkStore.build(seven(), IndexSpec()), chunks([13], [0], [2]))
    store.save(tmp_path / "flat", extra_files={}, meta={})
    for engine, kind in (("faiss", FaissSearch), ("torch", TorchSearch)):
        opened = ChunkStore.open(tmp_path / "flat", engine=engine)  # type: ignore[arg-type]
        assert [type(segment.index._search) for segment in opened.segments] == [kind, kind]
        np.testing.assert_array_equal(opened.search(unit(3), 4)[0], store.search(unit(3), 4)[0])
    ChunkStore.build(seven(), IndexSpec(factory="SQ8")).save(tmp_path / "sq8", extra_files={}, meta={})
    with pytest.raises(UserError, match="torch searches Flat alone"):
        ChunkStore.open(tmp_path / "sq8", engine="torch")


@pytest.mark.parametrize(
    ("positions", "is_whole"),
    [([1, 3, 6], True), ([0, 1, 2], True), ([1, 3], False), ([3, 1, 6], False), ([1, 1, 6], False), ([1, 3, 7], False)],
)
def test_tombstones_name_so_many_chunks_that_there_are_in_rising_order(
    positions: list[int], is_whole: bool, tmp_path: Path
) -> None:
    (tmp_path / "tombstones-00000004.bin").write_bytes(np.array(positions, dtype="<u4").tobytes())
    stored = {"num_deleted": 3, "deleted_generation": 4}
    if is_whole:
        found_P = read_tombstones(tmp_path, stored, 7)
        assert found_P is not None and found_P.tolist() == positions and found_P.dtype == np.int64
    else:
        with pytest.raises(UserError) as caught:
            read_tombstones(tmp_path, stored, 7)
        assert str(caught.value) == f"{tmp_path / 'tombstones-00000004.bin'}: does not name 3 of 7 chunks"
    assert read_tombstones(tmp_path, {"num_deleted": 0, "deleted_generation": 4}, 7) is None


def test_a_segment_is_opened_as_it_was_noted(tmp_path: Path) -> None:
    index = VectorIndex(IndexSpec(), DIM)
    index.add(seven().vectors_ND, seven().groups_N)
    segment = Segment(seven(), index, generation=3)
    for name, content in {**segment.storage_files(), **segment.maintain_files()}.items():
        (tmp_path / name).write_bytes(content)
    assert segment.names() == {path.name for path in tmp_path.iterdir()}
    noted = {**segment.note(ENCODER), "fingerprint": "as noted"}
    opened = Segment.open(tmp_path, noted, spec=IndexSpec(), dim=DIM, names=segment.names())
    assert opened.note(None) == noted, "nothing is measured again"
    assert (opened.generation, len(opened)) == (3, 7)
    own, other = opened.chunks, seven()
    for name in ("ids_N", "vectors_ND", "labels_N", "groups_N"):
        np.testing.assert_array_equal(getattr(own, name), getattr(other, name))
    assert (list(own.texts or ()), list(own.places or ())) == (other.texts, other.places)
    assert (list(own.label_bits_G), list(own.num_labels_G)) == ([3, 0, 5], [5, 1, 20])
    names = segment.names() - {"chunks-00000003.arrow"}
    without = Segment.open(tmp_path, noted, spec=IndexSpec(), dim=DIM, names=names)
    assert (without.chunks.texts, without.chunks.places) == (None, None)
    (tmp_path / "ids-00000003.npy").write_bytes(b"")
    with pytest.raises(UserError, match=f"^{tmp_path / 'ids-00000003.npy'}: "):
        Segment.open(tmp_path, noted, spec=IndexSpec(), dim=DIM, names=segment.names())
