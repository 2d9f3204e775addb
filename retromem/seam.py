"""The seam: what a memory is, seen from outside. Everything that compares sees only this file.

    KnowledgeSet -> Memory.write(facts) -> Memory.recall(queries) -> measure -> rows -> report

A memory is given facts without test wordings and queries without answers, so held-out leakage is impossible by type.

Shape legend: N facts, Q queries, K ranked values, C candidates to score, D key dimension, V values, E code dimension.
All log-probabilities are natural logarithms (nats); the measures turn them into bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

Phrasing = Literal["identical", "calibrate", "seen", "heldout", "alias"]
Side = Literal["parametric", "retrieval", "paired", "floor"]
Role = Literal["arm", "control", "floor"]
"""arm: takes part in the comparison; control: a null or an ablation; floor: a bound or a baseline"""
Stores = Literal["questions", "statements"]
"""what a memory is made from: the write cues, which hold no value, or texts that hold it. Only memories made from
questions were given the same as the weights"""

MAX_WORDINGS = 16  # the low four bits of a fact's id are 0: a chunk's id notes there which wording it was made from


@dataclass(frozen=True, kw_only=True)
class Queries:
    """Q questions (or statements), and nothing of their answers: no fact ids, no value ids."""

    texts: Sequence[str] | None
    """None for the keys task"""
    keys_QD: Float32[ndarray, "Q D"] | None
    """what the encoder makes of the texts, centred per wording unless the arm says raw; or the keys of the keys task"""
    relation_ids_Q: Int64[ndarray, " Q"]
    """the question names its relation: candidates are masked to it, on every side"""
    encoder_hash: str
    """'' for the keys task; a memory refuses keys of another encoder"""

    def __len__(self) -> int:
        return len(self.relation_ids_Q)

    def key_vectors(self) -> Float32[ndarray, "Q D"]:
        """The keys, for memories that cannot do without."""
        assert self.keys_QD is not None, "these queries were never encoded"
        return self.keys_QD

    def rows(self, rows_R: Int64[ndarray, " R"]) -> "Queries":
        """A selection of the queries, in the order given."""
        return Queries(
            texts=None if self.texts is None else [self.texts[row] for row in rows_R],
            keys_QD=None if self.keys_QD is None else self.keys_QD[rows_R],
            relation_ids_Q=self.relation_ids_Q[rows_R],
            encoder_hash=self.encoder_hash,
        )


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Queries with their answers. Lives on the measuring side; a memory is only ever given `.queries`."""

    queries: Queries
    phrasing: Phrasing
    fact_ids_Q: Int64[ndarray, " Q"]
    value_ids_Q: Int64[ndarray, " Q"]
    prior_Q: Float64[ndarray, " Q"]
    """of the true value: 1/M_r where values were drawn uniformly, else its frequency in the prefix that was written"""

    def __len__(self) -> int:
        return len(self.queries)

    def rows(self, rows_R: Int64[ndarray, " R"]) -> "Asked":
        """A selection of the questions, in the order given."""
        return Asked(
            queries=self.queries.rows(rows_R),
            phrasing=self.phrasing,
            fact_ids_Q=self.fact_ids_Q[rows_R],
            value_ids_Q=self.value_ids_Q[rows_R],
            prior_Q=self.prior_Q[rows_R],
        )


@dataclass(frozen=True, kw_only=True)
class ValueTable:
    """Every value that can be an answer. Shared by all memories. A value id stands for a (relation, value) pair.

    The ids of a relation's values are one block: relation r owns ids [starts[r], starts[r + 1]).
    """

    strings: tuple[str, ...] | None
    """length V; None for the keys task"""
    relations: tuple[str, ...]
    starts: tuple[int, ...]
    """length R + 1"""

    @property
    def num_values(self) -> int:
        return self.starts[-1]

    def candidates(self, relation_id: int) -> Int64[ndarray, " M"]:
        """Value ids that can answer a question of this relation."""
        return np.arange(self.starts[relation_id], self.starts[relation_id + 1], dtype=np.int64)

    def num_candidates_R(self) -> Int64[ndarray, " R"]:
        return np.diff(np.asarray(self.starts, dtype=np.int64))


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a memory may see when it is written: write cues, statements, calibrate cues. Test wordings are not here."""

    ids_N: Int64[ndarray, " N"]
    """hash of (subject, relation), and of the value where there may be several; 63 bits, the lowest four 0"""
    value_ids_N: Int64[ndarray, " N"]
    cues: Sequence[Queries]
    """W cues a fact, N queries each, WITHOUT the value: what weights learn to answer and a question index stores"""
    statements: Queries | None
    """one a fact, WITH the value in the text: for stores that read, never a weight memory's key; None: not asked for"""
    calibration: Asked
    """calibrate wordings with answers: for T, eps and thresholds alone, the same for every memory"""
    values: ValueTable

    def __len__(self) -> int:
        return len(self.ids_N)

    def rows(self, rows_R: Int64[ndarray, " R"]) -> "Facts":
        """Some of the facts, with all of the calibration."""
        return Facts(
            ids_N=self.ids_N[rows_R],
            value_ids_N=self.value_ids_N[rows_R],
            cues=[cue.rows(rows_R) for cue in self.cues],
            statements=None if self.statements is None else self.statements.rows(rows_R),
            calibration=self.calibration,
            values=self.values,
        )


@dataclass(frozen=True, kw_only=True)
class Recall:
    """Answer to Q queries. Rows are distributions over the candidates of the relation: exp sums to at most 1 + 1e-4."""

    value_ids_QK: Int64[ndarray, "Q K"]
    """distinct values, best first, ties by smaller id; -1 pads"""
    log_probs_QK: Float32[ndarray, "Q K"]
    """of those; -inf where -1"""
    scored_QC: Float32[ndarray, "Q C"]
    """log-probability of exactly the candidates passed as `score`; -inf is allowed; C = 0 when none were"""
    confidence_Q: Float32[ndarray, " Q"]
    """larger = surer that the fact was written; any monotone scale"""
    fact_ids_QK: Int64[ndarray, "Q K"] | None = None
    """which stored fact spoke for each value; None where a memory cannot say"""


@dataclass(frozen=True, kw_only=True)
class WriteCost:
    """What writing cost. Numbers that are not known are nan, never 0."""

    seconds: float
    """wall time of the memory itself, encoding apart"""
    texts_encoded: int
    """charged at the encoder's measured cold seconds per text, cache or no cache"""
    flops: float
    exposures: float
    """mean times a fact was shown: in each wording it was written in, and again in each pass"""
    optimizer_steps: int
    succeeded: bool = True
    """False: the budget (seconds) ended first; the row says so"""
    share_of_steps: float | None = None
    """of a training that ends with its success, how much was needed; None for what is not trained so"""
    abandoned: bool = False
    """its training was ended early, for it would not have come to its goal"""


class Part(StrEnum):
    """The disjoint columns of the ledger. STORAGE + MAINTAIN + VALUE = bytes of the saved folder."""

    STORAGE = "storage"  # the smallest artefact that answers: weights + whatever was fitted on facts; index + payload
    MAINTAIN = "maintain"  # what changing one fact needs: training facts, optimiser state; ids, vectors, text, manifest
    VALUE = "value"  # the value strings, compressed: charged to every memory
    SHARED = "shared"  # encoder, tokenizer: the bytes of the encoder's files
    SEEDED = "seeded"  # regenerated from a seed (value codes, random rotations); on no disk and in no sum


@dataclass(frozen=True, kw_only=True)
class Holding:
    """One line of a memory's ledger."""

    name: str
    part: Part
    num_bytes: int | None
    """None = a server does not tell; every total with it is None"""
    num_params: int = 0
    num_active_params: int = 0
    """used for one query"""


@dataclass(frozen=True)
class Footprint:
    """A memory's ledger of bytes."""

    holdings: tuple[Holding, ...]
    resident_bytes: int | None = None
    """arrays held in memory to answer"""

    def num_bytes(self, *parts: Part) -> int | None:
        """Sum over the parts; None as soon as one of them is not known."""
        sizes = [holding.num_bytes for holding in self.holdings if holding.part in parts]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @property
    def storage_bytes(self) -> int | None:
        return self.num_bytes(Part.STORAGE)

    @property
    def num_params(self) -> int:
        return sum(holding.num_params for holding in self.holdings if holding.part is Part.STORAGE)

    @property
    def num_active_params(self) -> int:
        return sum(holding.num_active_params for holding in self.holdings if holding.part is Part.STORAGE)


@runtime_checkable
class Memory(Protocol):
    """Anything that can be written with facts and asked for them back."""

    side: ClassVar[Side]
    calibration: bytes
    """(T, eps) as the measure fitted them, for questions as written and for others; saved and charged with the memory;
    empty before"""

    @property
    def name(self) -> str: ...

    def write(self, facts: Facts) -> WriteCost:
        """Once, on an empty memory; AssertionError otherwise. All fitting happens here, on `facts` alone."""
        ...

    def recall(self, queries: Queries, *, top_k: int = 10, score: Int64[ndarray, "Q C"] | None = None) -> Recall:
        """Any Q (0 included), any top_k; splits into blocks itself, so that no (Q, V) array outlives a block.

        `score` changes no other field (a law). Results do not depend on how queries are grouped, within 1e-5.
        """
        ...

    def footprint(self) -> Footprint: ...

    def save(self, folder: Path) -> None:
        """Whole or not at all."""
        ...

    @classmethod
    def load(cls, folder: Path) -> "Memory":
        """The saved folder answers like the object that was saved."""
        ...


@runtime_checkable
class MemoryConfig(Protocol):
    """Frozen dataclass beside its memory; its fields and its version are part of the cell's identity."""

    version: ClassVar[int]
    """raised when the same settings answer, weigh or cost something else than before"""

    @property
    def memory(self) -> str:
        """Its field by which a config names it."""
        ...

    @property
    def name(self) -> str:
        """Readable, with the kind in lower case or the factory string in it."""
        ...

    @property
    def family(self) -> str:
        """Shared by memories that differ only in their dial."""
        ...

    @property
    def stores(self) -> Stores:
        """Statements are encoded only when somebody stores them."""
        ...

    def build(self, *, seed: int) -> Memory: ...


@runtime_checkable
class Checked(Protocol):
    """A config that names what lies outside of it, and can say before a run whether that is there."""

    def check(self) -> None:
        """UserError, which begins with the setting, where it is not."""
        ...

    def content_hash(self) -> str:
        """Of what lies there: part of the cell's identity, as what is written and answered depends on it."""
        ...


def needs_keys(config: MemoryConfig) -> bool:
    """Whether a memory is asked by vectors of an encoder: all are, unless their config says `needs_keys` is false."""
    return bool(getattr(config, "needs_keys", True))
