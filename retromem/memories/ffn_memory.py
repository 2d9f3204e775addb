"""Facts in the weights of an FFN: key -> FFN -> frozen value codes -> log-probabilities of the candidates.

Shape legend: N facts, Q queries, B block, D key dimension, E code dimension, V values, M candidates of a relation.
"""

import math
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from models.any_ffn import AnyFFNConfig
from models.ffn_kinds import DenseConfig
from models.precisions import BITS
from models.training_budget import TrainingBudget
from retrieval.chunks import npy_bytes
from retromem.memories.dial import Dial, Load
from retromem.memories.ffn_dial import (
    BITS_PER_PARAM,
    EXPOSURES_ENOUGH,
    NOISY,
    NOISY_OF_FEW_BITS,
    WRITTEN,
    dial_of_ffn,
    ffn_in_words,
    first_size,
    most_bits_of_ffn,
)
from retromem.memories.ffn_settings import FFNSettings
from retromem.memories.ranking import rank_candidates
from retromem.memories.saved import FACTS_FILES, facts_files
from retromem.memories.stored_ffn import StoredFFN
from retromem.memories.weight_memory import WeightMemory
from retromem.seam import Facts, Footprint, Queries, Recall, Stores, ValueTable, WriteCost

if TYPE_CHECKING:
    import torch

    from models.key_value_training import KeyValueModule

_OPTIMIZER = "optimizer.npy"


@dataclass(frozen=True, kw_only=True)
class FFNMemoryConfig(FFNSettings):
    """One FFN, trained on the facts."""

    stores: ClassVar[Stores] = "questions"
    version: ClassVar[int] = 3
    memory: Literal["ffn"] = "ffn"
    ffn: AnyFFNConfig = field(default_factory=lambda: DenseConfig(width=64))
    """its kind and size"""
    training: TrainingBudget = field(default_factory=TrainingBudget)
    """optimiser steps and learning rate"""

    def named(self, setting: str | None = None) -> str:
        of_ffn = f"{self.ffn.family}-{setting}" if setting else self.ffn.label
        aware = "-aware" if self.training.rounding == "aware" else ""
        suffix = self.precision_label + aware
        suffix += f"-noise{self.training.key_noise:g}" if self.training.key_noise else ""
        suffix += "-untrained" if self.training.steps == 0 else ""
        return f"ffn-{self.rotation_label}{of_ffn}{suffix}"

    @property
    def family(self) -> str:
        return f"ffn-{self.ffn.family}"

    def with_ffn(self, ffn: AnyFFNConfig) -> "FFNMemoryConfig":
        """The same memory with another FFN."""
        return replace(self, ffn=ffn)

    @property
    def dial(self) -> Dial | None:
        return dial_of_ffn(self.ffn)

    @property
    def in_words(self) -> str:
        noise = f", noise {self.training.key_noise:g} on the keys while training" if self.training.key_noise else ""
        return ffn_in_words(self.ffn, self.precision, self.rotate_to) + noise

    def turned(self, setting: int) -> "FFNMemoryConfig":
        return replace(self, ffn=self.ffn.resized(setting))

    def first_setting(self, load: Load) -> float:
        beside, held = WRITTEN
        if self.training.key_noise:
            beside, held = NOISY if BITS[self.precision] > 2 else NOISY_OF_FEW_BITS
        num_params = (load.demand_bits + beside * load.num_facts) / (held * BITS_PER_PARAM[self.precision])
        return first_size(self.ffn, num_params, *self.dims(load))

    def first_num_facts(self, load: Load) -> float:
        """Where a search for its capacity begins, by a rule of thumb: facts like those of `load`."""
        beside, held = WRITTEN
        num_params = self.ffn.num_params(*self.dims(load))
        a_fact = load.demand_bits / load.num_facts + beside
        num_facts = held * BITS_PER_PARAM[self.precision] * num_params / a_fact
        # Minibatches show a fact the less often, the more there are.
        shown = self.training.steps * self.training.batch_size
        seldom_shown = math.pow(num_facts**2 * shown / EXPOSURES_ENOUGH, 1 / 3)
        return min(num_facts, max(seldom_shown, self.training.full_batch_up_to))

    def most_bits(self, setting: int, load: Load) -> float:
        return most_bits_of_ffn(self.ffn.resized(setting), self.precision, *self.dims(load))

    def build(self, *, seed: int) -> "FFNMemory":
        return FFNMemory(self, seed=seed)


class FFNMemory(WeightMemory):
    """Weights trained on the write cues; nothing else of the facts is kept."""

    kind: ClassVar[str] = "ffn-memory"
    config_type: ClassVar[type[Any]] = FFNMemoryConfig
    training_files: ClassVar[tuple[str, ...]] = (*FACTS_FILES, _OPTIMIZER)

    def __init__(self, config: Any, *, seed: int, accelerator: str = "auto") -> None:
        super().__init__(config, seed=seed)
        self._accelerator = accelerator
        self._stored: StoredFFN | None = None

    @property
    def trained_on(self) -> str:
        """Kind of device: cpu, cuda."""
        return self._stored.trained_on if self._stored else "cpu"

    def write(self, facts: Facts) -> WriteCost:
        """Train on every cue of every fact, then round the weights to the precision they are stored in."""
        assert self._stored is None, "a memory is written once"
        keys_ND = np.concatenate([cue.key_vectors() for cue in facts.cues])
        relation_ids_N = np.concatenate([cue.relation_ids_Q for cue in facts.cues])
        self._know(facts.values, keys_ND.shape[1], facts.cues[0].encoder_hash, {})
        cost, state = self._fit(self._ffn.rotated(keys_ND), relation_ids_N, np.tile(facts.value_ids_N, len(facts.cues)))
        self._training_files = {**facts_files(facts), _OPTIMIZER: npy_bytes(state)}
        return replace(cost, exposures=cost.exposures * len(facts.cues))

    def _fit(
        self,
        keys_ND: Float32[ndarray, "N D"],
        relation_ids_N: Int64[ndarray, " N"],
        value_ids_N: Int64[ndarray, " N"],
    ) -> "tuple[WriteCost, ndarray]":
        """Find and keep the weights for keys already rotated; their cost, and what a change of one fact starts from."""
        budget = self.config.training
        cost, module = self._ffn.train(keys_ND, relation_ids_N, value_ids_N, budget, accelerator=self._accelerator)
        return cost, _optimizer_state(module)

    def _know(self, values: ValueTable, dim: int, encoder_hash: str, noted: Mapping[str, Any]) -> None:
        super()._know(values, dim, encoder_hash, noted)
        self._stored = StoredFFN(self.config.ffn, self.config, values, dim=dim, seed=self.seed)

    @property
    def _ffn(self) -> StoredFFN:
        assert self._stored is not None, "write or load before recall"
        return self._stored

    def recall(self, queries: Queries, *, top_k: int = 10, score: Int64[ndarray, "Q C"] | None = None) -> Recall:
        import torch

        ffn = self._ffn
        assert queries.encoder_hash == self._encoder_hash, "these keys are of another encoder"
        keys_QD = queries.key_vectors()

        def log_probs(relation: int, rows: Int64[ndarray, " B"]) -> Float32[ndarray, "B M"]:
            return ffn.log_probs(torch.from_numpy(ffn.rotated(keys_QD[rows])), relation)

        return rank_candidates(queries, self._values, log_probs, top_k=top_k, score=score)

    def slot_counts(self, queries: Queries) -> "Int64[ndarray, ' S'] | None":
        """How often these questions use each expert or memory slot; None where the FFN has none."""
        import torch

        with torch.inference_mode():
            counts_S = self._ffn.ffn.slot_counts(torch.from_numpy(self._ffn.rotated(queries.key_vectors())))
        return None if counts_S is None else counts_S.numpy()

    def footprint(self) -> Footprint:
        seeded_bytes = self._ffn.seeded_bytes
        resident_bytes = 4 * self._ffn.num_params + seeded_bytes
        return self._saved_files().footprint(seeded_bytes=seeded_bytes, resident_bytes=resident_bytes)

    def perturbed(self, *, relative_noise: float = 0.0, flip_rate: float = 0.0, seed: int) -> "FFNMemory":
        """A copy with Gaussian noise on the weights (in units of each matrix's RMS) or with random bits flipped.

        Of entropy-coded weights all is lost that is read after a flip.
        """
        import torch

        from models.weight_packing import add_noise, flip_bits

        disturbed = type(self)(self.config, seed=self.seed)
        # The codes are those of the copy.
        WeightMemory._know(disturbed, self._values, self._dim, self._encoder_hash, {})
        disturbed._stored = copy(self._ffn)
        disturbed._stored.use(flip_bits(self._ffn.packed, flip_rate, seed=seed))
        add_noise(disturbed._stored.ffn, relative_noise, torch.Generator().manual_seed(seed))
        return disturbed

    def _use(self, packed: bytes) -> None:
        self._ffn.use(packed)

    def _weights(self) -> tuple[bytes, int, int]:
        return self._ffn.packed, self._ffn.num_params, self._ffn.num_active_params


def _optimizer_state(module: "KeyValueModule") -> Float32[ndarray, " P"]:
    """The weights before they were rounded, and what the optimiser remembers of them."""
    state: list[torch.Tensor] = []
    for weight, moments in zip(module.backbone.parameters(), module.optimizer_moments(), strict=True):
        state += [weight.detach().float().cpu().flatten(), *moments]
    return np.concatenate([part.numpy() for part in state])
