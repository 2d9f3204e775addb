"""From facts to the chunks of a store, written out in full: five facts of two relations in two wordings."""

import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import UserError
from retrieval.vector_index import IndexSpec
from retromem.memories.store_memory import (
    build_store,
    checked_spec,
    chunks_of,
    extra_files,
    fact_ids_of_chunks,
    label_bits,
    open_store,
    store_footprint,
)
from retromem.seam import Asked, Facts, Holding, Part, Queries, ValueTable

# Two colours and five sizes; the facts are not sorted by relation.
VALUES = ValueTable(strings=("red", "tan", "s", "m", "l", "xl", "xxl"), relations=("colour", "size"), starts=(0, 2, 7))
RELATION_IDS_N = np.array([1, 0, 1, 1, 0])
VALUE_IDS_N = np.array([3, 1, 6, 2, 0])
IDS_N = np.array([48, 16, 160, 32, 80])


def queries(wording: str, seed: int) -> Queries:
    keys_ND = np.random.default_rng(seed).standard_normal((5, 4)).astype(np.float32)
    return Queries(
        texts=[f"{wording} {name}?" for name in "abcde"],
        keys_QD=keys_ND / np.linalg.norm(keys_ND, axis=1, keepdims=True),
        relation_ids_Q=RELATION_IDS_N,
        encoder_hash="made up",
    )


CUES = [queries("what of", 1), queries("tell of", 2)]
FACTS = Facts(
    ids_N=IDS_N,
    value_ids_N=VALUE_IDS_N,
    cues=CUES,
    statements=queries("so is", 3),
    calibration=Asked(
        queries=queries("say", 4),
        phrasing="calibrate",
        fact_ids_Q=IDS_N,
        value_ids_Q=VALUE_IDS_N,
        prior_Q=np.full(5, 0.2),
    ),
    values=VALUES,
)
# Where each chunk comes from: (wording, fact). By relation, then in the order in which they came.
ORDER = [(0, 1), (0, 4), (1, 1), (1, 4), (0, 0), (0, 2), (0, 3), (1, 0), (1, 2), (1, 3)]


@pytest.mark.parametrize("with_values", [True, False])
def test_chunks_of_two_wordings_are_sorted_by_relation_and_know_their_facts(with_values: bool) -> None:
    chunks = chunks_of(FACTS, CUES, with_values=with_values)
    assert chunks.ids_N.tolist() == [16, 80, 17, 81, 48, 160, 32, 49, 161, 33]  # the wording in the lowest bits
    assert chunks.groups_N.tolist() == [0] * 4 + [1] * 6
    # tan, red, tan, red; m, xxl, s, m, xxl, s: each counted from the first value of its relation.
    assert chunks.labels_N.tolist() == ([1, 0, 1, 0, 1, 4, 0, 1, 4, 0] if with_values else [0] * 10)
    assert list(chunks.label_bits_G) == ([1, 3] if with_values else [0, 0])
    assert list(chunks.named_labels_G) == ([2, 5] if with_values else [])
    assert chunks.texts is not None
    assert list(chunks.texts) == [(CUES[wording].texts or ())[fact] for wording, fact in ORDER]
    np.testing.assert_array_equal(chunks.vectors_ND, [CUES[wording].key_vectors()[fact] for wording, fact in ORDER])
    assert chunks.vectors_ND.flags.c_contiguous


def test_facts_without_texts_are_chunks_without_texts() -> None:
    cue = replace(CUES[0], texts=None)
    chunks = chunks_of(FACTS, [cue], with_values=True)
    assert chunks.texts is None and chunks.ids_N.tolist() == [16, 80, 48, 160, 32]


def test_bits_that_name_a_value() -> None:
    starts = (0, 1, 3, 6, 10, 15, 31, 48)  # 1, 2, 3, 4, 5, 16 and 17 values
    table = ValueTable(strings=None, relations=tuple("abcdefg"), starts=starts)
    assert label_bits(table) == [0, 1, 2, 2, 3, 4, 5]


def test_a_store_of_facts_notes_its_encoder_and_finds_its_facts() -> None:
    store = build_store(FACTS, CUES, IndexSpec(factory="Flat"), with_values=True, encoder_name="ours")
    assert store.encoder is not None and (store.encoder.name, store.encoder.revision) == ("ours", "made up")
    assert fact_ids_of_chunks(store).tolist() == [16, 80, 16, 80, 48, 160, 32, 48, 160, 32]
    positions_QK, _ = store.search(CUES[1].key_vectors()[[2, 0]], 1, 1)
    assert positions_QK[:, 0].tolist() == [8, 7]
    nameless = replace(FACTS.cues[0], encoder_hash="")
    assert build_store(FACTS, [nameless], IndexSpec(factory="Flat"), with_values=True).encoder is None


@pytest.mark.parametrize("is_read", [True, False])
@pytest.mark.parametrize("calibration", [b"", b"1234"])
def test_every_line_of_the_ledger_of_a_store(tmp_path: Path, is_read: bool, calibration: bytes) -> None:
    spec = IndexSpec(factory="Flat", rotate_to=8)
    store = build_store(FACTS, CUES, spec, with_values=True)
    files = {**extra_files(VALUES, calibration), "weights.bin": b"w" * 11, "words.bin": b"u" * 7}
    found = store_footprint(
        store, files, {"of": "toys"}, num_params={"weights.bin": 13}, seeded_bytes=1000, is_read=is_read
    )
    store.save(tmp_path / "store", extra_files=files, meta={"of": "toys"})
    on_disk = {file.name: file.stat().st_size for file in (tmp_path / "store").iterdir()}
    index = Part.STORAGE if is_read else Part.MAINTAIN
    parts = {
        "index.faiss": index,
        "payload.bin": index,
        "ids.npy": Part.MAINTAIN,
        "vectors.npy": Part.MAINTAIN,
        "chunks.arrow": Part.MAINTAIN,
        "values.json.zlib": Part.VALUE,
        **({"calibration.bin": Part.STORAGE} if calibration else {}),
        "weights.bin": Part.STORAGE,
        "words.bin": Part.STORAGE,
        "manifest.json": Part.MAINTAIN,
    }
    rotation = 8 * 4 * 8  # float64
    assert {holding.name: holding for holding in found.holdings} == {
        **{
            name: Holding(
                name=name,
                part=part,
                num_bytes=on_disk[name],
                num_params=13 if name == "weights.bin" else 0,
                num_active_params=13 if name == "weights.bin" else 0,
            )
            for name, part in parts.items()
        },
        "from a seed": Holding(name="from a seed", part=Part.SEEDED, num_bytes=1000 + rotation),
    }
    assert len(found.holdings) == len(on_disk) + 1
    # What answers is the index, a label of eight bytes for each chunk, the rotation; weights as float32, and codes.
    assert found.resident_bytes == on_disk["index.faiss"] + 10 * 8 + rotation + 4 * 13 + 1000


def test_files_beside_a_store() -> None:
    packed = zlib.compress(json.dumps(list(VALUES.strings or ())).encode(), 9)
    assert extra_files(VALUES, b"") == {"values.json.zlib": packed}
    assert extra_files(VALUES, b"TE", values_name="values-00000002.json.zlib") == {
        "values-00000002.json.zlib": packed,
        "calibration.bin": b"TE",
    }
    # One that came with a change is still the file of the values.
    store = build_store(FACTS, CUES, IndexSpec(factory="Flat"), with_values=True)
    found = store_footprint(store, {"values-00000002.json.zlib": packed, "valuesx.json.zlib": b"abc"}, {})
    assert found.num_bytes(Part.VALUE) == len(packed)
    assert found.num_params == found.num_active_params == 0


def test_an_index_is_checked_before_anything_is_built() -> None:
    checked_spec(IndexSpec(factory="SQ8"), 4)
    with pytest.raises(UserError, match="Flatt"):
        checked_spec(IndexSpec(factory="Flatt"), 4)


def test_a_store_of_another_memory_is_not_opened(tmp_path: Path) -> None:
    store = build_store(FACTS, CUES, IndexSpec(factory="Flat"), with_values=True)
    store.save(tmp_path / "store", extra_files={}, meta={"memory": "faiss", "seed": 3})
    opened, meta = open_store(tmp_path / "store", "faiss")
    assert meta == {"memory": "faiss", "seed": 3}
    assert opened.ids_N.tolist() == store.ids_N.tolist()
    with pytest.raises(UserError, match=r"store: holds a 'faiss' memory, not 'paired'"):
        open_store(tmp_path / "store", "paired")
