"""Which index for so many bytes, so little time, or so much recall: formulas for bytes, a pilot for the rest.

Bytes are known before anything is built. Recall and time are measured on nested samples of the store, with questions
that it will be asked, and carried on to its full size by `recall_law` and in proportion to what a search reads.

Shape legend: N vectors of the store, Q questions, D dimensions.
"""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from retrieval.errors import Refused
from retrieval.exact_recall import best_similarities, num_nearest
from retrieval.plan_candidates import bytes_of, families
from retrieval.plan_request import PlanRequest
from retrieval.recall_law import Sampled, recall_at
from retrieval.vector_index import IndexSpec, VectorIndex

MOST_SAMPLED = 32_768
_SHARES = (4, 2, 1)  # of the sample: nested, the smallest first
_ROUGHLY, _THOROUGHLY = 1_000, 5_000  # questions; of a share of .95 that is .7 and .3 points of standard error
_TIMED_QUERIES = 25


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What an index is expected to be at the full size of the store."""

    spec: IndexSpec
    storage_bytes: int
    recall_at_1: float
    """against exact search, of the questions"""
    build_seconds: float
    query_ms: float
    """of one alone"""

    @property
    def name(self) -> str:
        """With what a query looks into, where that is a dial."""
        dials = (("nprobe", self.spec.nprobe), ("ef_search", self.spec.ef_search))
        return self.spec.label + "".join(f" ({name} {value})" for name, value in dials if value is not None)

    def described(self, num_facts: int) -> str:
        """In one line."""
        return (
            f"{self.name}: {self.storage_bytes:,} bytes ({self.storage_bytes / num_facts:.2f} a fact), "
            f"recall@1 {self.recall_at_1:.3f}, {self.build_seconds:.1f} s to build, {self.query_ms:.2f} ms a query"
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The index that was chosen, and how."""

    chosen: Expected
    tried: tuple[Expected, ...]
    """by bytes; most of them roughly"""
    sampled: int
    """vectors of the largest sample"""
    asked: int
    """questions asked of it for what was chosen"""


class Pilot:
    """Nested samples of a store and questions of facts that are in all of them."""

    def __init__(
        self,
        vectors_ND: Float32[ndarray, "N D"],
        questions_ND: Float32[ndarray, "N D"],
        *,
        most_sampled: int = MOST_SAMPLED,
        seed: int = 0,
    ) -> None:
        """`questions_ND`: the question of each vector's fact, in the same order."""
        num = min(len(vectors_ND), most_sampled)
        rows = np.random.default_rng(seed).permutation(len(vectors_ND))[:num]
        self.num_vectors = len(vectors_ND)
        # A store that is small enough is tried whole, and nothing needs to be carried on.
        self.sizes = [num] if num == self.num_vectors else sorted(num // share for share in _SHARES)
        # In the store's order: ties go to the smaller position, which must not be that of whoever is asked.
        self._samples = {size: np.ascontiguousarray(vectors_ND[np.sort(rows[:size])]) for size in self.sizes}
        # Whoever is asked must be in the smallest sample; what a whole store is asked may come from all of it.
        self._asked = {
            size: np.ascontiguousarray(questions_ND[rows[: self.sizes[0] if size < num else num]][:_THOROUGHLY])
            for size in self.sizes
        }
        self._best = {size: best_similarities(self._samples[size], queries) for size, queries in self._asked.items()}

    @property
    def num_asked(self) -> int:
        """Thoroughly, of the largest sample."""
        return len(self._asked[self.sizes[-1]])

    def expected(self, spec: IndexSpec, storage_bytes: int, *, thoroughly: bool) -> Expected:
        """Build the index over each sample and ask it. Refused where the samples are too few to train it."""
        samples, seconds, query_ms = [], [], []
        num_asked = _THOROUGHLY if thoroughly else _ROUGHLY
        for size in self.sizes:
            vectors, queries = self._samples[size], self._asked[size][:num_asked]
            start = time.perf_counter()
            index = VectorIndex(spec, vectors.shape[1])
            index.add(vectors)
            seconds.append(time.perf_counter() - start)
            answers = index.search(queries, 1)[0][:, 0]
            found = num_nearest(answers, vectors, queries, self._best[size][:num_asked])
            samples.append(Sampled(num_vectors=size, asked=len(queries), found=found))
            query_ms.append(_query_ms(index, queries))
        return Expected(
            spec=spec,
            storage_bytes=storage_bytes,
            recall_at_1=recall_at(self.num_vectors, samples),
            build_seconds=self._carried_on(seconds),
            query_ms=self._carried_on(query_ms, logarithmic="HNSW" in spec.factory),
        )

    def _carried_on(self, measured: list[float], *, logarithmic: bool = False) -> float:
        """Along the line through the smallest and the largest sample, over log N for a graph; never downwards."""
        if len(self.sizes) == 1:
            return measured[-1]
        x, low, high = (
            (math.log(size) if logarithmic else float(size))
            for size in (self.num_vectors, self.sizes[0], self.sizes[-1])
        )
        slope = max(0.0, (measured[-1] - measured[0]) / (high - low))
        return measured[-1] + slope * (x - high)


def _query_ms(index: VectorIndex, queries: ndarray) -> float:
    times = []
    for row in range(min(_TIMED_QUERIES, len(queries))):
        start = time.perf_counter()
        index.search(queries[row : row + 1], 1)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def plan(
    request: PlanRequest,
    vectors_ND: Float32[ndarray, "N D"],
    questions_ND: Float32[ndarray, "N D"],
    *,
    payload_bytes: int,
    most_sampled: int = MOST_SAMPLED,
) -> Plan:
    """The index with the fewest bytes that reaches the recall asked for, or that with the most recall where none is.

    `payload_bytes`: what the store keeps beside the index. `most_sampled`: vectors the pilot may see. Refused where
    no index meets the limits: the nearest that can be had is named.
    """
    num, dim = vectors_ND.shape
    limit = request.bytes_for(num)
    sizes = {
        name: [(spec, bytes_of(spec, dim, num) + payload_bytes) for spec in specs]
        for name, specs in families(dim, num, in_time=request.max_ms is not None).items()
    }
    fitting = {
        name: kept for name, all_of in sizes.items() if (kept := [x for x in all_of if limit is None or x[1] <= limit])
    }
    if not fitting:
        spec, least = min((pair for all_of in sizes.values() for pair in all_of), key=lambda pair: pair[1])
        raise Refused(
            f"no index holds {num:,} facts in {limit:,.0f} bytes; the smallest is {spec.label} with {least:,} "
            f"({least / num:.2f} a fact)"
        )
    trials = _Trials(Pilot(vectors_ND, questions_ND, most_sampled=most_sampled), request)
    # What looks best roughly is asked thoroughly, until what is best was. Where it fails, so does what was left out
    # for its sake: the families are searched again.
    chosen = None
    while chosen not in trials.thorough:
        if chosen is not None:
            trials.confirm(chosen)
        for candidates in fitting.values():
            trials.try_family(candidates)
        chosen = _best(list(trials.found.values()), request, num)
    _check(chosen, request, num)
    return Plan(
        chosen=chosen,
        tried=tuple(sorted(trials.found.values(), key=lambda expected: expected.storage_bytes)),
        sampled=trials.pilot.sizes[-1],
        asked=trials.pilot.num_asked,
    )


class _Trials:
    """What was found of the indexes that were tried."""

    def __init__(self, pilot: Pilot, request: PlanRequest) -> None:
        self.pilot = pilot
        self.found: dict[IndexSpec, Expected] = {}
        self.thorough: list[Expected] = []
        self._request = request

    def confirm(self, expected: Expected) -> None:
        """Ask more."""
        confirmed = self.pilot.expected(expected.spec, expected.storage_bytes, thoroughly=True)
        self.found[expected.spec] = confirmed
        self.thorough.append(confirmed)

    def try_family(self, candidates: Sequence[tuple[IndexSpec, int]]) -> None:
        """Bisect for the smallest that reaches the recall asked for; without one, for the largest that is fast enough.

        Within a family recall, time and bytes rise together.
        """
        least, most_ms = self._request.min_recall, self._request.max_ms
        if least is not None:
            # Nothing larger than what meets the limits already can be chosen.
            good = [found.storage_bytes for found in self.found.values() if self._is_good(found)]
            candidates = [candidate for candidate in candidates if not good or candidate[1] < min(good)]
        if not candidates:
            return
        last = self._try(candidates[-1])
        if last is None or (least is not None and last.recall_at_1 < least):
            return
        if least is None and (most_ms is None or last.query_ms <= most_ms):
            return
        low, high = -1, len(candidates) - 1
        while high - low > 1:
            middle = (low + high) // 2
            found = self._try(candidates[middle])
            is_enough = found is not None and (
                found.recall_at_1 >= least if least is not None else found.query_ms > (most_ms or math.inf)
            )
            low, high = (low, middle) if is_enough else (middle, high)

    def _is_good(self, found: Expected) -> bool:
        least, most_ms = self._request.min_recall, self._request.max_ms
        return (least is None or found.recall_at_1 >= least) and (most_ms is None or found.query_ms <= most_ms)

    def _try(self, candidate: tuple[IndexSpec, int]) -> Expected | None:
        """None where a sample has too few vectors to train it."""
        spec, storage_bytes = candidate
        if spec not in self.found:
            try:
                self.found[spec] = self.pilot.expected(spec, storage_bytes, thoroughly=False)
            except Refused:
                return None
        return self.found[spec]


def _best(tried: list[Expected], request: PlanRequest, num_facts: int) -> Expected:
    """What meets the limits best or, where nothing does, comes nearest. Refused where nothing could be tried."""
    if not tried:
        raise Refused(f"{num_facts:,} facts are too few to try an index on; name one, such as Flat")
    in_time = [expected for expected in tried if request.max_ms is None or expected.query_ms <= request.max_ms]
    if not in_time:
        return min(tried, key=lambda expected: expected.query_ms)
    if request.min_recall is None:
        return max(in_time, key=lambda expected: (round(expected.recall_at_1, 3), -expected.storage_bytes))
    good = [expected for expected in in_time if expected.recall_at_1 >= request.min_recall]
    if not good:
        return max(in_time, key=lambda expected: expected.recall_at_1)
    return min(good, key=lambda expected: expected.storage_bytes)


def _check(best: Expected, request: PlanRequest, num_facts: int) -> None:
    """Refused where not even the best meets the limits."""
    if request.max_ms is not None and best.query_ms > request.max_ms:
        raise Refused(f"no index answers within {request.max_ms:g} ms here; the fastest is {best.described(num_facts)}")
    if request.min_recall is not None and best.recall_at_1 < request.min_recall:
        raise Refused(
            f"no index within these limits reaches recall {request.min_recall:g}; the nearest is "
            f"{best.described(num_facts)}"
        )
