"""The points of the panel on facts inside documents.

Shape legend: P passages, Q questions, K ranked passages, D dimensions.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from retrieval.candidate_matching import CandidateMatcher
from retrieval.splitting import holds
from retromem.panels.panel_config import Encoded, Vectors
from retromem.panels.points import Point
from retromem.panels.retrieval.passages import PassagesConfig
from retromem.panels.retrieval.ranked_recall import READ, right_passages, trained_rankers
from retromem.panels.retrieval.rankers import plain_queries


def passages_points(config: PassagesConfig, encoded: Encoded, seed: int) -> list[Point]:
    """Of every number of distractors, cut and ranker."""
    assert isinstance(encoded, Vectors), "passages have no wording to be centred by"
    knowledge = config.knowledge(seed)
    asked = knowledge.ask("heldout", num=config.num_asked)
    questions = list(asked.queries.texts or ())
    queries = plain_queries(questions, encoded, is_document=False)
    row_of = {int(fact): row for row, fact in enumerate(knowledge.all_fact_ids[knowledge.rows_N])}
    facts_Q = [row_of[int(fact)] for fact in asked.fact_ids_Q]
    matcher = CandidateMatcher(knowledge.values.strings or ())
    points = []
    for distractors, (hidden, cuts) in config.hidden(seed).items():
        for label, passages in cuts.items():
            texts = [passage.text for passage in passages]
            stored = plain_queries(texts, encoded, is_document=True)
            is_right_QP = holds(passages, [hidden.spans_N[fact] for fact in facts_Q])
            for name, ranker in trained_rankers(config.rankers, stored, max(READ)):
                ranked_QK = ranker.search(queries)
                found = {"bytes_a_fact": ranker.num_bytes / knowledge.num_facts}
                found |= right_passages(ranked_QK, is_right_QP)
                for number in READ:
                    found[f"answered_from_{number}"] = _answered(
                        matcher, questions, texts, ranked_QK[:, :number], asked.value_ids_Q
                    )
                point = partial(Point, series=label, labels={"ranker": name}, x=float(distractors), seed=seed)
                points += [point(quantity=quantity, y=y) for quantity, y in found.items()]
    return points


def _answered(
    matcher: CandidateMatcher,
    questions: Sequence[str],
    texts: Sequence[str],
    ranked_QK: Int64[ndarray, "Q K"],
    value_ids_Q: Int64[ndarray, " Q"],
) -> float:
    """Share of the questions that the matcher answers right; the set has one relation, so a candidate is a value id."""
    answers = [
        matcher.answer(question, [texts[position] for position in ranked_K if position >= 0])
        for question, ranked_K in zip(questions, ranked_QK.tolist(), strict=True)
    ]
    return float((np.array(answers) == value_ids_Q).mean())
