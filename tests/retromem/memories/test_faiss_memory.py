"""An index of facts beside brute force: in two wordings, in statements, with several chunks and flipped bits."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.chunk_store import ChunkStore
from retrieval.errors import UserError
from retrieval.segment import Segment
from retromem.memories.faiss_memory import FaissMemory, FaissMemoryConfig
from retromem.seam import Facts


def written(toys: Facts, **config: object) -> FaissMemory:
    memory = FaissMemoryConfig(**config).build(seed=0)
    memory.write(toys)
    return memory


@pytest.mark.parametrize("key_by", ["question", "statement"])
@pytest.mark.parametrize("chunks", [1, 4, 20])
def test_the_nearest_chunks_of_the_relation_speak_for_their_values(toys: Facts, key_by: str, chunks: int) -> None:
    memory = written(toys, key_by=key_by, chunks=chunks, temperature=0.4)
    asked = toys.calibration.queries
    recall = memory.recall(asked, top_k=3, score=np.tile(np.arange(8), (11, 1)))
    assert toys.statements is not None and recall.fact_ids_QK is not None
    sources = toys.cues if key_by == "question" else [toys.statements]
    keys_ND = np.concatenate([source.key_vectors() for source in sources]).astype(np.float64)
    relations_N = np.tile(asked.relation_ids_Q, len(sources))
    values_N, facts_N = np.tile(toys.value_ids_N, len(sources)), np.tile(toys.ids_N, len(sources))
    for row, (key_D, relation) in enumerate(zip(asked.key_vectors(), asked.relation_ids_Q, strict=True)):
        similarity_N = np.where(relations_N == relation, keys_ND @ key_D, -np.inf)
        nearest = [chunk for chunk in np.argsort(-similarity_N)[:chunks] if np.isfinite(similarity_N[chunk])]
        weight_K = np.exp(similarity_N[nearest] / 0.4)
        mass_V = np.bincount(values_N[nearest], weights=weight_K / weight_K.sum(), minlength=8)
        np.testing.assert_allclose(np.exp(recall.scored_QC[row]), mass_V, atol=1e-5)
        order = [value for value in np.argsort(-mass_V).tolist() if mass_V[value] > 0][:3]
        padding = [-1] * (3 - len(order))
        assert recall.value_ids_QK[row].tolist() == order + padding
        speaks = [next(int(facts_N[chunk]) for chunk in nearest if values_N[chunk] == value) for value in order]
        assert recall.fact_ids_QK[row].tolist() == speaks + padding


@pytest.mark.parametrize(("key_by", "num_chunks"), [("question", 22), ("statement", 11)])
def test_what_an_index_costs_and_saves(toys: Facts, tmp_path: Path, key_by: str, num_chunks: int) -> None:
    memory = FaissMemoryConfig(key_by=key_by, factory="SQ8", rotate_to=5, rotation_seed=3, chunks=2).build(seed=0)
    memory.encoder_name, memory.num_shards = "ours", 2
    cost = memory.write(toys)
    assert cost.seconds > 0 and np.isnan(cost.flops)
    assert (cost.texts_encoded, cost.exposures) == (num_chunks, num_chunks / 11)
    assert (cost.optimizer_steps, cost.succeeded) == (0, True)
    memory.calibration = b"TETE"
    memory.save(tmp_path / "store")
    loaded = FaissMemory.load(tmp_path / "store")
    assert (loaded.config, loaded.calibration, loaded.side) == (memory.config, b"TETE", "retrieval")
    assert loaded.footprint() == memory.footprint()
    assert loaded._store is not None and loaded._store.encoder is not None
    assert (loaded._store.encoder.name, loaded._store.encoder.revision) == ("ours", "toys")
    assert len(loaded._store.labels_N) == num_chunks
    asked = toys.calibration.queries
    one, two = memory.recall(asked, top_k=3), loaded.recall(asked, top_k=3)
    assert one.value_ids_QK.tolist() == two.value_ids_QK.tolist()
    assert one.log_probs_QK.tolist() == two.log_probs_QK.tolist()
    assert one.fact_ids_QK is not None and two.fact_ids_QK is not None
    assert one.fact_ids_QK.tolist() == two.fact_ids_QK.tolist()


@pytest.mark.parametrize(
    ("config", "name", "family"),
    [
        ({}, "faiss-q-Flat", "faiss-q"),
        ({"key_by": "statement", "chunks": 3}, "faiss-s-Flat-k3", "faiss-s"),
        ({"factory": "IVF7,Flat", "nprobe": 2, "rotate_to": 4}, "faiss-q-rot4-IVF7,Flat-np2", "faiss-q"),
        ({"factory": "HNSW8", "ef_search": 9, "chunks": 2}, "faiss-q-HNSW8-ef9-k2", "faiss-q"),
        ({"called": "mine", "chunks": 5}, "mine", "faiss-q"),
    ],
)
def test_names_of_indexes(config: dict[str, object], name: str, family: str) -> None:
    made = FaissMemoryConfig(**config)
    assert (made.name, made.family) == (name, family)
    assert made.stores == ("questions" if family == "faiss-q" else "statements")
    assert made.build(seed=1).name == name
    spec = made.spec
    given = {"factory": "Flat", "rotate_to": None, "rotation_seed": 0, "bandwidth": None, "nprobe": None,
             "ef_search": None, **config}  # fmt: skip
    assert {dial: getattr(spec, dial) for dial in given if hasattr(spec, dial)} == {
        dial: value for dial, value in given.items() if dial not in ("key_by", "chunks", "called")
    }


def test_dials_out_of_range_are_refused() -> None:
    for wrong in ({"chunks": 0}, {"temperature": 0.0}):
        with pytest.raises(ValueError, match="chunks must be 1 or more, temperature more than 0"):
            FaissMemoryConfig(**wrong)
    with pytest.raises(UserError, match="nprobe has no effect"):
        FaissMemoryConfig(nprobe=2)


def test_all_behind_a_flip_of_an_entropy_coded_payload_is_lost(colours: Any) -> None:
    values = ["red", "red", "red", "green", "red", "blue", "red", "red"] * 40
    facts = colours(len(values), values).facts()
    memory = written(facts)
    assert memory._store is not None
    (segment,) = memory._store.segments
    assert segment.payload.is_coded
    wrong = 0
    for seed in range(8):
        # Two of some five hundred bits; the codes of Flat keep their order through as few.
        labels_N = memory.perturbed(flip_rate=0.004, seed=seed)._store.labels_N  # type: ignore[union-attr]
        differs_N = labels_N != segment.chunks.labels_N
        assert set(labels_N.tolist()) <= set(segment.chunks.labels_N.tolist()), "a stream names what was counted alone"
        wrong += int(differs_N.sum())
    # Fixed bits would lose 2 * .004 of them.
    assert wrong > 10 * 0.008 * 8 * len(facts)


def test_flipped_labels_are_wrong_at_their_rate_and_stay_in_their_relation(toys: Facts) -> None:
    memory = written(toys)
    keys = toys.cues[0]
    plain = memory.recall(keys, top_k=1).value_ids_QK[:, 0]
    assert plain.tolist() == toys.value_ids_N.tolist()
    for untouched in (memory.perturbed(flip_rate=0.0, seed=1), memory):
        assert untouched.recall(keys, top_k=1).value_ids_QK[:, 0].tolist() == plain.tolist()
    # All colours are the first of three, all sizes the first of five: labels 0 of two bits, and of three. Each bit
    # flips with chance 1/4, and a label that names no value wraps around.
    of_first = np.where(toys.cues[0].relation_ids_Q == 0, 0, 3)
    memory = written(replace(toys, value_ids_N=of_first))
    assert memory._store is not None
    assert memory._store.file_bytes["payload.bin"] == 0, "what the counts tell takes no bits, and none can flip"
    own = memory._store.labels_N.tolist()
    assert memory.perturbed(flip_rate=1.0, seed=0)._store.labels_N.tolist() == own  # type: ignore[union-attr]
    # As a store has them that nobody counted for:
    (segment,) = memory._store.segments
    memory._store = ChunkStore([Segment(replace(segment.chunks, label_counts_G=None), segment.index)], None)
    labels = Counter[tuple[int, int]]()
    for seed in range(100):
        copy = memory.perturbed(flip_rate=0.25, seed=seed)
        assert copy._store is not None and memory._store is not None
        assert copy._store.groups_N.tolist() == memory._store.groups_N.tolist()
        labels.update(zip(copy._store.groups_N.tolist(), copy._store.labels_N.tolist(), strict=True))
    for group, bits, num, draws in ((0, 2, 3, 1400), (1, 3, 5, 800)):
        wanted = np.zeros(num)
        for mask in range(2**bits):
            wanted[mask % num] += 0.25 ** mask.bit_count() * 0.75 ** (bits - mask.bit_count())
        found = np.array([labels[group, label] for label in range(num)]) / draws
        np.testing.assert_allclose(found, wanted, atol=4.5 * 0.5 / draws**0.5)
    one, two = (memory.perturbed(flip_rate=0.25, seed=7)._store for _ in range(2))
    assert one is not None and two is not None and one.labels_N.tolist() == two.labels_N.tolist()
