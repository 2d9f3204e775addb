"""What a changed store answers, against a dictionary that is changed in the same way."""

import threading
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy import ndarray

from retrieval import store_changes, store_updates
from retrieval.chunk_store import ChunkStore
from retrieval.chunks import Chunks, EncoderId
from retrieval.errors import Refused, UserError
from retrieval.folder_lock import locked
from retrieval.sealed_folder import read_manifest, verify_sealed
from retrieval.store_dataset import to_dataset
from retrieval.vector_index import IndexSpec

DIM = 8
LABEL_BITS = (2, 0, 5)
ENCODER = EncoderId(name="mini", revision="abc")
EXTRA = {"calibration.bin": b"\x00\x3c"}
# Exact by an oracle of one line; the others hide what is dead, and are never short.
EXACT = ("Flat", "LSH")
FACTORIES = (*EXACT, "SQ8", "RaBitQ", "IVF8,Flat", "HNSW8", "PQ4x4fs")

# id -> version: all that a chunk is follows from the two.
Model = dict[int, int]


@cache
def vector_of(chunk_id: int, version: int) -> ndarray:
    """Four entries of 1/2 or -1/2: of norm 1, with ties, and every inner product exact in any order of summation."""
    rng = np.random.default_rng([chunk_id, version])
    vector = np.zeros(DIM, dtype=np.float32)
    vector[rng.choice(DIM, 4, replace=False)] = rng.choice([-0.5, 0.5], 4)
    return vector


def chunks_of(model: Model, ids: list[int], *, texts: bool = True) -> Chunks:
    """In the order of `ids` within each group."""
    ids = sorted(ids, key=lambda chunk_id: chunk_id % len(LABEL_BITS))
    groups = np.array([chunk_id % len(LABEL_BITS) for chunk_id in ids], dtype=np.int64)
    versions = np.array([model[chunk_id] for chunk_id in ids], dtype=np.int64)
    return Chunks(
        ids_N=np.array(ids, dtype=np.int64),
        vectors_ND=np.array([vector_of(i, model[i]) for i in ids], dtype=np.float32).reshape(len(ids), DIM),
        labels_N=versions % 2 ** np.array(LABEL_BITS)[groups],
        groups_N=groups,
        label_bits_G=LABEL_BITS,
        texts=[f"{i} in version {model[i]}" for i in ids] if texts else None,
        places=[place_of(i, model[i]) for i in ids] if any(place_of(i, model[i]) for i in ids) else None,
    )


def place_of(chunk_id: int, version: int) -> str:
    """Half of them have none."""
    return f"v{version}.txt {chunk_id}-{chunk_id + 1}" if (chunk_id + version) % 2 else ""


def built(factory: str, num: int = 40, **fields: int) -> tuple[Model, ChunkStore]:
    model = dict.fromkeys(range(num), 0)
    return model, ChunkStore.build(chunks_of(model, list(model)), IndexSpec(factory=factory, **fields), ENCODER)


def similarities(factory: str, queries: ndarray, vectors: ndarray) -> ndarray:
    if factory == "LSH":
        return np.array([[1 - 2 * np.mean((q >= 0) != (v >= 0)) for v in vectors] for q in queries], dtype=np.float32)
    return queries @ vectors.T


def check(store: ChunkStore, model: Model, factory: str) -> None:
    """Everything that a store of this model must answer."""
    live = np.flatnonzero(store.is_live_N)
    assert sorted(store.ids_N[live].tolist()) == sorted(model)
    assert store.num_live == len(model)
    queries = np.array([vector_of(1000 + number, 0) for number in range(6)])
    for group in (None, 0, 1, 2):
        members = [i for i in live.tolist() if group is None or store.groups_N[i] == group]
        for k in (1, 4, len(live) + 3):
            positions, found = store.search(queries, k, group)
            filled = min(k, len(members))
            assert (positions[:, :filled] >= 0).all(), "an empty slot while something is alive"
            assert (positions[:, filled:] == -1).all() and (found[:, filled:] == -np.inf).all()
            assert set(positions[:, :filled].ravel().tolist()) <= set(members)
            assert all(len(set(row.tolist())) == filled for row in positions[:, :filled])
            assert (np.diff(found[:, :filled], axis=1) <= 0).all()
            if factory in EXACT:
                vectors = np.array([vector_of(int(store.ids_N[i]), model[int(store.ids_N[i])]) for i in members])
                expected = similarities(factory, queries, vectors.reshape(-1, DIM)).reshape(len(queries), -1)
                for row, of_query in enumerate(expected):
                    ranked = sorted(range(len(members)), key=lambda at: (-of_query[at], members[at]))[:filled]
                    assert positions[row, :filled].tolist() == [members[at] for at in ranked]
                    np.testing.assert_array_equal(found[row, :filled], of_query[ranked])
    assert {(store.text(position), store.place(position)) for position in store.dead_P.tolist()} <= {("", "")}
    for position in live.tolist():
        chunk_id = int(store.ids_N[position])
        assert store.text(position) == f"{chunk_id} in version {model[chunk_id]}"
        assert store.place(position) == place_of(chunk_id, model[chunk_id])
        assert store.groups_N[position] == chunk_id % len(LABEL_BITS)
        assert store.labels_N[position] == model[chunk_id] % 2 ** LABEL_BITS[chunk_id % len(LABEL_BITS)]


def check_same(one: ChunkStore, other: ChunkStore) -> None:
    queries = np.array([vector_of(2000 + number, 0) for number in range(6)])
    for group in (None, 1):
        for found, expected in zip(one.search(queries, 7, group), other.search(queries, 7, group), strict=True):
            np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(one.ids_N, other.ids_N)
    np.testing.assert_array_equal(one.dead_P, other.dead_P)


def check_ledger(folder: Path, *stores: ChunkStore) -> None:
    """The store's own account of its files is what lies there, byte for byte."""
    manifest = read_manifest(folder)
    for store in stores:
        files = {**store.storage_files(), **store.maintain_files(), **EXTRA}
        files["manifest.json"] = store.manifest_bytes(extra_files=EXTRA, meta=manifest["meta"]["extra"])
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "delete", "replace", "compact", "reopen"]),
        st.lists(st.integers(0, 60), min_size=1, max_size=25, unique=True),
    ),
    min_size=1,
    max_size=7,
)


@pytest.mark.parametrize("factory", FACTORIES)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_sequence_of_changes_is_a_dictionary(
    factory: str, steps: list[tuple[str, list[int]]], tmp_path: Path
) -> None:
    change_and_check(factory, steps, tmp_path / "store")


@pytest.mark.slow
@pytest.mark.parametrize("factory", [*FACTORIES, "IVF4,PQ4x4fs,RFlat", "PCA6,SQ8", "RaBitQfs", "HNSW8,SQ8"])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_very_many_sequences_of_changes_are_dictionaries(
    factory: str, steps: list[tuple[str, list[int]]], tmp_path: Path
) -> None:
    change_and_check(factory, steps, tmp_path / "store")


def change_and_check(factory: str, steps: list[tuple[str, list[int]]], folder: Path) -> None:
    model, store = built(factory)
    store.save(folder, extra_files=EXTRA, meta={"x": 1})
    for version, (action, numbers) in enumerate(steps, start=1):
        there, away = [i for i in numbers if i in model], [i for i in numbers if i not in model]
        if action == "add":
            model.update(dict.fromkeys(away, version))
            store = store_updates.add(folder, chunks_of(model, away))
        elif action == "delete":
            for chunk_id in there:
                del model[chunk_id]
            store = store_updates.delete(folder, np.array(there, dtype=np.int64))
        elif action == "replace":
            model.update(dict.fromkeys(there, version))
            store = store_updates.replace(folder, chunks_of(model, there))
        elif action == "compact":
            try:
                store = store_updates.compact(folder)
            except Refused:
                assert factory not in EXACT or not model, "too few to train an index on"
        check(store, model, factory)
        opened = ChunkStore.open(folder)
        check_same(store, opened)
        check_ledger(folder, store, opened)
        if action == "reopen":
            store = opened


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_compacted_store_is_a_fresh_one_byte_for_byte(factory: str, tmp_path: Path) -> None:
    model, store = built(factory)
    store.save(tmp_path / "store", extra_files=EXTRA, meta={})
    model.update(dict.fromkeys(range(50, 60), 1))
    store_updates.add(tmp_path / "store", chunks_of(model, list(range(50, 60))))
    gone = [3, 7, 51]
    store_updates.delete(tmp_path / "store", np.array(gone))
    model = {chunk_id: version for chunk_id, version in model.items() if chunk_id not in gone}
    compacted = store_updates.compact(tmp_path / "store")
    fresh = ChunkStore.build(chunks_of(model, list(model)), IndexSpec(factory=factory), ENCODER)
    own, expected = compacted.new_files(), {**fresh.storage_files(), **fresh.maintain_files()}
    assert {name.replace("-00000003", ""): content for name, content in own.items()} == expected
    assert compacted.own_meta()["fingerprint"] == fresh.own_meta()["fingerprint"]
    assert store_updates.compact(tmp_path / "store").generation == 3  # nothing to gain, nothing written


def test_small_additions_leave_the_large_files_alone(tmp_path: Path) -> None:
    model, store = built("Flat", 60)
    folder = tmp_path / "store"
    store.save(folder, extra_files=EXTRA, meta={})
    before = {path.name: path.stat().st_ino for path in folder.iterdir() if path.name != "manifest.json"}
    for chunk_id in range(100, 116):
        model[chunk_id] = 0
        store = store_updates.add(folder, chunks_of(model, [chunk_id]))
        assert len(store.segments) <= 2 + np.log2(chunk_id - 98)
    assert {name: (folder / name).stat().st_ino for name in before} == before
    check(ChunkStore.open(folder), model, "Flat")
    assert store.generation == 16
    rewritten = sum(len(segment) for segment in store.segments[1:])
    assert rewritten == 16


def test_segments_share_what_the_first_was_trained_to(tmp_path: Path) -> None:
    model, store = built("SQ8", rotate_to=6)
    model.update(dict.fromkeys((70, 71), 1))
    more = store_changes.added(store, chunks_of(model, [70, 71]))
    alone = ChunkStore.build(chunks_of(model, [70, 71]), IndexSpec(factory="SQ8", rotate_to=6))
    assert more.segments[1].index.storage() != alone.segments[0].index.storage()
    assert more.seeded_bytes == store.seeded_bytes
    assert store_changes.compacted(more).num_live == 42
    assert store.num_live == 40, "a change makes another store and leaves the old one as it was"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder, chunks: store_updates.add(folder, chunks(5)), "chunk id 5 is in the store already"),
        (lambda folder, chunks: store_updates.replace(folder, chunks(77)), "chunk id 77 is not in the store"),
        (lambda folder, chunks: store_updates.delete(folder, np.array([1, 77])), "chunk id 77 is not in the store"),
        (lambda folder, chunks: store_updates.delete(folder, np.array([1, 1])), "chunk id 1 comes twice"),
        (lambda folder, chunks: store_updates.add(folder, chunks(77, texts=None)), "the store's chunks have texts"),
        (lambda folder, chunks: store_updates.add(folder, chunks(77, label_bits_G=(2, 0))), r"labels of \[2, 0\] bits"),
        (lambda folder, chunks: store_updates.delete(folder, np.array([0.0])), "chunk ids are float64; give whole"),
        (
            lambda folder, chunks: store_updates.add(folder, chunks(77, vectors_ND=np.ones((1, 4), np.float32) / 2)),
            r"vectors have shape \(1, 4\); the index takes \(any number, 8\)",
        ),
        (
            lambda folder, chunks: store_updates.add(folder, chunks(77, vectors_ND=np.ones((1, DIM), np.float32))),
            r"vector 0 \(of '77 in version 1'\) has norm 2\.8284; normalise",
        ),
        (
            lambda folder, chunks: store_updates.replace(
                folder, chunks(7, vectors_ND=np.full((1, DIM), np.nan, np.float32))
            ),
            r"vector 0 \(of '7 in version 1'\) holds NaN",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line_and_changes_nothing(change, message: str, tmp_path: Path) -> None:
    _, store = built("Flat")
    folder = tmp_path / "store"
    store.save(folder, extra_files=EXTRA, meta={})

    def chunks(chunk_id: int, **fields: object) -> Chunks:
        made = chunks_of({chunk_id: 1}, [chunk_id])
        known = {name: getattr(made, name) for name in made.__dataclass_fields__}
        if "label_bits_G" in fields:
            known["groups_N"] = np.zeros(1, dtype=np.int64)
        return Chunks(**{**known, **fields})

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match=message) as caught:
        change(folder, chunks)
    assert str(caught.value).startswith(f"{folder}: ")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_the_dataset_of_a_changed_store_is_its_live_chunks(tmp_path: Path) -> None:
    model, store = built("Flat", 6)
    store.save(tmp_path / "store", extra_files={}, meta={})
    model |= {2: 1, 9: 1}
    del model[4]
    store_updates.add(tmp_path / "store", chunks_of(model, [9]))
    store_updates.delete(tmp_path / "store", np.array([4]))
    store_updates.replace(tmp_path / "store", chunks_of(model, [2]))
    dataset = to_dataset(tmp_path / "store")
    assert dict(zip(dataset["id"], dataset["text"], strict=True)) == {
        chunk_id: f"{chunk_id} in version {version}" for chunk_id, version in model.items()
    }


def test_a_second_writer_is_told_or_waits_and_readers_are_not_held_up(tmp_path: Path) -> None:
    model, store = built("Flat")
    folder = tmp_path / "store"
    store.save(folder, extra_files=EXTRA, meta={})
    with locked(folder, 1.0):
        with pytest.raises(UserError, match=r"store\.lock: another process is writing store; try again"):
            store_updates.delete(folder, np.array([1]), lock_seconds=0.0)
        check(ChunkStore.open(folder), model, "Flat")
        waiting = threading.Thread(target=store_updates.delete, args=(folder, np.array([1])))
        waiting.start()
    waiting.join()
    del model[1]
    check(ChunkStore.open(folder), model, "Flat")
    assert {path.name for path in tmp_path.iterdir()} == {"store"}


def test_a_reader_keeps_its_generation_when_the_files_are_gone(tmp_path: Path) -> None:
    model, store = built("SQ8")
    folder = tmp_path / "store"
    store.save(folder, extra_files=EXTRA, meta={})
    opened = ChunkStore.open(folder)
    store_updates.delete(folder, np.array([1]))
    store_updates.compact(folder)
    check(opened, model, "SQ8")
    assert np.abs(np.linalg.norm(opened.segments[0].chunks.vectors_ND, axis=1) - 1).max() < 1e-6


def test_nothing_is_changed_by_changes_of_nothing(tmp_path: Path) -> None:
    _, store = built("Flat")
    folder = tmp_path / "store"
    store.save(folder, extra_files={}, meta={})
    for after in (
        store_updates.add(folder, chunks_of({}, [])),
        store_updates.delete(folder, np.array([], dtype=np.int64)),
        store_updates.replace(folder, chunks_of({}, [])),
        store_updates.compact(folder),
    ):
        assert after.generation == 0
    assert verify_sealed(folder)["generation"] == 0


def test_an_emptied_store_answers_nothing_and_can_be_filled_again(tmp_path: Path) -> None:
    model, store = built("HNSW8")
    folder = tmp_path / "store"
    store.save(folder, extra_files=EXTRA, meta={})
    store_updates.delete(folder, np.array(list(model)))
    check(ChunkStore.open(folder), {}, "HNSW8")
    with pytest.raises(Refused, match="every chunk was deleted"):
        store_updates.compact(folder)
    again = {5: 2, 90: 1}
    store_updates.add(folder, chunks_of(again, [5, 90]))
    check(ChunkStore.open(folder), again, "HNSW8")
    check(store_updates.compact(folder), again, "HNSW8")
    check_ledger(folder, ChunkStore.open(folder))
