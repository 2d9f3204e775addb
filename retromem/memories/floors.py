"""Memories that remember no fact: what a comparison must not credit.

`floor-mode` answers with the frequencies of the values it was shown. `guesser` names a value drawn from them, with
full confidence; honest estimators give it nothing.

Shape legend: B block of queries, M candidates of a relation, V values.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from retromem.memories.named_config import NamedConfig
from retromem.memories.ranking import rank_candidates
from retromem.memories.saved import FiledMemory, SavedFiles
from retromem.memories.sparse_numbers import pack_sparse, unpack_sparse
from retromem.memories.untrained_cost import untrained_cost
from retromem.seam import Facts, Part, Queries, Recall, Side, Stores, ValueTable, WriteCost

_COUNTS = "counts.bin"


@dataclass(frozen=True, kw_only=True)
class FrequencyConfig(NamedConfig):
    """The value frequencies, and nothing of the facts."""

    family: ClassVar[str] = "floor"
    stores: ClassVar[Stores] = "questions"
    version: ClassVar[int] = 2
    memory: Literal["frequency"] = "frequency"
    guess: bool = False
    """name one value at random, surely, instead of giving the frequencies"""

    def named(self, setting: str | None = None) -> str:
        return "guesser" if self.guess else "floor-mode"

    def build(self, *, seed: int) -> "FrequencyMemory":
        return FrequencyMemory(self, seed=seed)


class FrequencyMemory(FiledMemory):
    """Counts of the values that occur."""

    side: ClassVar[Side] = "floor"
    kind: ClassVar[str] = "frequency-memory"

    def __init__(self, config: FrequencyConfig, *, seed: int) -> None:
        self.config = config
        self.seed = seed
        self._counts_V: Int64[ndarray, " V"] | None = None

    def write(self, facts: Facts) -> WriteCost:
        assert self._counts_V is None, "a memory is written once"
        start = time.perf_counter()
        self._values = facts.values
        self._counts_V = np.bincount(facts.value_ids_N, minlength=facts.values.num_values)
        return untrained_cost(start, texts_encoded=0, exposures=1.0, flops=0.0)

    def recall(self, queries: Queries, *, top_k: int = 10, score: Int64[ndarray, "Q C"] | None = None) -> Recall:
        assert self._counts_V is not None, "write or load before recall"
        counts_V, starts = self._counts_V, self._values.starts

        def log_probs(relation: int, rows: Int64[ndarray, " B"]) -> Float32[ndarray, "B M"]:
            counts_M = counts_V[starts[relation] : starts[relation + 1]]
            if not counts_M.any():
                return np.full((len(rows), len(counts_M)), -np.inf, dtype=np.float32)
            if not self.config.guess:
                with np.errstate(divide="ignore"):
                    log_M = np.log(counts_M / counts_M.sum())
                return np.tile(log_M.astype(np.float32), (len(rows), 1))
            guessed_BM = np.full((len(rows), len(counts_M)), -np.inf, dtype=np.float32)
            cumulated_M = np.cumsum(counts_M) / counts_M.sum()
            for line, row in enumerate(rows):  # the guess is a function of the question alone
                key = queries.key_vectors()[row].tobytes()
                draw = np.random.default_rng([self.seed, *np.frombuffer(key[:32], np.uint32).tolist()]).random()
                guessed_BM[line, min(int(np.searchsorted(cumulated_M, draw)), len(counts_M) - 1)] = 0.0
            return guessed_BM

        return rank_candidates(queries, self._values, log_probs, top_k=top_k, score=score)

    def _saved_files(self) -> SavedFiles:
        assert self._counts_V is not None
        meta = {"guess": self.config.guess, "seed": self.seed}
        files = SavedFiles(self.kind, meta, self._values, self.calibration)
        files.add(_COUNTS, Part.STORAGE, pack_sparse(self._counts_V))
        return files

    @classmethod
    def _loaded(cls, folder: Path, meta: Mapping[str, Any], values: ValueTable) -> Self:
        memory = cls(FrequencyConfig(guess=meta["guess"]), seed=meta["seed"])
        memory._values = values
        memory._counts_V, _ = unpack_sparse((folder / _COUNTS).read_bytes(), values.num_values)
        return memory
