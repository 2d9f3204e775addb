"""The keys task: random unit keys with uniformly random values. No text, no encoder, pure capacity."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from retromem.knowledge.knowledge_set import KnowledgeSet, content_hash
from retromem.seam import MAX_WORDINGS, ValueTable


@dataclass(frozen=True, kw_only=True)
class KeysConfig:
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
        if min(self.dim, self.num_values, self.num_facts) < 1:
            raise ValueError("dim, num_values and num_facts should each be 1 or more")


def keys_set(config: KeysConfig) -> KnowledgeSet:
    """Random unit keys in R^d, values uniform among M. Its twin is another draw of the values."""
    rng = np.random.default_rng(config.seed)
    keys_ND = rng.standard_normal((config.num_facts, config.dim))
    keys_ND = (keys_ND / np.linalg.norm(keys_ND, axis=1, keepdims=True)).astype(np.float32)
    value_ids_N = rng.integers(config.num_values, size=config.num_facts)
    return KnowledgeSet(
        name="keys",
        content_hash=content_hash(keys_ND.tobytes(), value_ids_N.tobytes(), str(config.num_values).encode()),
        values=ValueTable(strings=None, relations=("key",), starts=(0, config.num_values)),
        uniform=True,
        all_fact_ids=np.arange(config.num_facts, dtype=np.int64) * MAX_WORDINGS,
        all_relation_ids=np.zeros(config.num_facts, dtype=np.int64),
        all_value_ids=value_ids_N,
        rows_N=np.arange(config.num_facts, dtype=np.int64),
        all_keys=keys_ND,
    )
