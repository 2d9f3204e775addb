"""Facts hidden in documents: where they are, and what is found of them, by a plain search of the text."""

import numpy as np
import pytest

from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig
from retrieval.lexical_index import LexicalIndex, LexicalSpec
from retrieval.splitting import sentences
from retromem.knowledge.hidden_facts import hide
from retromem.panels.retrieval.passages import PassagesConfig

CONFIG = PassagesConfig(num_facts=60, distractors=(0, 3), sizes=(1, 6), num_asked=40, rankers=("Flat", "bm25"))


def test_every_statement_stands_whole_where_it_is_said_to() -> None:
    knowledge = CONFIG.knowledge(0)
    statements = knowledge.facts(statements=True).statements.texts
    hidden = hide(knowledge, facts_per_document=10, distractors_per_fact=3, seed=0)
    assert len(hidden.documents) == 6
    for text, (document, start, end) in zip(statements, hidden.spans_N, strict=True):
        assert hidden.documents[document][start:end] == text
    assert sum(len(sentences(document)) for document in hidden.documents) == pytest.approx(60 * 4, rel=0.05)
    orders = {tuple(span[1] for span in hidden.spans_N[first : first + 10]) for first in range(0, 60, 10)}
    assert all(list(order) != sorted(order) for order in orders)  # shuffled
    assert hide(knowledge, facts_per_document=10, distractors_per_fact=3, seed=0) == hidden


def test_what_is_found_is_what_the_text_holds(as_in_a_run) -> None:
    points = as_in_a_run(CONFIG)
    found = {(point.quantity, point.labels["ranker"], point.series, point.x): point.y for point in points}
    assert len(found) == 2 * 3 * 2 * 5
    asked = CONFIG.knowledge(0).ask("heldout", num=40)
    encoder = Encoder(EncoderConfig(model="hashed-trigrams"))
    questions_QD = encoder.encode(asked.queries.texts)
    statements = CONFIG.knowledge(0).facts(statements=True)
    stated = dict(zip(statements.ids_N.tolist(), statements.statements.texts, strict=True))
    for distractors in (0, 3):
        # Names are rare words: five passages by words hold the sentence, and the reader finds the country in it.
        assert found["right_at_5", "bm25", "1 sentence", distractors] > 0.95
        assert found["answered_from_5", "bm25", "1 sentence", distractors] > 0.95
        for label, passages in CONFIG.hidden(0)[distractors][1].items():
            texts = [passage.text for passage in passages]
            nearest_QK = np.argsort(-questions_QD @ encoder.encode(texts).T, axis=1, kind="stable")[:, :5]
            for number in (1, 5):
                right = [
                    any(stated[fact] in texts[place] for place in ranked[:number])
                    for fact, ranked in zip(asked.fact_ids_Q.tolist(), nearest_QK.tolist(), strict=True)
                ]
                assert found[f"right_at_{number}", "Flat", label, distractors] == pytest.approx(
                    np.mean(right), abs=0.03
                )
    assert 0.1 < found["right_at_1", "Flat", "1 sentence", 3] < 1
    # Words tie often: positions of equals do not.
    for label, passages in CONFIG.hidden(0)[3][1].items():
        lexical = LexicalIndex.build([passage.text for passage in passages], LexicalSpec())
        places_QK = lexical.search(asked.queries.texts, 5)[0]
        for number in (1, 5):
            right = [
                any(place >= 0 and stated[fact] in passages[place].text for place in ranked[:number])
                for fact, ranked in zip(asked.fact_ids_Q.tolist(), places_QK.tolist(), strict=True)
            ]
            assert found[f"right_at_{number}", "bm25", label, 3] == pytest.approx(np.mean(right))
    sizes = [found["bytes_a_fact", "Flat", label, 3.0] for label in ("1 sentence", "6 sentences")]
    assert sizes[0] == pytest.approx(6 * sizes[1], rel=0.1)
    page = CONFIG.page(points)
    assert len(page.tables) == 2 and "other sentences a fact" in page.finding


def test_a_sentence_that_is_no_passage_of_its_own_is_still_found_in_its_neighbours() -> None:
    hidden, cuts = CONFIG.hidden(0)[3]
    for label, passages in cuts.items():
        held = [
            any(p.document == number and p.start <= start and end <= p.end for p in passages)
            for number, start, end in hidden.spans_N
        ]
        assert sum(held) >= 0.97 * len(held), label  # a name with a full stop in it may be cut in two
