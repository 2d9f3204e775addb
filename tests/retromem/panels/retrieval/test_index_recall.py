"""Recall against a full ranking, on keys that need no encoder."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from retrieval.errors import UserError
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.text_keys import Template
from retromem.panels.retrieval.index_recall import IndexRecallConfig
from retromem.panels.retrieval.rankers import spec_of


class LetterPairs:
    """Counts of pairs of letters: near for texts that share words, made without a model."""

    encoder_hash = "letters"

    def keys(self, texts: Sequence[str], templates: Sequence[Template]) -> np.ndarray:
        keys = np.zeros((len(texts), 256), dtype=np.float32)
        for row, text in enumerate(texts):
            for first, second in pairwise(text):
                keys[row, (31 * ord(first) + ord(second)) % 256] += 1
        return keys / np.linalg.norm(keys, axis=1, keepdims=True)


def encoded(knowledge: KnowledgeSet) -> KnowledgeSet:
    return knowledge.with_keys(LetterPairs())


def test_names_of_indexes() -> None:
    assert spec_of("rot64-LSH").label == "rot64-LSH"
    assert spec_of("HNSW16,SQ8").label == "HNSW16,SQ8"
    assert spec_of("rot-LSH").factory == "rot-LSH"


def test_recall_is_that_of_a_full_ranking() -> None:
    config = IndexRecallConfig(indexes=("Flat", "rot64-LSH", "PQ16np", "bm25", "hybrid"), num_facts=(100, 300))
    points = config.measure(0, encoded)
    by_name = {(point.quantity, point.name, point.x): point.y for point in points}
    assert ("bytes_a_fact", "PQ16np", 100.0) not in by_name  # too few to train its codebook
    part = encoded(config.text_sets(0)[-1])
    facts, asked = part.facts(), part.ask("heldout", num=2000)
    scores = asked.queries.key_vectors() @ facts.cues[0].key_vectors().T
    own = (facts.ids_N[None, :] == asked.fact_ids_Q[:, None]).argmax(axis=1)
    place = (scores > np.take_along_axis(scores, own[:, None], axis=1) + 1e-6).sum(axis=1)
    for rank in (1, 2, 5, 10):
        expected = float((place < rank).mean())
        assert by_name[f"recall_at_{rank}", "Flat, heldout", 300.0] == pytest.approx(expected, abs=0.01)
    assert by_name["recall_at_1", "Flat, identical", 300.0] > 0.98
    assert by_name["recall_at_1", "rot64-LSH, heldout", 300.0] <= by_name["recall_at_10", "rot64-LSH, heldout", 300.0]
    for num_facts in (100, 300):
        assert by_name["bytes_a_fact", "Flat", num_facts] == pytest.approx(4 * 256 + 45 / num_facts)
    assert by_name["recall_at_1", "bm25, heldout", 300.0] > 0.9  # names are rare words
    assert by_name["bytes_a_fact", "hybrid", 300.0] == pytest.approx(
        by_name["bytes_a_fact", "Flat", 300.0] + by_name["bytes_a_fact", "bm25", 300.0]
    )
    assert ("recall_at_1", "bm25, noise 0.1", 300.0) not in by_name
    page = config.page(points)
    assert [line[0].text for line in page.tables[0].blocks[0][1]] == ["Flat", "rot64-LSH", "bm25", "hybrid", "PQ16np"]
    assert "heldout" in page.finding


def test_a_rotation_to_nothing_is_none() -> None:
    with pytest.raises(UserError, match="rotate_to"):
        IndexRecallConfig(indexes=("rot0-LSH",)).index_specs(384)


def test_a_run_encodes_every_question_that_the_panel_asks(as_in_a_run) -> None:
    points = as_in_a_run(IndexRecallConfig(indexes=("Flat",), num_facts=(200, 2500)))
    assert {point.x for point in points if point.labels.get("asked") == "seen"} == {200.0, 2500.0}
