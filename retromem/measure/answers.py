"""Asking a memory, and scoring what it says: the one place where answers meet questions.

The memory is asked in blocks of one relation, with every candidate of the relation as `score`, so that p~ is exact;
only the true value's number is kept.

Shape legend: Q questions, B block, C candidates.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.measure import bits
from retromem.measure.bits import Calibration, CalibrationFit
from retromem.memories.ranking import blocks
from retromem.seam import Asked, Memory, MemoryConfig, Phrasing, Recall, ValueTable


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What one memory answered to Q questions."""

    right_Q: Bool[ndarray, " Q"]
    """the first value is the true one"""
    answered_Q: Bool[ndarray, " Q"]
    """any value was named at all"""
    chunk_right_Q: Bool[ndarray, " Q"] | None
    """the fact that spoke for the first value is the fact asked for; None where a memory cannot say"""
    log2_p_Q: Float64[ndarray, " Q"]
    """log2 p~ of the true value"""
    num_candidates_Q: Int64[ndarray, " Q"]

    @property
    def accuracy(self) -> float:
        return float(self.right_Q.mean())


def written(config: MemoryConfig, knowledge: KnowledgeSet, *, seed: int) -> Memory:
    """A memory of this seed that was written with all facts of the set."""
    memory = config.build(seed=seed)
    memory.write(knowledge.facts())
    return memory


def _scored_blocks(
    memory: Memory, asked: Asked, values: ValueTable
) -> Iterator[tuple[Int64[ndarray, " B"], Recall, Int64[ndarray, " B"]]]:
    """(rows, recall with all candidates scored, column of the true value) of one block after another."""
    for relation, rows in blocks(asked.queries.relation_ids_Q):
        candidates_C = values.candidates(relation)
        score_BC = np.tile(candidates_C, (len(rows), 1))
        recall = memory.recall(asked.queries.rows(rows), top_k=1, score=score_BC)
        yield rows, recall, asked.value_ids_Q[rows] - candidates_C[0]


def fit_calibration(memory: Memory, asked: Asked, values: ValueTable, *, num_facts: int) -> Calibration:
    """(T, eps) of these questions; the memory is asked twice, so that no (Q, V) array is kept."""
    fitted = CalibrationFit(num_facts=num_facts)
    for _ in range(fitted.num_passes):
        for rows, recall, true_B in _scored_blocks(memory, asked, values):
            fitted.add(recall.scored_QC.astype(np.float64), true_B, asked.prior_Q[rows])
        fitted.end_pass()
    return fitted.result


@dataclass(frozen=True, kw_only=True)
class Calibrations:
    """(T, eps) for each of the two situations that a memory is asked in."""

    as_written: Calibration
    """fitted on written cues of stored facts"""
    otherwise: Calibration
    """fitted on the calibrate wordings; for every phrasing that was not written"""
    num_bytes = 2 * Calibration.num_bytes

    def of(self, phrasing: Phrasing) -> Calibration:
        return self.as_written if phrasing == "identical" else self.otherwise

    def to_bytes(self) -> bytes:
        """Four float16, charged with the memory."""
        return self.as_written.to_bytes() + self.otherwise.to_bytes()


def fit_calibrations(
    memory: Memory, written: Asked, otherwise: Asked | None, values: ValueTable, *, num_facts: int
) -> Calibrations:
    """Both pairs of (T, eps). Where nothing else was ever asked (None), questions as written stand for both."""
    as_written = fit_calibration(memory, written, values, num_facts=num_facts)
    if otherwise is None:
        return Calibrations(as_written=as_written, otherwise=as_written)
    return Calibrations(
        as_written=as_written, otherwise=fit_calibration(memory, otherwise, values, num_facts=num_facts)
    )


def answers(memory: Memory, asked: Asked, values: ValueTable, calibration: Calibration) -> Answers:
    """Ask every question and score the answers under the memory's calibration."""
    probability_Q = np.zeros(len(asked))
    right_Q = np.zeros(len(asked), dtype=bool)
    answered_Q = np.zeros(len(asked), dtype=bool)
    chunk_right_Q: Bool[ndarray, " Q"] | None = np.zeros(len(asked), dtype=bool)
    temperatures_G = np.array([calibration.temperature])
    for rows, recall, true_B in _scored_blocks(memory, asked, values):
        probability_Q[rows] = bits.true_probability(recall.scored_QC.astype(np.float64), true_B, temperatures_G)[:, 0]
        answered_Q[rows] = recall.value_ids_QK[:, 0] >= 0
        right_Q[rows] = recall.value_ids_QK[:, 0] == asked.value_ids_Q[rows]
        if recall.fact_ids_QK is None:
            chunk_right_Q = None
        elif chunk_right_Q is not None:
            chunk_right_Q[rows] = recall.fact_ids_QK[:, 0] == asked.fact_ids_Q[rows]
    return Answers(
        right_Q=right_Q,
        answered_Q=answered_Q,
        chunk_right_Q=chunk_right_Q,
        log2_p_Q=bits.log2_calibrated(probability_Q, asked.prior_Q, calibration.epsilon),
        num_candidates_Q=values.num_candidates_R()[asked.queries.relation_ids_Q],
    )


@dataclass(frozen=True, kw_only=True)
class BitsRecalled:
    """The currency: what a memory's answers are worth."""

    demand_bits: float
    bits_ce: float
    bits_argmax: float
    bits_ce_clipped: float
    bits_at_tau: float | None
    """N log2 M where values are uniform and accuracy >= tau, else None"""


def bits_recalled(answered: Answers, *, demand_bits: float, num_facts: int, uniform: bool, tau: float) -> BitsRecalled:
    """Bits of N facts from the answers to n of them; laws: each at most the demand (clipped per fact apart)."""
    return BitsRecalled(
        demand_bits=demand_bits,
        bits_ce=bits.bits_ce(demand_bits, answered.log2_p_Q, num_facts),
        bits_argmax=bits.bits_argmax(
            demand_bits, answered.right_Q, answered.num_candidates_Q, num_facts, answered_Q=answered.answered_Q
        ),
        bits_ce_clipped=bits.bits_ce_clipped(answered.log2_p_Q, np.log2(answered.num_candidates_Q), num_facts),
        bits_at_tau=demand_bits if uniform and answered.accuracy >= tau else None,
    )


def accuracy(memory: Memory, asked: Asked) -> float:
    """Share of questions whose first value is the true one."""
    recall = memory.recall(asked.queries, top_k=1)
    return float((recall.value_ids_QK[:, 0] == asked.value_ids_Q).mean()) if len(asked) else math.nan
