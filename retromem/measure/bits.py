"""Bits recalled: the estimators, in numpy alone, so that they can be cited and reused outside this project.

    demand      D            bits that a perfect memory of the facts recalls
    bits_ce     max(0, D + sum_i log2 p~(v_i | q_i))                          what the probabilities are worth
    bits_argmax max(0, D - log2 C(N, e) - sum_wrong log2(M_r - 1) - log2(N + 1))
                                                    the demand minus the list of corrections to the first answers

with p~(v|q) = (1 - eps) softmax(log p / T)(v) + eps prior(v) over the candidates of the question's relation. (T, eps)
are fitted once for questions as written and once for other wordings, and charged as four float16. Bits are clipped once
a row and never per fact: per-fact clipping credits a guesser who stores nothing with 0.25 bits a fact at M = 16.

Where only n of N facts are asked, the log sum and the number of wrong answers are scaled by N / n.

Shape legend: Q questions, C candidates, G grid of temperatures, N facts, R relations.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

MIN_EPSILON = 2.0**-14
MIN_TEMPERATURE = 1e-3
_TEMPERATURES = np.geomspace(MIN_TEMPERATURE, 100.0, 46)  # neighbours differ by a factor of 1.3; refined afterwards


# ---- demand ------------------------------------------------------------------------------------------------------


def log2_binomial(n: float, k: float) -> float:
    """log2 C(n, k), also between the integers (scaled counts)."""
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)


def log2_multinomial(counts: Iterable[int]) -> float:
    """log2 of the number of ways to deal values with these counts to their facts."""
    counts = list(counts)
    return (math.lgamma(sum(counts) + 1) - sum(math.lgamma(count + 1) for count in counts)) / math.log(2)


def demand_uniform(counts_R: Sequence[int], num_candidates_R: Sequence[int]) -> float:
    """sum_r N_r log2 M_r: values drawn uniformly and independently among M_r."""
    return float(sum(n * math.log2(m) for n, m in zip(counts_R, num_candidates_R, strict=True) if n))


def demand_of_values(relation_ids_N: ndarray, value_ids_N: ndarray) -> float:
    """Real values: log2 multinomial of the value counts, summed over relations (an upper bound where they depend).

    The value counts themselves are given to every memory, so they cost and earn nothing.
    """
    return sum(
        log2_multinomial(np.unique(value_ids_N[relation_ids_N == relation], return_counts=True)[1].tolist())
        for relation in np.unique(relation_ids_N)
    )


# ---- calibration: one map for every memory -----------------------------------------------------------------------


def _round_up_to_float16(value: float) -> float:
    rounded = np.float16(value)
    return float(rounded if float(rounded) >= value else np.nextafter(rounded, np.float16(np.inf)))


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """T and eps of p~, as stored: two float16."""

    temperature: float
    epsilon: float
    num_bytes = 4

    def to_bytes(self) -> bytes:
        return np.array([self.temperature, self.epsilon], dtype="<f2").tobytes()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Calibration":
        temperature, epsilon = np.frombuffer(content, dtype="<f2").tolist()
        return cls(temperature=temperature, epsilon=epsilon)


def true_probability(log_probs_QC: ndarray, true_Q: ndarray, temperatures_G: ndarray) -> ndarray:
    """softmax(log p / T) at the true candidate for each T; 0 where the memory gave every candidate -inf."""
    best_Q1 = log_probs_QC.max(axis=1, keepdims=True)
    answered_Q = np.isfinite(best_Q1[:, 0])
    shifted_QC = np.where(answered_Q[:, None], log_probs_QC - np.where(answered_Q[:, None], best_Q1, 0.0), -np.inf)
    true_log_Q = np.take_along_axis(shifted_QC, true_Q[:, None], axis=1)[:, 0]
    probability_QG = np.zeros((len(true_Q), len(temperatures_G)))
    for column, temperature in enumerate(temperatures_G):  # one (Q, C) array at a time
        total_Q = np.exp(shifted_QC / temperature).sum(axis=1)
        probability_QG[:, column] = np.exp(true_log_Q / temperature) / np.where(answered_Q, total_Q, 1.0)
    return probability_QG


def _best_epsilon(probability_QG: ndarray, prior_Q: ndarray, floor: float) -> tuple[ndarray, ndarray]:
    """The eps in [floor, 1] of the highest likelihood for each column, and that mean log2 likelihood.

    The likelihood is concave in eps, so its derivative is bisected.
    """
    gain_QG = prior_Q[:, None] - probability_QG
    low_G = np.full(probability_QG.shape[1], floor)
    high_G = np.ones_like(low_G)
    slope_at_floor_G = (gain_QG / (probability_QG + floor * gain_QG)).sum(axis=0)
    for _ in range(40):
        middle_G = (low_G + high_G) / 2
        rises_G = (gain_QG / (probability_QG + middle_G * gain_QG)).sum(axis=0) > 0
        low_G, high_G = np.where(rises_G, middle_G, low_G), np.where(rises_G, high_G, middle_G)
    epsilon_G = np.where(slope_at_floor_G <= 0, floor, high_G)
    return epsilon_G, np.log2(probability_QG + epsilon_G * gain_QG).mean(axis=0)


class CalibrationFit:
    """Fits (T, eps) from a stream of blocks that may be passed twice, so that no (Q, V) array is ever kept.

    for each of the two passes: for each block: `add(log_probs_QC, true_Q, prior_Q)`; then `end_pass()`.
    """

    num_passes = 2

    def __init__(self, *, num_facts: int) -> None:
        self._floor = _round_up_to_float16(max(MIN_EPSILON, 1.0 / max(num_facts, 1)))
        self._temperatures_G = _TEMPERATURES
        self._probabilities: list[ndarray] = []
        self._priors: list[ndarray] = []
        self.result = Calibration(temperature=1.0, epsilon=1.0)

    def add(self, log_probs_QC: ndarray, true_Q: ndarray, prior_Q: ndarray) -> None:
        self._probabilities.append(true_probability(log_probs_QC, true_Q, self._temperatures_G))
        self._priors.append(prior_Q)

    def end_pass(self) -> None:
        """Choose the best (T, eps) seen, and refine the grid of temperatures around it for the next pass."""
        probability_QG, prior_Q = np.concatenate(self._probabilities), np.concatenate(self._priors)
        self._probabilities, self._priors = [], []
        epsilon_G, likelihood_G = _best_epsilon(probability_QG, prior_Q, self._floor)
        best = int(np.argmax(likelihood_G))
        self.result = Calibration(
            temperature=_round_up_to_float16(max(MIN_TEMPERATURE, float(self._temperatures_G[best]))),
            epsilon=min(1.0, _round_up_to_float16(float(epsilon_G[best]))),
        )
        below, above = max(best - 1, 0), min(best + 1, len(self._temperatures_G) - 1)
        self._temperatures_G = np.geomspace(self._temperatures_G[below], self._temperatures_G[above], 21)


def log2_calibrated(probability_Q: ndarray, prior_Q: ndarray, epsilon: float) -> ndarray:
    """log2 p~ of the true value, from its tempered probability."""
    return np.log2((1.0 - epsilon) * probability_Q + epsilon * prior_Q)


# ---- bits recalled -----------------------------------------------------------------------------------------------


def bits_ce(demand_bits: float, log2_p_Q: ndarray, num_facts: int) -> float:
    """max(0, D + sum log2 p~), the sum scaled to all N facts; at most D."""
    return max(0.0, demand_bits + float(log2_p_Q.sum()) * num_facts / len(log2_p_Q))


def bits_ce_clipped(log2_p_Q: ndarray, log2_num_candidates_Q: ndarray, num_facts: int) -> float:
    """sum max(0, log2 M + log2 p~), clipped per fact as in Morris et al. 2025 (arXiv 2505.24832). To compare only."""
    return float(np.maximum(0.0, log2_num_candidates_Q + log2_p_Q).sum()) * num_facts / len(log2_p_Q)


def bits_argmax(
    demand_bits: float,
    right_Q: Sequence[bool] | ndarray,
    num_candidates_Q: ndarray,
    num_facts: int,
    *,
    answered_Q: ndarray | None = None,
) -> float:
    """D minus the list of corrections: how many are wrong, which, and their values; defined at every accuracy.

    A wrong answer leaves M - 1 values, no answer (`answered_Q` false; all answered where None) leaves M.
    """
    wrong_Q = ~np.asarray(right_Q, dtype=bool)
    scale = num_facts / len(wrong_Q)
    excluded_Q = np.ones(len(wrong_Q), dtype=bool) if answered_Q is None else answered_Q
    corrections = float(np.log2(np.maximum(num_candidates_Q - excluded_Q, 1))[wrong_Q].sum()) * scale
    which = log2_binomial(float(num_facts), float(wrong_Q.sum()) * scale) + math.log2(num_facts + 1)
    return max(0.0, demand_bits - which - corrections)
