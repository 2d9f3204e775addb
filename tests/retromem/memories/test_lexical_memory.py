"""A lexical memory's texts come back as they were, whatever ends a line elsewhere."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.chunks import npy_bytes
from retrieval.errors import Refused
from retrieval.lexical_index import LexicalIndex, LexicalSpec
from retrieval.payload import count_labels, pack_payload, payload_note
from retrieval.sealed_folder import read_manifest, write_sealed
from retromem.measure.robustness import Perturbable
from retromem.memories.lexical_memory import LexicalMemory, LexicalMemoryConfig
from retromem.seam import Facts, Holding, Part


def test_a_carriage_return_in_a_text_ends_none(colours: Any, tmp_path: Path) -> None:
    facts = colours(5, ["red", "green"]).facts()
    texts = [f"thing{row}\r\u2028of red" for row in range(5)]
    memory = LexicalMemoryConfig().build(seed=0)
    memory.write(replace(facts, cues=(replace(facts.cues[0], texts=texts),)))
    memory.save(tmp_path / "store")
    loaded = LexicalMemory.load(tmp_path / "store")
    assert loaded._texts == texts
    assert loaded.footprint() == memory.footprint()


def sorted_by_relation(toys: Facts, key_by: str) -> tuple[list[str], list[int], np.ndarray, np.ndarray]:
    """Texts, facts by row, relations and ids of the chunks, as the index has them."""
    assert toys.statements is not None
    sources = list(toys.cues) if key_by == "question" else [toys.statements]
    every = [
        (int(relation), wording, fact, (source.texts or ())[fact])
        for wording, source in enumerate(sources)
        for fact, relation in enumerate(source.relation_ids_Q)
    ]
    every.sort(key=lambda chunk: chunk[:3])
    ids = np.array([int(toys.ids_N[fact]) + wording for _, wording, fact, _ in every])
    return [chunk[3] for chunk in every], [chunk[2] for chunk in every], np.array([chunk[0] for chunk in every]), ids


@pytest.mark.parametrize("key_by", ["question", "statement"])
def test_the_best_text_of_the_relation_speaks(toys: Facts, key_by: Any) -> None:
    memory = LexicalMemoryConfig(key_by=key_by, method="robertson", k1=0.7, b=0.3).build(seed=0)
    memory.write(toys)
    texts, facts, relations_N, _ = sorted_by_relation(toys, key_by)
    index = LexicalIndex.build(texts, LexicalSpec(method="robertson", k1=0.7, b=0.3))
    asked = toys.calibration.queries
    words = [f"{text} {'blue' if row % 3 else 'large'}" for row, text in enumerate(asked.texts or ())]
    words[4] = "unheard of"  # shares no word with anything
    recall = memory.recall(replace(asked, texts=words), top_k=2)
    assert recall.fact_ids_QK is not None
    for row, relation in enumerate(asked.relation_ids_Q.tolist()):
        own = np.flatnonzero(relations_N == relation)
        best = int(index.search([words[row]], 1, range(own[0], own[-1] + 1))[0][0, 0])
        value, fact = (toys.value_ids_N[facts[best]], toys.ids_N[facts[best]]) if best >= 0 else (-1, -1)
        assert (best < 0) == (row == 4)
        assert recall.value_ids_QK[row].tolist() == [value, -1]
        assert recall.fact_ids_QK[row].tolist() == [fact, -1]
        assert recall.log_probs_QK[row].tolist() == [0.0 if best >= 0 else -np.inf, -np.inf]


@pytest.mark.parametrize(("key_by", "num_chunks"), [("question", 22), ("statement", 11)])
def test_every_line_of_a_lexical_ledger(toys: Facts, tmp_path: Path, key_by: Any, num_chunks: int) -> None:
    memory = LexicalMemoryConfig(key_by=key_by).build(seed=0)
    cost = memory.write(toys)
    assert cost.seconds > 0 and np.isnan(cost.flops)
    assert (cost.texts_encoded, cost.exposures, cost.optimizer_steps) == (0, num_chunks / 11, 0)
    memory.calibration = b"TETE"
    memory.save(tmp_path / "words")
    content = {file.name: file.read_bytes() for file in (tmp_path / "words").iterdir()}
    texts, facts, relations_N, ids_N = sorted_by_relation(toys, key_by)
    index = LexicalIndex.build(texts, LexicalSpec())
    first_of = np.array([0, 3])  # of the colours, of the sizes
    labels_N = toys.value_ids_N[facts] - first_of[relations_N]
    assert content["lexical.npz"] == index.storage()
    counts_R = count_labels(labels_N, relations_N, [3, 5])
    payload = pack_payload(labels_N, relations_N, [2, 3], counts_R)
    assert content["payload.bin"] == payload.content
    assert payload_note(payload, counts_R).items() <= read_manifest(tmp_path / "words")["meta"].items()
    assert content["ids.npy"] == npy_bytes(ids_N)
    assert content["texts.txt"].decode().split("\n") == texts
    parts = {
        "values.json.zlib": Part.VALUE,
        "calibration.bin": Part.STORAGE,
        "lexical.npz": Part.STORAGE,
        "payload.bin": Part.STORAGE,
        "ids.npy": Part.MAINTAIN,
        "texts.txt": Part.MAINTAIN,
        "manifest.json": Part.MAINTAIN,
    }
    assert memory.footprint().holdings == (
        *(Holding(name=name, part=part, num_bytes=len(content[name])) for name, part in parts.items()),
        Holding(name="from a seed", part=Part.SEEDED, num_bytes=0),
    )
    assert memory.footprint().resident_bytes == index.resident_bytes + 8 * num_chunks
    loaded = LexicalMemory.load(tmp_path / "words")
    assert (loaded.config, loaded.calibration, loaded.side) == (memory.config, b"TETE", "retrieval")
    assert loaded.footprint() == memory.footprint()
    one, two = (of.recall(toys.cues[0], top_k=3) for of in (memory, loaded))
    assert one.value_ids_QK.tolist() == two.value_ids_QK.tolist()
    assert one.fact_ids_QK is not None and two.fact_ids_QK is not None
    assert one.fact_ids_QK.tolist() == two.fact_ids_QK.tolist()
    assert not isinstance(memory, Perturbable), "it is compressed: one flipped bit and it cannot be read"


def test_a_lexical_memory_that_says_nothing_of_its_payload_has_fixed_bits(toys: Facts, tmp_path: Path) -> None:
    memory = LexicalMemoryConfig().build(seed=0)
    memory.write(toys)
    memory._counts_R = None
    memory.save(tmp_path / "words")
    manifest = read_manifest(tmp_path / "words")
    files = {name: (tmp_path / "words" / name).read_bytes() for name in manifest["files"]}
    assert manifest["meta"].pop("payload") == "fixed" and "label_counts" not in manifest["meta"]
    assert files["payload.bin"] == pack_payload(memory._labels_N, memory._groups_N, [2, 3]).content
    write_sealed(tmp_path / "before", files, kind="lexical", meta=manifest["meta"])
    loaded = LexicalMemory.load(tmp_path / "before")
    assert loaded._labels_N.tolist() == memory._labels_N.tolist()
    assert loaded._groups_N.tolist() == memory._groups_N.tolist()


def test_names_of_lexical_memories(toys: Facts) -> None:
    for config, name, stores in (
        ({}, "bm25-q", "questions"),
        ({"key_by": "statement", "k1": 0.9}, "bm25-s-k0.9", "statements"),
        ({"method": "atire", "b": 0.4}, "bm25-q-atire-b0.4", "questions"),
    ):
        made = LexicalMemoryConfig(**config)
        assert (made.name, made.family, made.stores) == (name, name[:6], stores)
        assert made.build(seed=0).name == name
    silent = replace(toys, cues=[replace(cue, texts=None) for cue in toys.cues])
    with pytest.raises(Refused, match="bm25-q needs texts, and these facts are vectors alone"):
        LexicalMemoryConfig().build(seed=0).write(silent)
