"""What writing costs where no optimiser takes a step."""

import math
import time

from retromem.seam import WriteCost


def untrained_cost(start: float, *, texts_encoded: int, exposures: float, flops: float = math.nan) -> WriteCost:
    """Of a writing that began at `start` (by `time.perf_counter`) and ends now; FLOPs that nobody counted are nan."""
    return WriteCost(
        seconds=time.perf_counter() - start,
        texts_encoded=texts_encoded,
        flops=flops,
        exposures=exposures,
        optimizer_steps=0,
    )
