"""Whatever happens to the bytes of a store, its reader says so and names the file."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval import store_updates
from retrieval.chunk_store import ChunkStore
from retrieval.chunks import Chunks
from retrieval.errors import UserError
from retrieval.sealed_folder import MANIFEST, manifest_bytes, read_manifest, strangers, verify_sealed, write_sealed
from retrieval.vector_index import IndexSpec

DIM = 8


def make_chunks(ids: range) -> Chunks:
    rng = np.random.default_rng(ids.start)
    vectors = rng.standard_normal((len(ids), DIM)).astype(np.float32)
    return Chunks(
        ids_N=np.array(ids),
        vectors_ND=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        labels_N=rng.integers(0, 8, len(ids)),
        groups_N=np.sort(rng.integers(0, 2, len(ids))),
        label_bits_G=(3, 4),
        texts=[f"text {number}" for number in ids],
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of every kind of file: two segments, tombstones, a file beside them."""
    folder = tmp_path_factory.mktemp("whole") / "store"
    store = ChunkStore.build(make_chunks(range(60)), IndexSpec(factory="SQ8"))
    store.save(folder, extra_files={"beside.bin": b"beside"}, meta={"x": 1})
    store_updates.add(folder, make_chunks(range(100, 110)))
    store_updates.delete(folder, np.array([3, 104]))
    assert len(list(folder.iterdir())) == 13
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "store")
    return tmp_path / "store"


def refused(folder: Path, named: str) -> None:
    """Both readers say in one line what is wrong with which file."""
    for read in (ChunkStore.open, verify_sealed):
        with pytest.raises(UserError) as caught:
            read(folder)
        message = str(caught.value)
        assert str(folder / named) in message and "\n" not in message, message


def flip_bytes(folder: Path, flips: int) -> None:
    """Flip bits of one byte at a time, at places spread over every file from its first byte to its last."""
    files = sorted(folder.iterdir())
    for number, path in enumerate(files):
        content = path.read_bytes()
        share = flips // len(files) + (number < flips % len(files))
        for turn, place in enumerate(np.linspace(0, len(content) - 1, share).astype(int).tolist()):
            damaged = bytearray(content)
            damaged[place] ^= 1 + (turn * 37) % 255
            path.write_bytes(damaged)
            with pytest.raises(UserError) as caught:
                ChunkStore.open(folder)
            assert str(path) in str(caught.value), f"byte {place} of {path.name}: {caught.value}"
        path.write_bytes(content)
    ChunkStore.open(folder)


def test_a_flipped_byte_in_any_file_is_found_and_the_file_named(folder: Path) -> None:
    flip_bytes(folder, 130)


@pytest.mark.slow
def test_a_thousand_flipped_bytes_are_all_found(folder: Path) -> None:
    flip_bytes(folder, 1000)


def test_a_shorter_longer_or_missing_file_is_named(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for changed in (content[:-1], content[: len(content) // 2], b"", content + b"\0"):
            path.write_bytes(changed)
            refused(folder, path.name)
        path.unlink()
        with pytest.raises(UserError, match=path.name):
            ChunkStore.open(folder)
        path.write_bytes(content)
    ChunkStore.open(folder)


def test_a_file_in_the_place_of_another_is_named(folder: Path) -> None:
    for one, other in (("ids.npy", "ids-00000001.npy"), ("index.faiss", "vectors.npy")):
        content = (folder / one).read_bytes()
        (folder / one).write_bytes((folder / other).read_bytes())
        refused(folder, one)
        (folder / one).write_bytes(content)


@pytest.mark.parametrize("name", ["notes.txt", "index-00000009.faiss", "index-00000001.bin", ".hidden", "lock"])
def test_a_foreign_file_hinders_nobody_and_survives_a_writer(folder: Path, name: str) -> None:
    (folder / name).write_text("mine")
    ChunkStore.open(folder)
    store_updates.delete(folder, np.array([5]))
    assert (folder / name).read_text() == "mine"
    assert strangers(folder, read_manifest(folder)) == [name]


def with_files(change: Callable[[dict], dict]) -> Callable[[Path], bytes]:
    """A manifest whose own hash is right, and which lists other files."""

    def forged(folder: Path) -> bytes:
        manifest = read_manifest(folder)
        kept = {name: manifest[name] for name in ("kind", "meta", "generation", "replaced")}
        honest = manifest_bytes(manifest["files"], **kept)
        assert honest == (folder / MANIFEST).read_bytes()
        return reseal(manifest | {"files": change(manifest["files"])})

    return forged


def reseal(manifest: dict) -> bytes:
    from retrieval import sealed_folder

    unsigned = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    return sealed_folder._render({**unsigned, "manifest_sha256": sealed_folder._self_hash(unsigned)})


OUTSIDE = {"bytes": 4, "sha256": "0" * 64}


@pytest.mark.parametrize(
    "forged",
    [
        with_files(lambda files: {**files, "../beside.bin": OUTSIDE}),
        with_files(lambda files: {**files, "/etc/hostname": OUTSIDE}),
        with_files(lambda files: {**files, "..": OUTSIDE}),
        lambda folder: reseal(read_manifest(folder) | {"replaced": ["../beside.bin"]}),
        lambda folder: reseal(read_manifest(folder) | {"schema_version": 99}),
        lambda folder: reseal({"name": "of another program", "schema_version": 2}),
        lambda folder: b'{"manifest_version": 3, "name": "of a browser"}',
        lambda folder: b"\x80\x04.",
        lambda folder: b"[]",
    ],
)
def test_a_forged_or_foreign_manifest_is_named_and_nothing_outside_is_touched(
    folder: Path, forged: Callable[[Path], bytes]
) -> None:
    (folder.parent / "beside.bin").write_bytes(b"mine")
    (folder / MANIFEST).write_bytes(forged(folder))
    refused(folder, MANIFEST)
    with pytest.raises(UserError, match=MANIFEST):
        store_updates.delete(folder, np.array([5]))
    assert (folder.parent / "beside.bin").read_bytes() == b"mine"


def test_another_kind_of_store_is_named(tmp_path: Path) -> None:
    write_sealed(tmp_path / "ffn", {"weights.bin": b"1"}, kind="ffn", meta={})
    for use in (ChunkStore.open, store_updates.compact):
        with pytest.raises(UserError, match="ffn: is a ffn, not a chunk-store"):
            use(tmp_path / "ffn")


def test_a_manifest_that_describes_no_chunks_is_named(folder: Path) -> None:
    manifest = read_manifest(folder)
    own = manifest["meta"]["store"]
    for meta in ({}, {"store": None}, {"store": {**own, "index": {"colour": 3}}}, {"store": {**own, "segments": [{}]}}):
        (folder / MANIFEST).write_bytes(reseal(manifest | {"meta": meta}))
        with pytest.raises(UserError, match=r"manifest\.json: describes no chunk store"):
            ChunkStore.open(folder)


@pytest.mark.parametrize("content", [b"", b"\x07\0\0", b"\x05\0\0\0\x03\0\0\0", b"\x05\0\0\0\x05\0\0\0", b"\xff" * 8])
def test_tombstones_that_name_other_chunks_than_two_are_refused(folder: Path, content: bytes) -> None:
    """Sealed by every hash, and still not what the manifest says of them."""
    manifest = read_manifest(folder)
    name = "tombstones-00000002.bin"
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST}
    kept = {field: manifest[field] for field in ("kind", "meta", "generation", "replaced")}
    write_sealed(folder, {**files, name: content}, **kept)
    with pytest.raises(UserError, match=name):
        ChunkStore.open(folder)
