"""Both halves of a hybrid speak of the same chunks, also after a change of its store."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval import store_updates
from retrieval.errors import Refused
from retrieval.lexical_index import LexicalIndex, LexicalSpec
from retromem.measure.robustness import Perturbable
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.hybrid_memory import HybridMemory, HybridMemoryConfig
from retromem.seam import Facts


def hybrid(facts: Facts) -> HybridMemory:
    memory = HybridMemoryConfig(key_by="statement").build(seed=0)
    memory.write(facts)
    return memory


@pytest.mark.parametrize("compacts", [False, True])
def test_a_changed_store_answers_as_one_that_was_built_of_what_is_left(
    compacts: bool, colours: Any, tmp_path: Path
) -> None:
    knowledge = colours(40, ["red", "green", "blue", "grey", "pink"])
    facts = knowledge.facts(statements=True)
    hybrid(facts).save(tmp_path / "store")
    gone_N = np.arange(40) % 3 == 0
    store_updates.delete(tmp_path / "store", facts.ids_N[gone_N])
    if compacts:
        store_updates.compact(tmp_path / "store")
    changed, fresh = HybridMemory.load(tmp_path / "store"), hybrid(facts.rows(np.flatnonzero(~gone_N)))
    asked = knowledge.ask("identical").queries
    one, two = changed.recall(asked, top_k=3), fresh.recall(asked, top_k=3)
    assert not np.isin(one.fact_ids_QK, facts.ids_N[gone_N]).any()
    assert (one.fact_ids_QK == two.fact_ids_QK).all()
    assert (one.value_ids_QK == two.value_ids_QK).all()
    changed.save(tmp_path / "copy")
    assert (HybridMemory.load(tmp_path / "copy").recall(asked).fact_ids_QK[:, :3] == one.fact_ids_QK).all()


def test_what_was_added_is_found_by_its_words_alone(colours: Any, tmp_path: Path) -> None:
    whole = colours(30, ["red", "green", "blue"])
    facts = whole.facts(statements=True)
    first, last = np.arange(20), np.arange(20, 30)
    hybrid(facts.rows(first)).save(tmp_path / "store")
    added = hybrid(facts.rows(last))._store
    assert added is not None
    store_updates.add(tmp_path / "store", added.segments[0].chunks)
    memory = HybridMemory.load(tmp_path / "store")
    questions = whole.ask("identical").queries
    # The dense half is led astray: what is asked for, it ranks last.
    recall = memory.recall(replace(questions, keys_QD=-questions.key_vectors()))
    assert (recall.fact_ids_QK[last, 0] == facts.ids_N[last]).all()


def fused_by_hand(dense: list[int], lexical: list[int], constant: int) -> int:
    """The chunk with the largest sum of 1 / (constant + place); of equals the first in the store."""
    sums: dict[int, float] = {}
    for ranking in (dense, lexical):
        for place, chunk in enumerate(ranking, start=1):
            sums[chunk] = sums.get(chunk, 0.0) + 1 / (constant + place)
    return min(sums, key=lambda chunk: (-round(sums[chunk], 9), chunk))


@pytest.mark.parametrize(("key_by", "num_sources"), [("question", 2), ("statement", 1)])
@pytest.mark.parametrize(("depth", "constant"), [(2, 0), (5, 3), (100, 60)])
def test_the_best_of_two_rankings_fused_speaks(
    toys: Facts, key_by: Any, num_sources: int, depth: int, constant: int
) -> None:
    memory = HybridMemoryConfig(key_by=key_by, depth=depth, rank_constant=constant).build(seed=0)
    memory.write(toys)
    assert toys.statements is not None
    sources = list(toys.cues) if key_by == "question" else [toys.statements]
    relations_N = np.tile(toys.statements.relation_ids_Q, num_sources)
    in_store = np.argsort(relations_N, kind="stable")
    texts = [text for source in sources for text in source.texts or ()]
    keys_ND = np.concatenate([source.key_vectors() for source in sources])
    words = LexicalIndex.build([texts[row] for row in in_store], LexicalSpec())
    # Half of the questions share words with the fact that their key is far from.
    asked = toys.calibration.queries
    turned = replace(
        asked, texts=[f"{text} {(asked.texts or ())[row - 1]}" for row, text in enumerate(asked.texts or ())]
    )
    recall = memory.recall(turned, top_k=2)
    for row, relation in enumerate(asked.relation_ids_Q.tolist()):
        own = [place for place in range(len(in_store)) if relations_N[in_store[place]] == relation]
        similarity = keys_ND[in_store] @ asked.key_vectors()[row]
        dense = sorted(own, key=lambda place: -similarity[place])[:depth]
        window = range(own[0], own[-1] + 1)
        lexical = words.search([(turned.texts or ())[row]], depth, window)[0][0]
        best = in_store[fused_by_hand(dense, [place for place in lexical.tolist() if place >= 0], constant)]
        fact = best % 11
        assert recall.value_ids_QK[row].tolist() == [toys.value_ids_N[fact], -1]
        assert recall.fact_ids_QK is not None
        assert recall.fact_ids_QK[row].tolist() == [toys.ids_N[fact], -1]
        assert recall.log_probs_QK[row].tolist() == [0.0, -np.inf]


def test_what_a_hybrid_costs_and_weighs(toys: Facts, tmp_path: Path) -> None:
    memory = HybridMemoryConfig(rotate_to=5).build(seed=0)
    cost = memory.write(toys)
    assert cost.seconds > 0 and np.isnan(cost.flops)
    assert (cost.texts_encoded, cost.exposures, cost.optimizer_steps, cost.succeeded) == (22, 2.0, 0, True)
    memory.calibration = b"TETE"
    memory.save(tmp_path / "both")
    dense = FaissMemoryConfig(rotate_to=5).build(seed=0)
    dense.write(toys)
    one, both = dense.footprint(), memory.footprint()
    words = (tmp_path / "both" / "lexical.npz").stat().st_size
    assert (both.storage_bytes or 0) == (one.storage_bytes or 0) + words + 4
    # The words of the 22 cues once more, sorted as the store has them: colours, then sizes, each in both wordings.
    order = np.argsort(np.tile(toys.cues[0].relation_ids_Q, 2), kind="stable")
    texts = [text for cue in toys.cues for text in cue.texts or ()]
    index = LexicalIndex.build([texts[row] for row in order], LexicalSpec())
    assert both.resident_bytes == (one.resident_bytes or 0) + index.resident_bytes
    assert {holding.name for holding in both.holdings} - {holding.name for holding in one.holdings} == {
        "lexical.npz", "calibration.bin",
    }  # fmt: skip
    loaded = HybridMemory.load(tmp_path / "both")
    assert (loaded.config, loaded.calibration, loaded.side) == (memory.config, b"TETE", "retrieval")
    assert loaded.footprint() == both
    assert not isinstance(memory, Perturbable), "it is compressed: one flipped bit and it cannot be read"


@pytest.mark.parametrize(
    ("config", "name", "stores"),
    [
        ({}, "hybrid-q-Flat-bm25", "questions"),
        ({"key_by": "statement", "rank_constant": 7}, "hybrid-s-Flat-bm25-c7", "statements"),
        ({"factory": "SQ8", "rotate_to": 4, "depth": 9}, "hybrid-q-rot4-SQ8-bm25-d9", "questions"),
        (
            {"lexical": LexicalSpec(k1=0.5), "depth": 1, "rank_constant": 0},
            "hybrid-q-Flat-bm25-k0.5-c0-d1",
            "questions",
        ),
    ],
)
def test_names_of_hybrids(config: Any, name: str, stores: str) -> None:
    made = HybridMemoryConfig(**config)
    assert (made.name, made.stores, made.family) == (name, stores, name[:8])
    assert made.build(seed=0).name == name


def test_dials_of_a_hybrid_out_of_range_are_refused(toys: Facts) -> None:
    for wrong in ({"depth": 0}, {"rank_constant": -1}):
        with pytest.raises(ValueError, match="depth must be 1 or more, rank_constant 0 or more"):
            HybridMemoryConfig(**wrong)
    silent = replace(toys, cues=[replace(cue, texts=None) for cue in toys.cues])
    with pytest.raises(Refused, match="hybrid-q-Flat-bm25 needs texts, and these facts are vectors alone"):
        HybridMemoryConfig().build(seed=0).write(silent)


def test_the_first_chunk_of_a_store_is_found_by_its_words_too(toys: Facts) -> None:
    memory = HybridMemoryConfig(key_by="statement", depth=2).build(seed=0)
    memory.write(toys)
    assert toys.statements is not None
    first = np.array([1])  # the first colour
    led_astray = toys.statements.rows(first)
    led_astray = replace(led_astray, keys_QD=-led_astray.key_vectors())
    # First of the words, and of the vectors another is: of equals the first in the store.
    recall = memory.recall(led_astray, top_k=1)
    assert recall.fact_ids_QK is not None and recall.fact_ids_QK.tolist() == [[toys.ids_N[1]]]
