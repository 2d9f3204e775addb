"""Stores whose labels were counted: entropy-coded payloads through saving, shards, changes and flipped bits."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval import store_changes, store_updates
from retrieval.chunk_store import ChunkStore
from retrieval.chunks import Chunks
from retrieval.errors import UserError
from retrieval.payload import count_labels, labels_of_flipped_bits, pack_payload
from retrieval.sealed_folder import read_manifest, write_sealed
from retrieval.vector_index import IndexSpec

DIM = 6


def many(ids: Sequence[int]) -> Chunks:
    """Of two groups, half of each with label 0 and the others with 3 and 1."""
    vectors_ND = np.random.default_rng(list(ids)).standard_normal((len(ids), DIM)).astype(np.float32)
    return Chunks(
        ids_N=np.array(ids),
        vectors_ND=vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True),
        labels_N=np.array([(0, 3, 0, 1)[chunk_id % 4] for chunk_id in ids]),
        groups_N=np.array([int(row >= len(ids) / 2) for row in range(len(ids))]),
        label_bits_G=(3, 2),
        named_labels_G=(5, 4),
    )


def counted(given: Chunks) -> Chunks:
    """The same, with how often each label occurs told to all."""
    return replace(given, label_counts_G=count_labels(given.labels_N, given.groups_N, given.num_labels_G))


def test_labels_that_were_counted_are_coded_and_read_again(tmp_path: Path) -> None:
    given = counted(many(range(200)))
    store = ChunkStore.build(given, IndexSpec())
    note = store.segments[0].note(None)
    assert (note["payload"], note["label_counts"]) == ("coded", ["50 25 0 25 0", "50 25 0 25"])
    # 1.5 bits a label, and the sizes of the groups are those of the counts.
    assert 200 * 1.5 / 8 <= store.file_bytes["payload.bin"] <= 200 * 1.5 / 8 + 8
    store.save(tmp_path / "store", extra_files={}, meta={})
    opened = ChunkStore.open(tmp_path / "store")
    np.testing.assert_array_equal(opened.labels_N, given.labels_N)
    assert opened.storage_files() == store.storage_files() and opened.own_meta() == store.own_meta()
    plain = ChunkStore.build(many(range(200)), IndexSpec())
    assert plain.file_bytes["payload.bin"] == 8 + 38 + 25
    for num_shards in (2, 3):
        sharded = ChunkStore.build(given, IndexSpec(factory="HNSW4"), num_shards=num_shards)
        sharded.save(tmp_path / f"of-{num_shards}", extra_files={}, meta={})
        again = ChunkStore.open(tmp_path / f"of-{num_shards}")
        assert [segment.note(None)["payload"] for segment in again.segments] == ["coded"] * num_shards
        np.testing.assert_array_equal(again.labels_N, given.labels_N)
    with pytest.raises(AssertionError, match="a count for each label"):
        replace(given, label_counts_G=given.label_counts_G[:1])


def test_labels_that_come_later_have_fixed_bits_until_all_are_counted_anew(tmp_path: Path) -> None:
    store = ChunkStore.build(counted(many(range(200))), IndexSpec())
    store.save(tmp_path / "store", extra_files={}, meta={})
    for more in (many(range(200, 208)), counted(many(range(208, 300)))):
        store_updates.add(tmp_path / "store", more)
    store_updates.replace(tmp_path / "store", counted(many(range(100))))
    changed = ChunkStore.open(tmp_path / "store")
    assert [(segment.note(None)["payload"], len(segment)) for segment in changed.segments] == [
        ("coded", 200), ("fixed", 200),
    ]  # fmt: skip
    compacted = store_updates.compact(tmp_path / "store")
    (note,) = compacted.own_meta()["segments"]
    assert note["payload"] == "coded" and sum(map(int, " ".join(note["label_counts"]).split())) == 300
    own = compacted.segments[0].chunks
    fresh = ChunkStore.build(counted(replace(own, label_counts_G=None)), IndexSpec())
    assert fresh.storage_files()["payload.bin"] == compacted.new_files()["payload-00000004.bin"]
    np.testing.assert_array_equal(ChunkStore.open(tmp_path / "store").labels_N, own.labels_N)
    never = store_changes.compacted(store_changes.added(ChunkStore.build(many([1, 2]), IndexSpec()), many([5])))
    assert "label_counts" not in never.own_meta()["segments"][0], "nobody was told how often labels occur"


def resealed(folder: Path, **changed: object) -> None:
    """The same store, whose manifest says something else of its first segment."""
    manifest = read_manifest(folder)
    (note,) = manifest["meta"]["store"]["segments"]
    note.update(changed)
    for name in [name for name, value in changed.items() if value is None]:
        del note[name]
    files = {name: (folder / name).read_bytes() for name in manifest["files"]}
    write_sealed(folder, files, kind=manifest["kind"], meta=manifest["meta"])


def test_a_store_that_says_nothing_of_its_payload_has_fixed_bits(tmp_path: Path) -> None:
    ChunkStore.build(many(range(8)), IndexSpec()).save(tmp_path / "store", extra_files={}, meta={})
    resealed(tmp_path / "store", payload=None)
    assert ChunkStore.open(tmp_path / "store").labels_N.tolist() == [0, 3, 0, 1, 0, 3, 0, 1]


def test_a_payload_that_its_counts_do_not_tell_is_one_line(tmp_path: Path) -> None:
    store = ChunkStore.build(counted(many(range(200))), IndexSpec())
    for number, changed in enumerate(
        (
            {"label_counts": ["50 25 0 26 0", "50 25 0 24"]},
            {"label_counts": ["50 25 0 25 0", "50 26 0 25"]},
            {"payload": "fixed"},
            {"label_counts": None},
        )
    ):
        folder = tmp_path / str(number)
        store.save(folder, extra_files={}, meta={})
        resealed(folder, **changed)
        with pytest.raises(UserError) as caught:
            ChunkStore.open(folder)
        assert str(caught.value).startswith(f"{folder / 'payload.bin'}: ") and "\n" not in str(caught.value)


def test_a_disturbed_stream_loses_what_lies_behind_a_flip() -> None:
    store = ChunkStore.build(counted(many(range(200))), IndexSpec(factory="SQ8"))
    chunk = store.segments[0].chunks
    payload = pack_payload(chunk.labels_N, chunk.groups_N, chunk.label_bits_G, chunk.label_counts_G)
    assert payload.is_coded
    assert (store.disturbed(0.0, np.random.default_rng(3)).labels_N == chunk.labels_N).all()
    other = store.disturbed(0.01, np.random.default_rng(3))
    expected_N = labels_of_flipped_bits(
        payload, chunk.groups_N, chunk.label_bits_G, chunk.label_counts_G, rate=0.01, rng=np.random.default_rng(3)
    )
    np.testing.assert_array_equal(other.labels_N, expected_N)
    assert (expected_N != chunk.labels_N).any()
