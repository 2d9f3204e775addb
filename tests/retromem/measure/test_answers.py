"""Answers and bits of a memory whose probabilities are written into the keys, counted question by question."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from retromem.measure import bits
from retromem.measure.answers import (
    Answers,
    Calibrations,
    accuracy,
    answers,
    bits_recalled,
    fit_calibration,
    fit_calibrations,
)
from retromem.measure.bits import Calibration
from retromem.measure.robustness import with_key_noise
from retromem.memories.floors import FrequencyConfig, FrequencyMemory
from retromem.memories.ranking import rank_candidates
from retromem.seam import Asked, Queries, Recall, ValueTable

VALUES = ValueTable(strings=None, relations=("colour", "size"), starts=(0, 3, 8))  # three and five candidates
NUM = 60


class Written(FrequencyMemory):
    """The key's numbers are the logits of the candidates; where the first is negative, nothing is answered."""

    def __init__(self, *, names_facts: bool) -> None:
        super().__init__(FrequencyConfig(), seed=0)
        self.names_facts = names_facts
        self.top_ks: list[int] = []

    def recall(self, queries: Queries, *, top_k: int = 10, score: np.ndarray | None = None) -> Recall:
        self.top_ks.append(top_k)

        def log_probs(relation: int, rows: np.ndarray) -> np.ndarray:
            logits_BM = queries.key_vectors()[rows][:, : (3, 5)[relation]]
            answer_BM = logits_BM - np.log(np.exp(logits_BM).sum(axis=1, keepdims=True))
            return np.where(logits_BM[:, :1] < 0, -np.inf, answer_BM).astype(np.float32)

        def fact_ids(rows: np.ndarray, value_ids_BK: np.ndarray) -> np.ndarray:
            return np.where(value_ids_BK >= 0, 100 + value_ids_BK, -1)

        return rank_candidates(
            queries, VALUES, log_probs, top_k=top_k, score=score, fact_ids=fact_ids if self.names_facts else None
        )


def questions(num: int = NUM, seed: int = 0) -> Asked:
    """Of either relation, unsorted; a few get no answer, most answers are right."""
    rng = np.random.default_rng(seed)
    relation_ids_Q = (rng.random(num) < 0.6).astype(np.int64)
    values_Q = np.where(relation_ids_Q == 0, rng.integers(3, size=num), rng.integers(3, 8, size=num))
    keys_QD = rng.random((num, 5)) * 2
    keys_QD[np.arange(num), values_Q - 3 * relation_ids_Q] += rng.random(num) * 2
    keys_QD[rng.random(num) < 0.15, 0] = -1.0
    return Asked(
        queries=Queries(texts=None, keys_QD=keys_QD.astype(np.float32), relation_ids_Q=relation_ids_Q, encoder_hash=""),
        phrasing="identical",
        # What speaks for value v is fact 100 + v; every third question is of another fact of the same value.
        fact_ids_Q=np.where(np.arange(num) % 3 == 0, 7, 100 + values_Q),
        value_ids_Q=values_Q,
        prior_Q=rng.random(num) * 0.5 + 0.1,
    )


@pytest.mark.parametrize("names_facts", [True, False])
def test_every_answer_is_scored_as_a_loop_over_the_questions_scores_it(names_facts: bool) -> None:
    asked, memory = questions(), Written(names_facts=names_facts)
    found = answers(memory, asked, VALUES, Calibration(temperature=0.7, epsilon=0.125))
    chunk_right: list[bool] = []
    for row in range(NUM):
        relation, value = int(asked.queries.relation_ids_Q[row]), int(asked.value_ids_Q[row])
        first, num = (0, 3) if relation == 0 else (3, 5)
        logits = asked.queries.key_vectors()[row, :num].astype(np.float64)
        said = first + int(logits.argmax()) if logits[0] >= 0 else -1
        assert found.answered_Q[row] == (said >= 0)
        assert found.right_Q[row] == (said == value)
        chunk_right.append(said >= 0 and 100 + said == asked.fact_ids_Q[row])
        tempered = np.exp(logits / 0.7)
        probability = 0.0 if said < 0 else tempered[value - first] / tempered.sum()
        smoothed = 0.875 * probability + 0.125 * asked.prior_Q[row]
        assert found.log2_p_Q[row] == pytest.approx(math.log2(smoothed), abs=1e-5)
        assert found.num_candidates_Q[row] == num
    if names_facts:
        assert found.chunk_right_Q is not None and found.chunk_right_Q.tolist() == chunk_right
        assert 0 < sum(chunk_right) < found.right_Q.sum() < found.answered_Q.sum() < NUM
    else:
        assert found.chunk_right_Q is None
    assert found.accuracy == accuracy(memory, asked) == found.right_Q.sum() / NUM
    assert set(memory.top_ks) == {1}  # more than the first answer is never looked at
    assert math.isnan(accuracy(memory, asked.rows(np.zeros(0, dtype=np.int64))))


def test_temperature_and_floor_are_fitted_on_all_questions_of_all_relations() -> None:
    asked, memory = questions(), Written(names_facts=False)
    found = fit_calibration(memory, asked, VALUES, num_facts=50)

    def likelihood(temperature: float, epsilon: float) -> float:
        return float(
            answers(memory, asked, VALUES, Calibration(temperature=temperature, epsilon=epsilon)).log2_p_Q.sum()
        )

    best = likelihood(found.temperature, found.epsilon)
    for temperature in np.geomspace(0.05, 5, 20):
        for epsilon in np.linspace(1 / 50, 1, 20):
            assert likelihood(temperature, epsilon) <= best + 0.02
    # Of each set of questions its own pair; where there is but one, it stands for both.
    other = questions(seed=1)
    both = fit_calibrations(memory, asked, other, VALUES, num_facts=50)
    assert both == Calibrations(as_written=found, otherwise=fit_calibration(memory, other, VALUES, num_facts=50))
    assert both.as_written != both.otherwise
    assert both.to_bytes() == both.as_written.to_bytes() + both.otherwise.to_bytes() and len(both.to_bytes()) == 8
    assert {phrasing: both.of(phrasing) for phrasing in ("identical", "seen", "heldout", "alias")} == {
        "identical": both.as_written, "seen": both.otherwise, "heldout": both.otherwise, "alias": both.otherwise,
    }  # fmt: skip
    alone = fit_calibrations(memory, asked, None, VALUES, num_facts=50)
    assert alone == Calibrations(as_written=found, otherwise=found)


def test_what_answers_are_worth_by_hand() -> None:
    """Five of ten facts are asked: three right, one wrong, one not answered."""
    found = Answers(
        right_Q=np.array([True, True, False, True, False]),
        answered_Q=np.array([True, True, True, True, False]),
        chunk_right_Q=None,
        log2_p_Q=np.array([-0.25, -0.5, -3.0, -0.125, -2.0]),
        num_candidates_Q=np.array([3, 5, 5, 3, 3]),
    )
    worth = bits_recalled(found, demand_bits=60.0, num_facts=10, uniform=True, tau=0.6)
    assert worth.demand_bits == 60.0
    assert worth.bits_ce == 60 - 2 * 5.875
    # Twice: four of ten are wrong; a wrong one leaves four of five values, an unanswered one all three.
    corrections = math.log2(math.comb(10, 4)) + 2 * (math.log2(4) + math.log2(3)) + math.log2(11)
    assert worth.bits_argmax == pytest.approx(60 - corrections)
    clipped = [math.log2(3) - 0.25, math.log2(5) - 0.5, 0.0, math.log2(3) - 0.125, 0.0]
    assert worth.bits_ce_clipped == pytest.approx(2 * sum(clipped))
    assert worth.bits_at_tau == 60.0  # three of five are .6
    assert bits_recalled(found, demand_bits=60.0, num_facts=10, uniform=True, tau=0.61).bits_at_tau is None
    assert bits_recalled(found, demand_bits=60.0, num_facts=10, uniform=False, tau=0.6).bits_at_tau is None


# ---- noise on the keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.1, 0.7, 3.0])
def test_noise_turns_a_key_by_its_share_and_keeps_its_length(ratio: float) -> None:
    rng = np.random.default_rng(1)
    keys_QD = (rng.standard_normal((40, 2000)) * rng.uniform(0.5, 4, size=(40, 1))).astype(np.float32)
    asked = questions(40)
    asked = replace(asked, queries=replace(asked.queries, keys_QD=keys_QD, texts=["a"] * 40))
    noisy = with_key_noise(asked, ratio, seed=3)
    moved_QD = noisy.queries.key_vectors()
    assert moved_QD.dtype == np.float32
    length_Q = np.linalg.norm(keys_QD, axis=1)
    np.testing.assert_allclose(np.linalg.norm(moved_QD, axis=1), length_Q, rtol=1e-5)
    cosine_Q = (moved_QD * keys_QD).sum(axis=1) / length_Q**2
    # Noise of so many dimensions stands upright on the key, but for 1 / sqrt(2000).
    np.testing.assert_allclose(cosine_Q, 1 / math.sqrt(1 + ratio**2), atol=4 * min(ratio**2, 1) / math.sqrt(2000))
    # Each key has noise of its own, by the seed.
    off_QD = moved_QD / length_Q[:, None] - cosine_Q[:, None] * keys_QD / length_Q[:, None]
    off_QD /= np.linalg.norm(off_QD, axis=1, keepdims=True)
    assert np.abs(off_QD @ off_QD.T - np.eye(40)).max() < 0.2
    assert np.array_equal(with_key_noise(asked, ratio, seed=3).queries.key_vectors(), moved_QD)
    assert np.abs(with_key_noise(asked, ratio, seed=4).queries.key_vectors() - moved_QD).min(axis=1).max() > 0
    # All but the keys stays.
    assert replace(noisy, queries=asked.queries) == asked
    assert noisy.queries.texts == asked.queries.texts
    assert noisy.queries.relation_ids_Q is asked.queries.relation_ids_Q


# ---- the parts of the estimators -----------------------------------------------------------------------------------


def test_tempered_probabilities_question_by_question() -> None:
    rng = np.random.default_rng(4)
    log_probs_QC = rng.standard_normal((6, 4)) * 3
    log_probs_QC[1, 2] = log_probs_QC[4, 0] = -np.inf
    log_probs_QC[3] = -np.inf
    true_Q = np.array([3, 2, 0, 1, 2, 1])
    temperatures_G = np.array([0.3, 1.0, 7.0])
    found_QG = bits.true_probability(log_probs_QC, true_Q, temperatures_G)
    for row in range(6):
        for column, temperature in enumerate(temperatures_G):
            weights = [0.0 if np.isneginf(x) else math.exp(x / temperature) for x in log_probs_QC[row]]
            wanted = weights[true_Q[row]] / sum(weights) if sum(weights) else 0.0
            assert found_QG[row, column] == pytest.approx(wanted, rel=1e-9)
    # Large numbers of either sign do not overflow.
    assert bits.true_probability(np.array([[5000.0, 4999.0], [-9000.0, -9001.0]]), np.array([0, 1]), np.ones(1)) == (
        pytest.approx(np.array([[1 / (1 + math.exp(-1))], [1 / (1 + math.exp(1))]]))
    )


@pytest.mark.parametrize("floor", [0.01, 0.25])
def test_the_best_floor_of_the_probabilities_by_a_fine_grid(floor: float) -> None:
    rng = np.random.default_rng(6)
    probability_QG = rng.random((30, 4)) ** np.array([0.1, 1.0, 6.0, 30.0])  # from nearly sure to nearly never right
    prior_Q = rng.random(30) * 0.6 + 0.05
    epsilon_G, likelihood_G = bits._best_epsilon(probability_QG, prior_Q, floor)
    grid = np.linspace(floor, 1, 20_001)
    for column in range(4):
        mixed = (1 - grid) * probability_QG[:, column, None] + grid * prior_Q[:, None]
        means = np.log2(mixed).mean(axis=0)
        assert epsilon_G[column] == pytest.approx(grid[means.argmax()], abs=1e-4)
        assert likelihood_G[column] == pytest.approx(means.max(), abs=1e-6)
    assert epsilon_G[0] == floor and epsilon_G[3] > 0.5


def test_float16_is_rounded_upwards_alone() -> None:
    for value in (1 / 3, 0.1, 2**-14, 1.0, 1 / 2047, 100.0, 0.001):
        rounded = bits._round_up_to_float16(value)
        assert rounded == float(np.float16(rounded)) >= value
        below = float(np.nextafter(np.float16(rounded), np.float16(-np.inf)))
        assert below < value or rounded == value


def test_bits_of_corrections_count_the_lists_that_there_are() -> None:
    for num_facts, num_wrong, num_values in ((1, 1, 2), (7, 0, 3), (7, 3, 5), (12, 12, 9)):
        right = np.array([False] * num_wrong + [True] * (num_facts - num_wrong))
        lists = math.comb(num_facts, num_wrong) * (num_values - 1) ** num_wrong * (num_facts + 1)
        found = bits.bits_argmax(500.0, right, np.full(num_facts, num_values), num_facts)
        assert found == pytest.approx(500 - math.log2(lists))
    assert bits.bits_argmax(3.0, np.zeros(4, dtype=bool), np.full(4, 9), 4) == 0.0
    # One candidate: a wrong answer leaves no value to name, and costs nothing beyond its place.
    assert bits.bits_argmax(9.0, np.array([False, True]), np.ones(2), 2) == pytest.approx(9 - 1 - math.log2(3))
    assert bits.demand_uniform([3, 0, 5], [2, 0, 8]) == 3 + 15
    assert bits.demand_of_values(np.array([0, 0, 0, 1]), np.array([4, 5, 5, 4])) == pytest.approx(math.log2(3))
    assert bits.bits_ce(4.0, np.array([-3.0, -1.5]), 2) == 0.0


def best_by_scipy(
    log_probs_QC: np.ndarray, true_Q: np.ndarray, prior_Q: np.ndarray, floor: float
) -> tuple[float, float]:
    """Temperature and floor: the best of 46 that rise from .001 to 100, then of 21 between its neighbours."""

    def best_of(temperatures_G: np.ndarray) -> tuple[int, float]:
        found = []
        for temperature in temperatures_G:
            tempered_QC = log_softmax(log_probs_QC / temperature, axis=1)
            p_Q = np.exp(np.take_along_axis(tempered_QC, true_Q[:, None], axis=1)[:, 0])

            def loss(e: float, p_Q: np.ndarray = p_Q) -> float:
                return -float(np.log2((1 - e) * p_Q + e * prior_Q).mean())

            inside = minimize_scalar(loss, bounds=(floor, 1), method="bounded", options={"xatol": 1e-10})
            found.append(min((loss(e), e) for e in (floor, 1.0, float(inside.x))))
        least = int(np.argmin([value for value, _ in found]))
        return least, found[least][1]

    grid_G = np.geomspace(1e-3, 100, 46)
    place, _ = best_of(grid_G)
    fine_G = np.geomspace(grid_G[max(place - 1, 0)], grid_G[min(place + 1, 45)], 21)
    place, epsilon = best_of(fine_G)
    return float(fine_G[place]), epsilon


@pytest.mark.parametrize("scale", [0.02, 1.0, 7.0, 4000.0])
def test_the_pair_is_the_best_of_a_grid_that_is_refined_once(scale: float) -> None:
    rng = np.random.default_rng(round(scale * 100))
    true_Q = rng.integers(5, size=150)
    logits_QC = rng.normal(size=(150, 5))
    logits_QC[np.arange(150), true_Q] += 1.2
    logits_QC[:15] *= 30  # surely wrong, most of them
    log_probs_QC = log_softmax(scale * logits_QC, axis=1)
    prior_Q = rng.random(150) * 0.3 + 0.05
    fitted = bits.CalibrationFit(num_facts=40)
    for _ in range(fitted.num_passes):
        fitted.add(log_probs_QC[:50], true_Q[:50], prior_Q[:50])
        fitted.add(log_probs_QC[50:], true_Q[50:], prior_Q[50:])
        fitted.end_pass()
    temperature, epsilon = best_by_scipy(log_probs_QC, true_Q, prior_Q, bits._round_up_to_float16(1 / 40))
    assert fitted.result.temperature == bits._round_up_to_float16(temperature)
    assert fitted.result.epsilon == pytest.approx(epsilon, rel=2e-3)
    assert (fitted.result.temperature == 100) == (scale == 4000)
