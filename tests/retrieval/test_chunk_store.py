import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from retrieval import store_changes
from retrieval.chunk_store import ChunkStore
from retrieval.chunks import Chunks, EncoderId
from retrieval.errors import Refused, UserError
from retrieval.sealed_folder import read_manifest, write_sealed
from retrieval.self_test import SelfTest, self_test
from retrieval.store_dataset import to_dataset
from retrieval.vector_index import IndexSpec, VectorIndex

DIM = 16
LABEL_BITS = (3, 0, 9, 5)  # group 1 has one candidate; group 3 has no chunk
EXTRA = {"calibration.bin": b"\x00\x3c\x00\x04"}
META = {"seed": 3, "encoder": "none"}
SPECS = [
    IndexSpec(),
    IndexSpec(factory="SQ8"),
    IndexSpec(factory="PQ4x4fs"),
    IndexSpec(factory="IVF4,Flat", nprobe=2),
    IndexSpec(factory="HNSW8", ef_search=20),
    IndexSpec(factory="LSH", rotate_to=32, rotation_seed=5),
    IndexSpec(factory="LSH", rotate_to=32, rotation_seed=5, bandwidth=3.0),
]


def unit(num: int, seed: int = 0) -> ndarray:
    vectors = np.random.default_rng(seed).standard_normal((num, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_chunks(num: int = 200, *, single_group: bool = False, texts: bool = True) -> Chunks:
    rng = np.random.default_rng(0)
    groups = np.zeros(num, dtype=np.int64) if single_group else np.sort(rng.integers(0, 3, num))
    bits = LABEL_BITS[:1] if single_group else LABEL_BITS
    return Chunks(
        ids_N=rng.permutation(num) + 2**62,
        vectors_ND=unit(num),
        labels_N=rng.integers(0, 2 ** np.array(bits)[groups]),
        groups_N=groups,
        label_bits_G=bits,
        texts=[f"Straße {position}" for position in range(num)] if texts else None,
    )


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ChunkStore.build(make_chunks(), IndexSpec()).save(tmp_path / "store", extra_files=EXTRA, meta=META)
    return tmp_path / "store"


@pytest.mark.parametrize("single_group", [True, False])
@pytest.mark.parametrize("texts", [True, False])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.label)
def test_a_reopened_store_answers_like_the_saved_one_and_weighs_what_was_said(
    tmp_path: Path, spec: IndexSpec, single_group: bool, texts: bool
) -> None:
    store = ChunkStore.build(make_chunks(single_group=single_group, texts=texts), spec)
    store.save(tmp_path / "store", extra_files=EXTRA, meta=META)
    opened = ChunkStore.open(tmp_path / "store")
    for group in (None, 0, 1, 3):
        for found, expected in zip(
            opened.search(unit(30, 1), 4, group), store.search(unit(30, 1), 4, group), strict=True
        ):
            np.testing.assert_array_equal(found, expected)
    for name in ("ids_N", "labels_N", "groups_N", "vectors_ND"):
        np.testing.assert_array_equal(getattr(opened.segments[0].chunks, name), getattr(store.segments[0].chunks, name))
    assert opened.spec == spec
    assert (opened.segments[0].chunks.texts is None) is not texts
    if texts:
        assert list(opened.segments[0].chunks.texts or ()) == list(store.segments[0].chunks.texts or ())
        laid = opened.segments[0].chunks
        number = {int(chunk_id): row for row, chunk_id in enumerate(make_chunks(single_group=single_group).ids_N)}
        assert laid.texts is not None
        assert laid.texts[1:3] == [f"Straße {number[int(chunk_id)]}" for chunk_id in laid.ids_N[1:3]]
    for known in (store, opened):
        parts = (
            sum(known.file_bytes.values()),
            sum(len(content) for content in known.maintain_files().values()),
            len(known.manifest_bytes(extra_files=EXTRA, meta=META)),
            sum(len(content) for content in EXTRA.values()),
        )
        assert sum(parts) == folder_bytes(tmp_path / "store")
    assert {name: (tmp_path / "store" / name).stat().st_size for name in store.file_bytes} == store.file_bytes


def test_a_payload_takes_the_bits_of_its_labels_and_the_counts_of_its_groups() -> None:
    chunks = make_chunks()
    in_group = np.bincount(chunks.groups_N, minlength=4)
    payload = ChunkStore.build(chunks, IndexSpec()).file_bytes["payload.bin"]
    assert payload == 4 * 4 + sum(-(-in_group[group] * bits // 8) for group, bits in enumerate(LABEL_BITS))
    alone = ChunkStore.build(make_chunks(single_group=True), IndexSpec()).file_bytes["payload.bin"]
    assert alone == 200 * 3 // 8


def test_a_store_finds_its_chunks_within_their_group() -> None:
    chunks = make_chunks()
    store = ChunkStore.build(chunks, IndexSpec())
    for group in range(3):
        members = np.flatnonzero(chunks.groups_N == group)
        positions, similarities = store.search(chunks.vectors_ND[members], 1, group)
        np.testing.assert_array_equal(positions[:, 0], members)
        np.testing.assert_allclose(similarities, 1, atol=1e-6)
        np.testing.assert_array_equal(store.labels_N[positions[:, 0]], chunks.labels_N[members])
        np.testing.assert_array_equal(store.ids_N[positions[:, 0]], chunks.ids_N[members])


def test_meta_and_extra_files_come_back(folder: Path) -> None:
    assert read_manifest(folder)["meta"]["extra"] == META
    assert (folder / "calibration.bin").read_bytes() == EXTRA["calibration.bin"]


@pytest.mark.parametrize(
    "name",
    ["index.faiss", "payload.bin", "ids.npy", "vectors.npy", "chunks.arrow", "manifest.json", "calibration.bin"],
)
def test_a_damaged_file_is_named(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0x10
    for damaged in (bytes(flipped), content[:-1], content + b"x", b""):
        (folder / name).write_bytes(damaged)
        with pytest.raises(UserError, match=name):
            ChunkStore.open(folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match=name):
        ChunkStore.open(folder)


def test_a_foreign_manifest_is_refused(folder: Path, tmp_path: Path) -> None:
    write_sealed(tmp_path / "other", {}, kind="ffn", meta={})
    with pytest.raises(UserError, match="is a ffn, not a chunk-store"):
        ChunkStore.open(tmp_path / "other")
    smaller = ChunkStore.build(make_chunks(100), IndexSpec())
    (folder / "manifest.json").write_bytes(smaller.manifest_bytes(extra_files=EXTRA, meta=META))
    with pytest.raises(UserError, match="bytes where the manifest says"):
        ChunkStore.open(folder)
    (folder / "manifest.json").write_text(json.dumps({"manifest_version": 3, "name": "a browser's"}))
    with pytest.raises(UserError, match="manifest of something else"):
        ChunkStore.open(folder)


@pytest.mark.parametrize("name", ["index.faiss", "payload.bin", "ids.npy", "vectors.npy", "chunks.arrow"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"x" * 300])
def test_sealed_nonsense_is_named_and_never_unpickled(folder: Path, name: str, content: bytes) -> None:
    """Whole by every hash, and still not what its name says: somebody else's program wrote it."""
    meta = read_manifest(folder)["meta"]
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}
    write_sealed(folder, {**files, name: content}, kind="chunk-store", meta=meta)
    with pytest.raises(UserError, match=name):
        ChunkStore.open(folder)


def test_pickled_arrays_are_refused(folder: Path) -> None:
    meta = read_manifest(folder)["meta"]
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}
    np.save(folder / "ids.npy", np.array([print] * 200, dtype=object), allow_pickle=True)
    pickled = {**files, "ids.npy": (folder / "ids.npy").read_bytes()}
    write_sealed(folder, pickled, kind="chunk-store", meta=meta)
    with pytest.raises(UserError, match=r"ids\.npy: Object arrays cannot be loaded"):
        ChunkStore.open(folder)


def test_without_verification_sizes_are_still_compared(folder: Path) -> None:
    with (folder / "vectors.npy").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x00")
    assert len(ChunkStore.open(folder, verify=False).ids_N) == 200
    (folder / "vectors.npy").write_bytes(b"")
    with pytest.raises(UserError, match=r"vectors\.npy: has 0 bytes"):
        ChunkStore.open(folder, verify=False)


def test_a_store_replaces_itself_while_it_is_open(folder: Path) -> None:
    opened = ChunkStore.open(folder)
    opened.save(folder, extra_files=EXTRA, meta=META)
    assert list(ChunkStore.open(folder).segments[0].chunks.texts or ()) == list(opened.segments[0].chunks.texts or ())


def test_the_dataset_is_the_chunks_and_litters_nothing(folder: Path) -> None:
    from datasets import Dataset

    chunks = make_chunks()
    ours, theirs = to_dataset(folder), Dataset.from_file(str(folder / "chunks.arrow"))
    assert ours.column_names == theirs.column_names == ["id", "text", "group", "label"]
    for dataset in (ours, theirs):
        assert list(dataset["text"]) == chunks.texts
        assert list(dataset["id"]) == chunks.ids_N.tolist()
        assert list(dataset["group"]) == chunks.groups_N.tolist()
        assert list(dataset["label"]) == chunks.labels_N.tolist()
    longer = ours.map(lambda row: {"length": len(row["text"])})
    assert longer[10]["length"] == len("Straße 10")
    ChunkStore.open(folder)


def test_a_store_without_texts_makes_no_dataset(tmp_path: Path) -> None:
    store = ChunkStore.build(make_chunks(texts=False), IndexSpec())
    store.save(tmp_path / "store", extra_files={}, meta={})
    with pytest.raises(UserError, match="holds vectors without texts"):
        to_dataset(tmp_path / "store")
    with pytest.raises(UserError, match="is no retromem store"):
        to_dataset(tmp_path / "nowhere")


def test_refusals_pass_through(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="PQ4np cannot be built from 200 vectors"):
        ChunkStore.build(make_chunks(), IndexSpec(factory="PQ4np"))
    with pytest.raises(UserError, match="index 'Flatt'"):
        ChunkStore.build(make_chunks(), IndexSpec(factory="Flatt"))


def test_chunks_must_be_consistent() -> None:
    good = make_chunks(3, single_group=True)
    fields = {name: getattr(good, name) for name in good.__dataclass_fields__}
    for changes, message in [
        ({"groups_N": np.array([0, 1, 0]), "label_bits_G": (3, 3)}, "sorted by group"),
        ({"named_labels_G": (4,)}, "bits that hold the labels, and no more"),
    ]:
        with pytest.raises(AssertionError, match=message):
            Chunks(**{**fields, **changes})
    for changes, message in [
        ({"ids_N": np.array([1, 2])}, "^chunk ids: 2 for 3 vectors"),
        ({"labels_N": np.array([1, 2, 3, 4])}, "^chunk labels: 4 for 3 vectors"),
        ({"groups_N": np.array([0])}, "^chunk groups: 1 for 3 vectors"),
        ({"texts": ["one"]}, "^chunk texts: 1 for 3 vectors"),
        ({"places": ["here"]}, "^chunk places: 1 for 3 vectors"),
        ({"groups_N": np.array([0, 0, 1])}, "is of group 1, and label_bits_G names 1 groups"),
        ({"groups_N": np.array([-1, 0, 0])}, "is of group -1, and label_bits_G names 1 groups"),
        ({"named_labels_G": (5, 8)}, "named_labels_G has 2 and label_bits_G 1"),
    ]:
        with pytest.raises(UserError, match=message):
            Chunks(**{**fields, **changes})
    for ids, message in [([1, 2, 2], "chunk id 2 comes twice"), ([1, 2, -1], "chunk id -1 is negative")]:
        with pytest.raises(UserError, match=message):
            Chunks(**{**fields, "ids_N": np.array(ids)})
    for label in (-1, 5, 7):
        with pytest.raises(UserError, match=f"chunk id 9 has label {label}, and its group 5 labels, from 0"):
            Chunks(
                **{**fields, "ids_N": np.array([7, 8, 9]), "labels_N": np.array([0, 4, label]), "named_labels_G": (5,)}
            )


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.uint64])
def test_ids_and_labels_may_be_any_whole_numbers(dtype: type) -> None:
    good = make_chunks(3, single_group=True)
    given = {"ids_N": np.array([7, 0, 200 % np.iinfo(dtype).max], dtype), "labels_N": np.array([3, 0, 7], dtype)}
    chunks = replace(good, **given)
    for name, numbers in given.items():
        assert getattr(chunks, name).dtype == np.int64 and getattr(chunks, name).tolist() == numbers.tolist()
    assert replace(good, ids_N=np.array([2**63 - 1, 1, 2], np.uint64)).ids_N.max() == 2**63 - 1


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.array([1.0, 2.0, 3.0]), "are float64; give whole numbers"),
        (np.array([True, False, True]), "are bool; give whole numbers"),
        (np.array([1, 2, 2**70], dtype=object), "are object; give whole numbers"),
        (np.array(["1", "2", "3"]), "are <U1; give whole numbers"),
        (np.array([1, 2, 2**63], dtype=np.uint64), "go to 9223372036854775808; the largest is 9223372036854775807"),
        (np.array([[1], [2], [3]]), r"have shape \(3, 1\); give one in a row for each chunk"),
    ],
)
def test_what_would_be_rounded_or_is_no_number_is_refused(ids: ndarray, message: str) -> None:
    good = make_chunks(3, single_group=True)
    with pytest.raises(UserError, match=f"^chunk ids {message}"):
        replace(good, ids_N=ids)
    with pytest.raises(UserError, match=f"^chunk ids {message}"):
        store_changes.deleted(ChunkStore.build(good, IndexSpec()), ids)
    with pytest.raises(UserError, match=f"^chunk labels {message}"):
        replace(good, labels_N=ids)


def test_an_extra_file_cannot_take_a_name_of_the_store(tmp_path: Path) -> None:
    store = ChunkStore.build(make_chunks(), IndexSpec())
    with pytest.raises(AssertionError, match="extra file"):
        store.save(tmp_path / "store", extra_files={"ids.npy": b""}, meta={})


def test_verifying_a_store_needs_neither_numpy_nor_anything_built_on_it(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from retrieval.sealed_folder import verify_sealed\n"
        "verify_sealed(Path(sys.argv[1]), 'chunk-store')\n"
        "assert not {'numpy', 'torch', 'faiss', 'pyarrow', 'datasets'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True)


def test_the_manifest_says_what_the_store_was_made_from(tmp_path: Path) -> None:
    encoder = EncoderId(name="mini", revision="abc")
    for spec, metric in ((IndexSpec(), "inner product"), (SPECS[-1], "hamming")):
        store = ChunkStore.build(make_chunks(), spec, encoder)
        store.save(tmp_path / "store", extra_files={}, meta={})
        own = read_manifest(tmp_path / "store")["meta"]["store"]
        assert own["segments"][0]["versions"].keys() == {"constriction", "faiss", "numpy", "retromem"}
        assert own["metric"] == metric
        assert own["encoder"] == {"name": "mini", "revision": "abc"}
        assert (own["num_chunks"], own["dim"], own["index"]["factory"]) == (200, DIM, spec.factory)
        test = own["segments"][0]["self_test"]
        assert test["sampled"] == 200
        assert test["recall_at_1"] == round(test["found"] / 200, 4) > 0.9
        assert ChunkStore.open(tmp_path / "store").encoder == store.encoder


def test_every_input_changes_the_fingerprint() -> None:
    whole, encoder = make_chunks(30), EncoderId(name="mini", revision="abc")
    chunks = replace(whole, labels_N=np.zeros(30, dtype=np.int64))
    vectors = chunks.vectors_ND.copy()
    vectors[7, 3] += 1e-4
    texts = list(chunks.texts or ())
    moved = [texts[0] + texts[1][:1], texts[1][1:], *texts[2:]]  # the same characters, otherwise divided
    labels = chunks.labels_N.copy()
    labels[-1] += 1
    known = {
        "as it was": chunks.fingerprint(IndexSpec(), encoder),
        "index": chunks.fingerprint(IndexSpec(factory="SQ8"), encoder),
        "encoder": chunks.fingerprint(IndexSpec(), None),
        "revision": chunks.fingerprint(IndexSpec(), EncoderId(name="mini", revision="abd")),
    }
    for name, value in {
        "vectors_ND": vectors,
        "texts": moved,
        "labels_N": labels,
        "ids_N": chunks.ids_N[::-1].copy(),
        "groups_N": np.zeros(30, dtype=np.int64),
        "label_bits_G": (4, 0, 9, 5),
        "named_labels_G": (8, 1, 512, 31),
        "places": [f"a.txt {row}" for row in range(30)],
    }.items():
        known[name] = replace(chunks, **{name: value}).fingerprint(IndexSpec(), encoder)
    assert len(set(known.values())) == len(known)
    assert whole.fingerprint(IndexSpec(), encoder) == make_chunks(30).fingerprint(IndexSpec(), encoder)


def test_the_self_test_counts_what_an_index_does_not_find() -> None:
    vectors = unit(400)
    index = VectorIndex(IndexSpec(), DIM)
    index.add(vectors)
    assert self_test(vectors, index) == SelfTest(sampled=200, found=200)
    assert self_test(np.roll(vectors, 1, axis=0), index).found == 0  # its answers are other vectors than were asked for
    twins = np.ascontiguousarray(np.repeat(unit(20), 3, axis=0))
    index = VectorIndex(IndexSpec(), DIM)
    index.add(twins)
    assert self_test(twins, index) == SelfTest(sampled=60, found=60)  # a twin is as near


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.label)
def test_an_opened_index_is_mapped_and_outlives_its_file(tmp_path: Path, spec: IndexSpec) -> None:
    store = ChunkStore.build(make_chunks(), spec)
    store.save(tmp_path / "store", extra_files={}, meta={})
    opened = ChunkStore.open(tmp_path / "store", verify=False)
    if "x4fs" not in spec.factory and "sorted_codes.bin" not in store.file_bytes:  # made anew as they are read
        maps = Path("/proc/self/maps").read_text()
        assert str(tmp_path / "store" / "index.faiss") in maps
    assert opened.segments[0].index.storage() == store.segments[0].index.storage()
    for path in (tmp_path / "store").iterdir():
        path.unlink()  # what a writer of the next generation does while we still read
    for found, expected in zip(opened.search(unit(30, 1), 4), store.search(unit(30, 1), 4), strict=True):
        np.testing.assert_array_equal(found, expected)
