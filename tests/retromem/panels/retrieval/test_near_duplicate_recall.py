"""Recall among near duplicates beside a full ranking, and the number of facts that it comes to."""

from dataclasses import replace

import numpy as np
import pytest

from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig
from retromem.panels.points import Point
from retromem.panels.retrieval.near_duplicate_recall import NearDuplicatesPanelConfig, facts_held
from retromem.panels.spread_text import NotMeasured


class HashedKeys:
    """Hashed trigrams, of unit length, wording and all."""

    encoder_hash = "trigrams"

    def keys(self, texts, templates) -> np.ndarray:
        return Encoder(EncoderConfig(model="hashed-trigrams")).encode(texts)


CONFIG = NearDuplicatesPanelConfig(crowds=(1, 64), num_facts=(64, 256), rankers=("Flat", "bm25"))


def test_recall_is_that_of_a_full_ranking() -> None:
    points = CONFIG.measure(0, lambda knowledge: knowledge.with_keys(HashedKeys()))
    recall = {(point.labels["ranker"], point.series, point.x): point.y for point in points}
    for series, parts in CONFIG.sets(0).items():
        part = parts[1].with_keys(HashedKeys())
        asked = part.ask("heldout", num=1000)
        similarities_QN = asked.queries.key_vectors() @ part.facts().cues[0].key_vectors().T
        own_Q = (part.facts().ids_N[None, :] == asked.fact_ids_Q[:, None]).argmax(axis=1)
        own_similarity_Q = similarities_QN[np.arange(len(own_Q)), own_Q]
        beaten_Q = (similarities_QN > own_similarity_Q[:, None] + 1e-6).any(axis=1)
        shared_Q = (similarities_QN > own_similarity_Q[:, None] - 1e-6).sum(axis=1) > 1  # counts of letters tie often
        found = recall["Flat", series, 256.0]
        assert 1 - (beaten_Q | shared_Q).mean() <= found <= 1 - beaten_Q.mean()


class SameForAll:
    """An encoder that cannot tell two questions apart."""

    encoder_hash = "same"

    def keys(self, texts, templates) -> np.ndarray:
        return np.tile(np.eye(1, 8, dtype=np.float32), (len(texts), 1))


def test_the_value_of_another_fact_is_no_recall() -> None:
    points = replace(CONFIG, crowds=(1,), num_facts=(200,), rankers=("Flat",)).measure(
        0, lambda knowledge: knowledge.with_keys(SameForAll())
    )
    assert {point.y for point in points} == {1 / 200}  # of equals the first is found, and asked for once


def test_neighbours_are_harder_to_tell_apart_in_vectors_but_not_in_words(as_in_a_run) -> None:
    points = as_in_a_run(CONFIG)
    recall = {(point.labels["ranker"], point.series, point.x): point.y for point in points}
    assert len(recall) == 2 * 4 * 2
    together, alone = (
        recall["Flat", "numbers, 64 together", 256.0],
        recall["Flat", "numbers, alone", 256.0],
    )
    assert together < alone
    for x in (64.0, 256.0):
        assert recall["bm25", "numbers, 64 together", x] == 1.0  # a number is a word that nobody shares
    page = CONFIG.page(points)
    series = ["names, alone", "names, 64 together", "numbers, alone", "numbers, 64 together"]
    assert [line[0].text for line in page.tables[0].blocks[0][1]] == series
    assert "names in crowds of 1: " in page.finding


def test_facts_held_are_read_off_the_curve() -> None:
    def points(*recalls: float) -> list[Point]:
        return [
            Point(quantity="recall_at_1", series="it", labels={"ranker": "Flat"}, x=100.0 * 2**place, y=recall, seed=0)
            for place, recall in enumerate(recalls)
        ]

    assert facts_held(points(0.99, 0.97, 0.93), "Flat", "it") == f"{200 * 2**0.5:,.0f}"  # halfway on a log scale
    assert facts_held(points(0.99, 0.97, 0.96), "Flat", "it") == "> 400"
    assert facts_held(points(0.9, 0.8, 0.7), "Flat", "it") == "< 100"
    assert facts_held(points(0.99, 0.9, 0.951, 0.8), "Flat", "it") == f"{400 * 2 ** (0.001 / 0.151):,.0f}"
    with pytest.raises(NotMeasured):
        facts_held([], "Flat", "it")
    assert np.isclose(float(facts_held(points(0.95, 0.9), "Flat", "it")), 100)
