"""Dillinger and Walzer 2021 (arXiv 2103.02515): a static function by ribbons takes little more than its values."""

from dataclasses import dataclass
from typing import Literal

from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.memories.static_function import StaticFunctionConfig
from retromem.panels.published.published_panel import PublishedPanel


@dataclass(frozen=True, kw_only=True)
class StaticFunctionOverheadConfig(PublishedPanel):
    """Stored bits over the entropy of the values, less 1, of a static function of the keys."""

    panel: Literal["static_function_overhead"] = "static_function_overhead"
    keys: int = 16_384
    """each with a value"""
    values: int = 16
    """drawn uniformly"""
    seeds: tuple[int, ...] = (0,)
    """of the function's own draws"""

    unit = "relative"

    @property
    def setting(self) -> str:
        return f"ribbon of 128 slots, {self.keys:,} keys, {self.values} values: bits over the entropy"

    def number(self, seed: int) -> float:
        knowledge = keys_set(KeysConfig(dim=8, num_values=self.values, num_facts=self.keys))
        memory = StaticFunctionConfig().build(seed=seed)
        memory.write(knowledge.facts())
        storage_bytes = memory.footprint().storage_bytes
        assert storage_bytes is not None
        return 8 * storage_bytes / knowledge.demand_bits() - 1
