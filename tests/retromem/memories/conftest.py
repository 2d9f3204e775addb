"""Small sets of one relation, made for tests of single memories."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from retromem.knowledge.fact_table import FactTable
from retromem.knowledge.from_table import text_set
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.wordings import Wordings
from retromem.seam import Asked, Facts, Holding, Part, Queries, ValueTable


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


def _toys() -> Facts:
    """Eleven facts, unsorted: seven of three colours, four of five sizes; two wordings, statements and keys."""
    relation_ids_N = np.array([1, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0])
    value_ids_N = np.array([4, 2, 0, 7, 0, 1, 0, 3, 2, 7, 1])
    strings = ("red", "tan", "blue", "tiny", "small", "middling", "large", "huge")
    values = ValueTable(strings=strings, relations=("colour", "size"), starts=(0, 3, 8))

    def worded(wording: str, offset: float, seed: int) -> Queries:
        texts = [
            wording.format(thing=f"thing{row}", relation=values.relations[relation], value=strings[value])
            for row, (relation, value) in enumerate(zip(relation_ids_N.tolist(), value_ids_N.tolist(), strict=True))
        ]
        of_fact_ND = np.random.default_rng(8).standard_normal((11, 6))
        keys_ND = of_fact_ND + offset * np.random.default_rng(seed).standard_normal((11, 6))
        keys_ND /= np.linalg.norm(keys_ND, axis=1, keepdims=True)
        return Queries(
            texts=texts, keys_QD=keys_ND.astype(np.float32), relation_ids_Q=relation_ids_N, encoder_hash="toys"
        )

    calibration = Asked(
        queries=worded("say the {relation} of {thing}", 0.1, 4),
        phrasing="calibrate",
        fact_ids_Q=16 * np.arange(3, 14),
        value_ids_Q=value_ids_N,
        prior_Q=np.full(11, 0.25),
    )
    return Facts(
        ids_N=16 * np.arange(3, 14),
        value_ids_N=value_ids_N,
        cues=[worded("what {relation} is {thing}?", 0.1, 1), worded("{thing}: {relation}?", 0.1, 2)],
        statements=worded("{thing} is {value}.", 0.3, 3),
        calibration=calibration,
        values=values,
    )


@pytest.fixture(scope="session")
def toys() -> Facts:
    """Facts of two relations, with all that a memory may want of them."""
    return _toys()


def _ledger_of(folder: Path, parts: Mapping[str, Part], num_params: int, seeded_bytes: int) -> tuple[Holding, ...]:
    def holding(name: str, part: Part) -> Holding:
        params = num_params if name == "weights.bin" else 0
        size = (folder / name).stat().st_size
        return Holding(name=name, part=part, num_bytes=size, num_params=params, num_active_params=params)

    assert {file.name for file in folder.iterdir()} == set(parts)
    files = [holding(name, part) for name, part in parts.items()]
    return (*files, Holding(name="from a seed", part=Part.SEEDED, num_bytes=seeded_bytes))


@pytest.fixture(scope="session")
def ledger_of() -> Callable[[Path, Mapping[str, Part], int, int], tuple[Holding, ...]]:
    """The lines that saved weights should have: the files of a folder, all of them, and what comes from a seed."""
    return _ledger_of
