"""The keys task: keys with uniformly random values. No text, no encoder, pure capacity."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from retromem.knowledge.knowledge_set import KnowledgeSet, content_hash
from retromem.knowledge.label_noise import LabelNoise
from retromem.seam import MAX_WORDINGS, ValueTable

_MOST_TOKENS = 10_000


@dataclass(frozen=True, kw_only=True)
class KeysConfig(LabelNoise):
    """Random unit keys with uniformly random values: pure capacity, without text and without encoder."""

    source: Literal["keys"] = "keys"
    dim: int = 16
    """dimension of a key"""
    num_values: int = 16
    """M, values drawn uniformly"""
    num_facts: int = 4096
    """facts in the whole set"""
    seed: int = 0
    """of keys and values"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.dim, self.num_values, self.num_facts) < 1:
            raise ValueError("dim, num_values and num_facts should each be 1 or more")
        _check_values(self.num_values)

    def build(self) -> KnowledgeSet:
        return keys_set(self)


@dataclass(frozen=True, kw_only=True)
class TokenPairsConfig(LabelNoise):
    """Distinct pairs of tokens, each token one-hot in its place, with uniformly random values."""

    source: Literal["token_pairs"] = "token_pairs"
    num_tokens: int = 64
    """tokens of each place; a key has twice as many dimensions"""
    num_values: int = 32
    """M, values drawn uniformly"""
    num_facts: int = 4096
    """facts in the whole set, at most num_tokens^2"""
    seed: int = 0
    """of pairs and values"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.num_tokens, self.num_values, self.num_facts) < 1:
            raise ValueError("num_tokens, num_values and num_facts should each be 1 or more")
        if self.num_facts > self.num_tokens**2:
            raise ValueError(f"{self.num_tokens} tokens make {self.num_tokens**2:,} pairs, not {self.num_facts:,}")
        if self.num_tokens > _MOST_TOKENS:
            raise ValueError(f"num_tokens should be {_MOST_TOKENS:,} or fewer: all their pairs are shuffled")
        _check_values(self.num_values)

    def build(self) -> KnowledgeSet:
        return token_pairs_set(self)


def _check_values(num_values: int) -> None:
    if num_values == 1:
        raise ValueError("num_values should be 2 or more: where there is but one value, there is nothing to know")


def keys_set(config: KeysConfig) -> KnowledgeSet:
    """Random unit keys in R^d, values uniform among M. Its twin is another draw of the values."""
    rng = np.random.default_rng(config.seed)
    keys_ND = rng.standard_normal((config.num_facts, config.dim))
    keys_ND = (keys_ND / np.linalg.norm(keys_ND, axis=1, keepdims=True)).astype(np.float32)
    return _uniform_set("keys", keys_ND, config.num_values, rng).with_label_noise(config.label_noise)


def token_pairs_set(config: TokenPairsConfig) -> KnowledgeSet:
    """Two-hot keys of length sqrt 2 in a seeded order of all pairs (Linsefors and Bushnaq 2026), values uniform."""
    rng = np.random.default_rng(config.seed)
    pairs_N = rng.permutation(config.num_tokens**2)[: config.num_facts]
    keys_ND = np.zeros((config.num_facts, 2 * config.num_tokens), dtype=np.float32)
    facts_N = np.arange(config.num_facts)
    keys_ND[facts_N, pairs_N // config.num_tokens] = 1
    keys_ND[facts_N, config.num_tokens + pairs_N % config.num_tokens] = 1
    return _uniform_set("token pairs", keys_ND, config.num_values, rng).with_label_noise(config.label_noise)


def _uniform_set(
    name: str, keys_ND: Float32[ndarray, "N D"], num_values: int, rng: np.random.Generator
) -> KnowledgeSet:
    num_facts = len(keys_ND)
    value_ids_N = rng.integers(num_values, size=num_facts)
    return KnowledgeSet(
        name=name,
        content_hash=content_hash(keys_ND.tobytes(), value_ids_N.tobytes(), str(num_values).encode()),
        values=ValueTable(strings=None, relations=("key",), starts=(0, num_values)),
        uniform=True,
        all_fact_ids=np.arange(num_facts, dtype=np.int64) * MAX_WORDINGS,
        all_relation_ids=np.zeros(num_facts, dtype=np.int64),
        all_value_ids=value_ids_N,
        rows_N=np.arange(num_facts, dtype=np.int64),
        all_keys=keys_ND,
    )
