"""Facts in one-bit weights: key -> seeded sign features -> binary perceptrons -> the bits of the value's code.

What is stored is one bit a weight and nothing else. The features follow from a seed; they are free but printed.

Shape legend: N facts, B block, D key dimension, F features, O output bits, V values, M candidates of a relation.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from retromem.memories.dial import Dial, Load
from retromem.memories.named_config import NamedConfig
from retromem.memories.one_bit_memory import OneBitMemory
from retromem.memories.ranking import rank_candidates
from retromem.memories.saved import facts_files
from retromem.seam import Facts, Footprint, Queries, Recall, Stores, ValueTable, WriteCost

if TYPE_CHECKING:
    from models.binary_perceptron import BinaryFit

_MARGIN_UNIT = 0.1
"""of a sum over sqrt(F), as the standard deviation of a probit: about the margins at capacity"""


@dataclass(frozen=True, kw_only=True)
class SignMemoryConfig(NamedConfig):
    """One-bit weights on seeded sign features."""

    family: ClassVar[str] = "signs"
    stores: ClassVar[Stores] = "questions"
    version: ClassVar[int] = 1
    memory: Literal["signs"] = "signs"
    features: int = 2001
    """one-bit weights of each output bit; odd, so that no sum of them is 0"""
    bandwidth: float = 3.5
    """of the features, for keys of length 1: wider stores more, narrower stands more noise on the keys"""
    sweeps: int = 1000
    """over all facts, of each of at most four attempts; more get nearer to the capacity"""
    may_miss: float = 0.005
    """share of the facts that an attempt gives up, so that the others fit, once two attempts to fit all have failed"""

    def __post_init__(self) -> None:
        if self.features < 1 or self.features % 2 == 0:
            raise ValueError("features should be odd and 1 or more, so that no sum of signs is 0")
        if self.sweeps < 1 or not self.bandwidth > 0 or not 0 <= self.may_miss < 1:
            raise ValueError("sweeps should be 1 or more, bandwidth above 0, may_miss at least 0 and below 1")

    def named(self, setting: str | None = None) -> str:
        return f"signs-{setting or self.features}"

    @property
    def dial(self) -> Dial:
        return Dial(name="features", low=1, high=(1 << 16) - 1, step=2)

    @property
    def in_words(self) -> str:
        return f"one-bit weights on {self.features:,} random features"

    def turned(self, setting: int) -> "SignMemoryConfig":
        return replace(self, features=setting)

    def first_setting(self, load: Load) -> float:
        return load.num_facts / 0.68  # of the 0.83 facts a weight that random ones allow

    def most_bits(self, setting: int, load: Load) -> float:
        return setting * (load.num_candidates - 1).bit_length()

    def build(self, *, seed: int) -> "SignMemory":
        return SignMemory(self, seed=seed)


def bit_codes(values: ValueTable) -> Float32[ndarray, "V O"]:
    """-1 or +1 for each bit of a value's code, 0 for the bits that it does not have.

    Truncated binary: of M values all have ceil(log2 M) bits, or the first few one bit less where M is no power of 2; no
    code begins another, so the codes' probabilities sum to 1. Relations start at different outputs: no output has to
    carry more of them than it must.
    """
    most = int(values.num_candidates_R().max(initial=1))
    codes_VO = np.zeros((values.num_values, (most - 1).bit_length()), dtype=np.float32)
    first_output = 0
    for relation in range(len(values.relations)):
        candidates_M = values.candidates(relation)
        length = (len(candidates_M) - 1).bit_length()
        num_short = 2**length - len(candidates_M)
        for number, value_id in enumerate(candidates_M):
            short = number < num_short
            word, bits = (number, length - 1) if short else (number + num_short, length)
            for bit in range(bits):
                output = (first_output + bit) % codes_VO.shape[1]
                codes_VO[value_id, output] = 1.0 if word >> (bits - 1 - bit) & 1 else -1.0
        first_output += length
    return codes_VO


class SignMemory(OneBitMemory):
    """Binary perceptrons that all see the same features; nothing else of the facts is kept."""

    config_type: ClassVar[type[SignMemoryConfig]] = SignMemoryConfig
    kind: ClassVar[str] = "sign-memory"
    bits_are: ClassVar[str] = "weights"

    def write(self, facts: Facts) -> WriteCost:
        """Fit every cue of every fact, in up to four attempts, of which the best is kept."""
        from models.binary_perceptron import fit_binary_perceptrons

        assert self._packed is None, "a memory is written once"
        import torch

        start = time.perf_counter()
        keys_ND = np.concatenate([cue.key_vectors() for cue in facts.cues])
        self._know(facts.values, keys_ND.shape[1], facts.cues[0].encoder_hash, {})
        patterns_NF = self._features(keys_ND)
        labels_ON = torch.from_numpy(np.tile(self._codes_VO[facts.value_ids_N], (len(facts.cues), 1)).T.copy())
        fits: list[BinaryFit] = []
        for damping, gives_up in ((0.0, False), (0.5, False), (0.0, True), (0.5, True)):
            # Keys that look independent need no damping, others do. The last attempt gives up most of what none of the
            # others could fit: where facts are far too many, wanting them all loses more than there is to lose.
            missed = min(fit.missed_share for fit in fits) if len(fits) == 3 else 0.0
            fit = fit_binary_perceptrons(
                patterns_NF,
                labels_ON,
                sweeps=self.config.sweeps,
                may_miss=max(self.config.may_miss, 0.75 * missed) if gives_up else 0.0,
                damping=damping,
                seed=self.seed,
            )
            fits.append(fit)
            if fit.missed_share <= (2 * self.config.may_miss if gives_up else 0.0):
                break
        best = min(fits, key=lambda fit: fit.missed_share)
        self._use(np.packbits(best.weights_OF.numpy() > 0).tobytes())
        self._training_files = facts_files(facts)
        sweeps = sum(fit.sweeps for fit in fits)
        return WriteCost(
            seconds=time.perf_counter() - start,
            texts_encoded=len(keys_ND),
            # Two matrix products a sweep, a third every fifth sweep to count what is wrong; one for the features.
            flops=2.0 * self.config.features * (2.2 * sweeps * labels_ON.numel() + keys_ND.size),
            exposures=float(sweeps * len(facts.cues)),
            optimizer_steps=sweeps,
        )

    def _know(self, values: ValueTable, dim: int, encoder_hash: str, noted: Mapping[str, Any]) -> None:
        from models.sign_features import SignFeatures

        super()._know(values, dim, encoder_hash, noted)
        self._codes_VO = bit_codes(values)
        self._features = SignFeatures(dim, self.config.features, bandwidth=self.config.bandwidth, seed=self.seed)

    def _use(self, packed: bytes) -> None:
        import torch

        super()._use(packed)
        bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=self._num_params)
        self._weights_OF = torch.from_numpy(bits.astype(np.float32) * 2 - 1).view(-1, self.config.features)

    @property
    def _num_params(self) -> int:
        return int(self._codes_VO.shape[1] * self.config.features)

    def _weights(self) -> tuple[bytes, int, int]:
        assert self._packed is not None
        return self._packed, self._num_params, self._num_params

    def recall(self, queries: Queries, *, top_k: int = 10, score: Int64[ndarray, "Q C"] | None = None) -> Recall:
        import torch

        assert self._packed is not None, "write or load before recall"
        assert queries.encoder_hash == self._encoder_hash, "these keys are of another encoder"
        keys_QD, starts = queries.key_vectors(), self._values.starts

        def log_probs(relation: int, rows: Int64[ndarray, " B"]) -> Float32[ndarray, "B M"]:
            codes_MO = torch.from_numpy(self._codes_VO[starts[relation] : starts[relation + 1]])
            margins_BO = self._features(keys_QD[rows]) @ self._weights_OF.T
            margins_BO = margins_BO / (_MARGIN_UNIT * self.config.features**0.5)
            plus_BM = torch.special.log_ndtr(margins_BO) @ (codes_MO == 1).float().T
            minus_BM = torch.special.log_ndtr(-margins_BO) @ (codes_MO == -1).float().T
            answer_BM: Float32[ndarray, "B M"] = (plus_BM + minus_BM).numpy()
            return answer_BM

        return rank_candidates(queries, self._values, log_probs, top_k=top_k, score=score)

    def footprint(self) -> Footprint:
        seeded_bytes = self._features.num_bytes + self._codes_VO.nbytes
        return self._saved_files().footprint(
            seeded_bytes=seeded_bytes, resident_bytes=seeded_bytes + 4 * self._num_params
        )
