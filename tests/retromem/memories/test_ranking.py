"""Ranked and scored answers of many questions against plain loops over one question at a time."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy import ndarray

from retromem.memories.chunk_votes import recall_by_votes
from retromem.memories.ranking import blocks, rank_candidates
from retromem.seam import Queries, Recall, ValueTable

# Three relations of 3, 1 and 5 values.
VALUES = ValueTable(strings=None, relations=("colour", "kind", "size"), starts=(0, 3, 4, 9))


def questions(relations: Sequence[int]) -> Queries:
    return Queries(texts=None, keys_QD=None, relation_ids_Q=np.array(relations, dtype=np.int64), encoder_hash="")


def test_blocks_are_of_one_relation_and_no_longer_than_256() -> None:
    relation_ids_Q = np.array([2, 0, 2] * 171 + [2])  # 343 of relation 2, 171 of relation 0, none of relation 1
    found = list(blocks(relation_ids_Q))
    assert [(relation, len(rows)) for relation, rows in found] == [(0, 171), (2, 256), (2, 87)]
    rows_of_2 = [row for row in range(514) if relation_ids_Q[row] == 2]
    assert found[0][1].tolist() == [row for row in range(514) if relation_ids_Q[row] == 0]
    assert found[1][1].tolist() + found[2][1].tolist() == rows_of_2
    assert [len(rows) for _, rows in blocks(np.full(512, 7))] == [256, 256]
    assert not list(blocks(np.zeros(0, dtype=np.int64)))


def ranked_alone(log_probs_M: ndarray, relation: int, top_k: int) -> tuple[list[int], list[float]]:
    """Ids and log-probabilities of one question, by Python's own sort; padded."""
    first = VALUES.starts[relation]
    order = sorted(range(len(log_probs_M)), key=lambda column: (-log_probs_M[column], column))[:top_k]
    padding = top_k - len(order)
    ids = [first + column if log_probs_M[column] > -math.inf else -1 for column in order]
    return ids + [-1] * padding, [float(log_probs_M[column]) for column in order] + [-math.inf] * padding


@pytest.mark.parametrize("top_k", [0, 1, 2, 7])
@pytest.mark.parametrize("names_facts", [True, False])
def test_a_recall_is_what_a_loop_over_the_questions_finds(top_k: int, names_facts: bool) -> None:
    rng = np.random.default_rng(top_k)
    relations = rng.choice([0, 1, 2], p=[0.1, 0.2, 0.7], size=600).tolist()  # more than one block of relation 2
    widths = [3, 1, 5]
    given = [
        # Whole numbers, so that many are equal; some are not answered at all.
        np.where(rng.random(widths[relation]) < 0.3, -np.inf, -rng.integers(4, size=widths[relation]) / 4.0)
        for relation in relations
    ]
    score_QC = rng.integers(0, 9, size=(600, 4))  # of any relation

    def log_probs(relation: int, rows: ndarray) -> ndarray:
        assert {relations[row] for row in rows} == {relation}
        return np.stack([given[row] for row in rows]).astype(np.float32)

    def fact_ids(rows: ndarray, value_ids_BK: ndarray) -> ndarray:
        return np.where(value_ids_BK >= 0, 1000 * rows[:, None] + value_ids_BK, -1)

    recall = rank_candidates(
        questions(relations),
        VALUES,
        log_probs,
        top_k=top_k,
        score=score_QC,
        fact_ids=fact_ids if names_facts else None,
    )
    wanted = [ranked_alone(given[row], relations[row], top_k) for row in range(600)]
    assert recall.value_ids_QK.tolist() == [ids for ids, _ in wanted]
    assert recall.log_probs_QK.tolist() == [kept for _, kept in wanted]
    assert recall.confidence_Q.tolist() == [kept[0] if top_k else 0.0 for _, kept in wanted]
    if names_facts:
        assert recall.fact_ids_QK is not None
        assert recall.fact_ids_QK.tolist() == [
            [1000 * row + value if value >= 0 else -1 for value in wanted[row][0]] for row in range(600)
        ]
    else:
        assert recall.fact_ids_QK is None
    starts = VALUES.starts
    assert recall.scored_QC.tolist() == [
        [
            float(given[row][value - starts[relations[row]]])
            if starts[relations[row]] <= value < starts[relations[row] + 1]
            else -math.inf
            for value in score_QC[row].tolist()
        ]
        for row in range(600)
    ]


# ---- from chunks -----------------------------------------------------------------------------------------------------

LABELS_N = np.array([0, 2, 2, 1, 0, 0, 4, 3, 1, 4])  # of ten chunks, of which the first four are of relation 0
FACTS_N = np.array([160, 32, 48, 64, 80, 96, 112, 128, 144, 16])
CHUNKS_OF = {0: range(4), 1: range(4, 5), 2: range(5, 10)}


def voted(found: list[tuple[list[int], list[float]]], relations: list[int], temperature: float, top_k: int) -> Recall:
    """The recall of questions that found these chunks, best first."""

    def search(relation: int, rows: ndarray) -> tuple[ndarray, ndarray]:
        positions_BK = np.array([found[row][0] for row in rows])
        return positions_BK, np.array([found[row][1] for row in rows], dtype=np.float32)

    every_value_QC = np.tile(np.arange(9), (len(relations), 1))
    return recall_by_votes(
        questions(relations),
        VALUES,
        search,
        labels_N=LABELS_N,
        facts_N=FACTS_N,
        temperature=temperature,
        top_k=top_k,
        score=every_value_QC,
    )


def test_chunks_share_the_probability_of_their_values_by_hand() -> None:
    halves, thirds = math.log(2) / 4, math.log(3) / 4  # at a temperature of 1/4, half and a third of the best
    recall = voted(
        [
            # Values 2, 0 and 2 again: 1, 1/2 and 1/3 of 11/6; for value 2 the better chunk speaks.
            ([2, 0, 1], [0.9, 0.9 - halves, 0.9 - thirds]),
            # One chunk of three that were wanted.
            ([4, -1, -1], [0.2, -5.0, -7.0]),
            ([-1, -1, -1], [0.0, 0.0, 0.0]),
            # The same value from two chunks, equally near: the first speaks. Label 4 is value 8.
            ([9, 6, 7], [0.5, 0.5, 0.5 - halves]),
        ],
        relations=[0, 1, 2, 2],
        temperature=0.25,
        top_k=3,
    )
    assert recall.value_ids_QK.tolist() == [[2, 0, -1], [3, -1, -1], [-1, -1, -1], [8, 7, -1]]
    assert recall.fact_ids_QK is not None
    assert recall.fact_ids_QK.tolist() == [[48, 160, -1], [80, -1, -1], [-1, -1, -1], [16, 128, -1]]
    kept = [[8 / 11, 3 / 11, 0], [1, 0, 0], [0, 0, 0], [0.8, 0.2, 0]]
    np.testing.assert_allclose(np.exp(recall.log_probs_QK), kept, rtol=1e-6)
    np.testing.assert_allclose(
        np.exp(recall.scored_QC),
        [
            [3 / 11, 0, 8 / 11, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 1, 0, 0, 0, 0, 0],
            [0] * 9,
            [0, 0, 0, 0, 0, 0, 0, 0.2, 0.8],
        ],
        rtol=1e-6,
    )
    assert recall.confidence_Q.tolist() == recall.log_probs_QK[:, 0].tolist()


def test_votes_of_many_questions_are_what_a_loop_over_them_counts() -> None:
    rng = np.random.default_rng(5)
    relations = rng.choice([0, 1, 2], p=[0.25, 0.1, 0.65], size=500).tolist()
    found = []
    for relation in relations:
        own = rng.permutation(list(CHUNKS_OF[relation]))[:3].tolist()
        scores = np.sort(rng.random(3))[::-1].tolist()
        found.append((own + [-1] * (3 - len(own)), scores))
    recall = voted(found, relations, temperature=0.3, top_k=1)
    for row, (relation, (positions, scores)) in enumerate(zip(relations, found, strict=True)):
        mass, speaks = np.zeros(9), dict[int, int]()
        for position, score in zip(positions, scores, strict=True):
            if position >= 0:
                value = VALUES.starts[relation] + int(LABELS_N[position])
                mass[value] += math.exp(score / 0.3)
                speaks.setdefault(value, int(FACTS_N[position]))
        np.testing.assert_allclose(np.exp(recall.scored_QC[row]), mass / mass.sum(), rtol=1e-5)
        best = int(mass.argmax())
        assert recall.fact_ids_QK is not None
        assert (recall.value_ids_QK[row, 0], recall.fact_ids_QK[row, 0]) == (best, speaks[best])


def test_a_score_that_a_flipped_bit_made_infinite_is_no_answer() -> None:
    recall = voted([([2, 0], [np.inf, 0.5]), ([3, 1], [0.5, 0.25])], relations=[0, 0], temperature=1.0, top_k=1)
    assert recall.value_ids_QK.tolist() == [[-1], [1]]
    assert recall.fact_ids_QK is not None and recall.fact_ids_QK.tolist() == [[-1], [64]]
