"""Two ways to do the same, timed in turns: what the machine does beside them falls on both."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Medians of two ways, and of the ratios of their turns."""

    benchmark: str
    """what is done"""
    ours: str
    reference: str
    ours_ms: float
    reference_ms: float
    ratio: float
    """ours / reference, the median over the turns: above 1 is slower"""
    turns: int


def in_turns(
    benchmark: str,
    ours: tuple[str, Callable[[], object]],
    reference: tuple[str, Callable[[], object]],
    *,
    turns: int = 7,
) -> Timed:
    """Run both once unmeasured, then `turns` times, each turn in the other order than the one before."""
    (our_name, do_ours), (its_name, do_reference) = ours, reference
    do_ours()
    do_reference()
    ours_ms: list[float] = []
    reference_ms: list[float] = []
    for turn in range(turns):
        both = [(do_ours, ours_ms), (do_reference, reference_ms)]
        for do, noted in both if turn % 2 == 0 else reversed(both):
            start = time.perf_counter()
            do()
            noted.append((time.perf_counter() - start) * 1e3)
    ratios = [mine / its for mine, its in zip(ours_ms, reference_ms, strict=True)]
    return Timed(
        benchmark=benchmark,
        ours=our_name,
        reference=its_name,
        ours_ms=statistics.median(ours_ms),
        reference_ms=statistics.median(reference_ms),
        ratio=statistics.median(ratios),
        turns=turns,
    )
