"""What the seam asks of a memory beyond its types, asked of memories that are not ours: theirs have no tests here."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from retromem.rows import LawBroken
from retromem.seam import Memory, Queries, Recall

_ASKED = 16
"""questions"""
_TOLERANCE = 1e-4


def check_seam(memory: Memory, queries: Queries, name: str) -> None:
    """LawBroken where answers are no distributions, hang on what else is asked, or are lost when it is saved."""
    queries = queries.rows(np.arange(min(_ASKED, len(queries))))
    together = memory.recall(queries)
    if np.isnan(together.log_probs_QK).any():
        raise LawBroken(f"{name}: recall gives log-probabilities that are nan")
    if (np.exp(together.log_probs_QK.astype(np.float64)).sum(axis=1) > 1 + _TOLERANCE).any():
        raise LawBroken(f"{name}: the probabilities of the values of a question sum to more than 1")
    order = np.arange(len(queries))[::-1]
    one_by_one = [memory.recall(queries.rows(order[place : place + 1])) for place in range(len(order))]
    if not all(_same(together, place, found, 0) for place, found in zip(order, one_by_one, strict=True)):
        raise LawBroken(f"{name}: the answer to a question changes with what else is asked, or with when it is asked")
    with TemporaryDirectory() as folder:
        memory.save(Path(folder) / "memory")
        again = type(memory).load(Path(folder) / "memory").recall(queries)
    if not all(_same(together, row, again, row) for row in range(len(queries))):
        raise LawBroken(f"{name}: what was saved answers otherwise: something that answers is not saved")


def _same(first: Recall, row: int, second: Recall, other: int) -> bool:
    """Whether two answers give every value the same probability; equals may stand in another order."""
    told, again = (
        dict(zip(found.value_ids_QK[at].tolist(), np.exp(found.log_probs_QK[at]).tolist(), strict=True))
        for found, at in ((first, row), (second, other))
    )
    return all(abs(told.get(value, 0.0) - again.get(value, 0.0)) < _TOLERANCE for value in told.keys() | again.keys())
