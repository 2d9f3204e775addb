"""Small sets of one relation, made for tests of single memories."""

from collections.abc import Callable

import numpy as np
import pytest

from retromem.knowledge.fact_table import FactTable
from retromem.knowledge.from_table import text_set
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.wordings import Wordings


class RandomKeys:
    encoder_hash = "random"

    def keys(self, texts: list[str], templates: object) -> np.ndarray:
        vectors = [np.random.default_rng(list(text.encode())).standard_normal(16) for text in texts]
        return np.array([vector / np.linalg.norm(vector) for vector in vectors], dtype=np.float32)


def _colours(num: int, values: list[str]) -> KnowledgeSet:
    table = FactTable(
        name="drawn",
        subjects=tuple(f"thing{number}" for number in range(num)),
        relations=("colour",) * num,
        values=tuple(values[number % len(values)] for number in range(num)),
        popularity=None,
        aliases=((),) * num,
        dropped={},
        attribution=None,
        notes=(),
    )
    wordings = Wordings(
        statements=("{subject} is {value}.",), written=("What of {subject}?",), calibrate=None, heldout=()
    )
    return text_set(table, {"colour": wordings}, num_written=1).with_keys(RandomKeys())


@pytest.fixture(scope="session")
def colours() -> Callable[[int, list[str]], KnowledgeSet]:
    """A set of so many things, coloured in turn by these values."""
    return _colours
