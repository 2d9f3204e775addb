"""Facts in Willshaw's binary matrix: key -> sparse code from a seed -> the unit of its value.

What is stored is one bit a synapse and nothing else; it is written in one pass, by no rule but OR. Each unit stands
for one value. A value that occurs often has several, as the value counts tell that every memory is given, and its facts
take turns: a column that had to bear a tenth of all facts would be on throughout.

Shape legend: N facts, B block, D key dimension, F cue units, K active cue units, V values, U value units, M candidates
of a relation.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from retromem.memories.dial import Dial, Load
from retromem.memories.named_config import NamedConfig
from retromem.memories.one_bit_memory import OneBitMemory
from retromem.memories.ranking import rank_candidates
from retromem.memories.saved import facts_files
from retromem.memories.untrained_cost import untrained_cost
from retromem.memories.value_units import unit_of_facts, units_of_values
from retromem.seam import Facts, Footprint, Queries, Recall, Stores, ValueTable, WriteCost

_MISSED = 0.05
"""chance that an active cue unit is not one that was written, of a key that moved; a key as written misses none"""


@dataclass(frozen=True, kw_only=True)
class WillshawMemoryConfig(NamedConfig):
    """Willshaw's binary associative memory, of sparse codes of the keys."""

    family: ClassVar[str] = "willshaw"
    stores: ClassVar[Stores] = "questions"
    version: ClassVar[int] = 1
    memory: Literal["willshaw"] = "willshaw"
    cue_units: int = 512
    """of the sparse code of a key"""
    winners: int = 12
    """cue units that are active for a key: log2(value units / errors allowed), for then half of the synapses are on"""
    units_per_value: int = 4
    """units of the values that occur, over their number: 1 where all occur equally often, 4 where some do rarely"""
    bandwidth: float | None = None
    """of waves in place of the plain projections, for keys of length 1: near 3.5 keys as written want a fifth fewer
    bytes, but keys of paraphrases are lost"""

    def __post_init__(self) -> None:
        if not 1 <= self.winners <= self.cue_units:
            raise ValueError("winners should be 1 or more and at most cue_units")
        if self.units_per_value < 1 or not (self.bandwidth is None or self.bandwidth > 0):
            raise ValueError("units_per_value should be 1 or more, bandwidth above 0")

    def named(self, setting: str | None = None) -> str:
        return f"willshaw-{setting or self.cue_units}" + ("" if self.bandwidth is None else "-waves")

    @property
    def dial(self) -> Dial:
        return Dial(name="cue_units", low=self.winners, high=1 << 16)

    @property
    def in_words(self) -> str:
        return f"binary synapses of {self.cue_units:,} random cue units, {self.winners} active"

    def turned(self, setting: int) -> "WillshawMemoryConfig":
        return replace(self, cue_units=setting)

    def first_setting(self, load: Load) -> float:
        units = min(load.num_facts, self.units_per_value * load.num_candidates * load.num_relations)
        return max(self.winners, load.num_facts * self.winners / 0.69 / units)

    def most_bits(self, setting: int, load: Load) -> float:
        return setting * self.units_per_value * load.num_candidates * load.num_relations

    def build(self, *, seed: int) -> "WillshawMemory":
        return WillshawMemory(self, seed=seed)


class WillshawMemory(OneBitMemory):
    """The synapses, and how many units each value has; nothing else of the facts is kept."""

    config_type: ClassVar[type[WillshawMemoryConfig]] = WillshawMemoryConfig
    kind: ClassVar[str] = "willshaw-memory"
    bits_are: ClassVar[str] = "synapses"
    # They follow from the value counts, which every memory is given.
    notes: ClassVar[tuple[str, ...]] = ("value_units",)

    def write(self, facts: Facts) -> WriteCost:
        """Switch on the synapses of every cue of every fact."""
        from models.closed_form.willshaw_matrix import willshaw_memory

        assert self._packed is None, "a memory is written once"
        import torch

        start = time.perf_counter()
        keys_ND = np.concatenate([cue.key_vectors() for cue in facts.cues])
        counts_V = np.bincount(facts.value_ids_N, minlength=facts.values.num_values)
        units_V = units_of_values(counts_V, self.config.units_per_value)
        noted = {"value_units": " ".join(map(str, units_V.tolist()))}
        self._know(facts.values, keys_ND.shape[1], facts.cues[0].encoder_hash, noted)
        targets_NL = np.tile(unit_of_facts(facts.value_ids_N, units_V), len(facts.cues))[:, None]
        w_FU = willshaw_memory(
            self._codes(keys_ND),
            torch.from_numpy(targets_NL),
            cue_units=self.config.cue_units,
            target_units=int(units_V.sum()),
        )
        self._use(np.packbits(w_FU.numpy()).tobytes())
        self._training_files = facts_files(facts)
        flops = 2.0 * self.config.cue_units * keys_ND.size  # the codes; switching on multiplies nothing
        return untrained_cost(start, texts_encoded=len(keys_ND), exposures=float(len(facts.cues)), flops=flops)

    def _know(self, values: ValueTable, dim: int, encoder_hash: str, noted: Mapping[str, Any]) -> None:
        from models.winner_codes import WinnerCodes

        super()._know(values, dim, encoder_hash, noted)
        config = self.config
        self._units_V = np.array(noted["value_units"].split(), dtype=np.int64)
        self._codes = WinnerCodes(
            dim, config.cue_units, winners=config.winners, bandwidth=config.bandwidth, seed=self.seed
        )

    def _use(self, packed: bytes) -> None:
        import torch

        super()._use(packed)
        bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=self._num_params)
        self._w_FU = torch.from_numpy(bits.astype(bool)).view(self.config.cue_units, -1)
        # As if half a synapse were on, and half a one off, where none is.
        least = 0.5 / self.config.cue_units
        share_on_U = self._w_FU.double().mean(dim=0).numpy().clip(least, 1 - least)
        # A column of load x is on to the share 1 - exp(-x): how many facts it bears is read off it.
        self._log_load_U = np.log(-np.log1p(-share_on_U))
        self._nats_lit_U = np.log((1 - _MISSED * (1 - share_on_U)) / share_on_U)

    @property
    def _num_params(self) -> int:
        return int(self.config.cue_units * self._units_V.sum())

    def _weights(self) -> tuple[bytes, int, int]:
        assert self._packed is not None
        return self._packed, self._num_params, int(self.config.winners * self._units_V.sum())

    def recall(self, queries: Queries, *, top_k: int = 10, score: Int64[ndarray, "Q C"] | None = None) -> Recall:
        """By the lit synapses of each unit: what they tell for its having been written, beside chance."""
        from models.closed_form.willshaw_matrix import lit_synapses

        assert self._packed is not None, "write or load before recall"
        assert queries.encoder_hash == self._encoder_hash, "these keys are of another encoder"
        keys_QD, starts = queries.key_vectors(), self._values.starts
        first_V = np.cumsum(self._units_V) - self._units_V

        def log_probs(relation: int, rows: Int64[ndarray, " B"]) -> Float32[ndarray, "B M"]:
            ids_M = slice(starts[relation], starts[relation + 1])
            occurs_M = self._units_V[ids_M] > 0
            log_p_BM = np.full((len(rows), len(occurs_M)), -np.inf, dtype=np.float32)
            if not occurs_M.any():
                return log_p_BM
            first_M = first_V[ids_M][occurs_M]
            units_U = slice(int(first_M[0]), int(first_M[0] + self._units_V[ids_M].sum()))
            lit_BU = lit_synapses(self._w_FU[:, units_U], self._codes(keys_QD[rows])).numpy()
            missed_BU = self.config.winners - lit_BU
            told_BU = lit_BU * self._nats_lit_U[units_U] + missed_BU * np.log(_MISSED) + self._log_load_U[units_U]
            told_BM = np.logaddexp.reduceat(told_BU, first_M - first_M[0], axis=1)
            log_p_BM[:, occurs_M] = told_BM - np.logaddexp.reduce(told_BM, axis=1, keepdims=True)
            return log_p_BM

        return rank_candidates(queries, self._values, log_probs, top_k=top_k, score=score)

    def footprint(self) -> Footprint:
        seeded_bytes = self._codes.num_bytes
        return self._saved_files().footprint(seeded_bytes=seeded_bytes, resident_bytes=seeded_bytes + self._num_params)
