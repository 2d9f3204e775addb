"""How long an answer takes: one question at a time, and in batches of 256.

Everything is measured behind the encoder; the end-to-end numbers add what encoding the question costs.
"""

import time
from dataclasses import dataclass

import numpy as np

from retromem.seam import Memory, Queries

_REPEATS = 60
_WARM_UP = 5
_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class EncoderCost:
    """What the encoder costs on this machine; zeros for the keys task."""

    seconds_per_text: float = 0.0
    """in batches, measured when the texts were really encoded"""
    single_text_ms: float = 0.0
    """one short text, batch 1, median"""
    file_bytes: int | None = 0
    """encoder and tokenizer: shared_bytes"""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds for batch 1, queries a second for batch 256."""

    query_ms_p50: float
    query_ms_p95: float
    query_ms_p50_end_to_end: float
    queries_per_second: float
    queries_per_second_end_to_end: float


def measure_latency(memory: Memory, queries: Queries, encoder: EncoderCost) -> Latency:
    """Ask real questions again and again; medians, since machines are noisy."""
    num = len(queries)
    milliseconds = []
    for turn in range(_WARM_UP + _REPEATS):
        one = queries.rows(np.array([turn % num]))
        start = time.perf_counter()
        memory.recall(one, top_k=1)
        milliseconds.append((time.perf_counter() - start) * 1e3)
    batch = queries.rows(np.arange(_BATCH) % num)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        memory.recall(batch, top_k=1)
        seconds.append(time.perf_counter() - start)
    p50, p95 = np.percentile(milliseconds[_WARM_UP:], [50, 95]).tolist()
    seconds_per_query = float(np.median(seconds)) / _BATCH
    return Latency(
        query_ms_p50=p50,
        query_ms_p95=p95,
        query_ms_p50_end_to_end=p50 + encoder.single_text_ms,
        queries_per_second=1.0 / seconds_per_query,
        queries_per_second_end_to_end=1.0 / (seconds_per_query + encoder.seconds_per_text),
    )
