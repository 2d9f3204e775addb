"""Dillinger and Walzer 2021 (arXiv 2103.02515): a static function by ribbons takes little more than its values."""

from functools import partial

from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.memories.static_function import StaticFunctionConfig
from retromem.reproduce.claim import Claim

_KEYS, _VALUES = 16_384, 16


def space_overhead(num_keys: int) -> float:
    """Stored bits over the entropy of the values, less 1, of a static function of the keys."""
    knowledge = keys_set(KeysConfig(dim=8, num_values=_VALUES, num_facts=num_keys))
    memory = StaticFunctionConfig().build(seed=0)
    memory.write(knowledge.facts())
    storage_bytes = memory.footprint().storage_bytes
    assert storage_bytes is not None
    return 8 * storage_bytes / knowledge.demand_bits() - 1


CLAIMS = [
    Claim(
        source="Dillinger and Walzer 2021",
        setting=f"ribbon of 128 slots, {_KEYS:,} keys, {_VALUES} values: bits over the entropy (published: below 10 %)",
        unit="relative",
        published=0.1,
        band=(0.0, 0.1),
        measure=partial(space_overhead, _KEYS),
        seconds_expected=5.0,
    )
]
