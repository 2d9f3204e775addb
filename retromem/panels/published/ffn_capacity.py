"""Bits per parameter that an FFN stores of random keys: Nichani, Lee and Bietti 2024, and an independent trial.

Nichani et al. (arXiv 2412.06538): keys and values are random unit vectors; the published constants are the guide lines
of its plots. The trial measured kinds once before, with another script.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from models.any_ffn import AnyFFNConfig
from models.precisions import Precision
from models.training_budget import TrainingBudget
from retromem.measure.trained_ffn import accuracy, bisected, most_facts, random_table, rounded, train
from retromem.panels.panel_config import Encoded
from retromem.panels.points import Point
from retromem.panels.published.published_panel import OURS, PublishedPanel, of_seeds

_ACCURACY = 0.99


def stored_facts(
    config: AnyFFNConfig,
    dim: int,
    num_values: int,
    bits_per_param: float,
    *,
    seed: int,
    budgets: Sequence[TrainingBudget],
    precision: Precision = "float32",
    resolution: float,
) -> int:
    """Facts stored at accuracy .99 by any of the budgets, bisected around the bits expected, as in the trial.

    Where success is noisy, as of about 60 facts that must all be right, a search that looks beyond its first failure,
    as those of experiments do, finds more: the trial's did not, so neither does this one.
    """
    expected = bits_per_param * config.num_params(dim, dim) / math.log2(num_values)

    def reaches(num_facts: int) -> bool:
        table = random_table(num_facts, dim, num_values, seed=seed)
        return any(
            accuracy(rounded(train(config, table, budget, seed=seed), precision), table) >= _ACCURACY
            for budget in budgets
        )

    good, size, high = 0, int(0.6 * expected), int(1.8 * expected)
    while reaches(size):
        if size == high:
            raise RuntimeError(f"even {high} facts were stored: the search must start from a wider range")
        good, size = size, min(2 * size, high)
    return bisected(reaches, good=good, bad=size, resolution=resolution) if good else 0


@dataclass(frozen=True, kw_only=True)
class StoredFactsPanel(PublishedPanel):
    """Of one kind of FFN on random facts: facts stored at accuracy .99 are searched for."""

    ffn: AnyFFNConfig
    """what is trained"""
    dim: int = 16
    """of keys and values"""
    num_values: int = 16
    """drawn uniformly"""
    resolution: float = 0.01
    """of each search for a capacity, relative"""

    def stored(
        self, expected: float, budgets: Sequence[TrainingBudget], *, seed: int, precision: Precision = "float32"
    ) -> int:
        """Facts, as `stored_facts` searches for them."""
        own = (self.ffn, self.dim, self.num_values, expected)
        return stored_facts(*own, seed=seed, budgets=budgets, precision=precision, resolution=self.resolution)


def facts_of_bits(bits: float) -> int:
    """The N whose N log2 N is nearest below."""
    facts = 2
    while (facts + 1) * math.log2(facts + 1) <= bits:
        facts += 1
    return facts


@dataclass(frozen=True, kw_only=True)
class FFNCapacityConfig(PublishedPanel):
    """Bits per parameter at accuracy .99: the slope through 0 of stored bits, of all dimensions and seeds."""

    panel: Literal["ffn_capacity"] = "ffn_capacity"
    ffn: AnyFFNConfig
    """what is trained"""
    dims: tuple[int, ...] = (16,)
    """of keys and values, each a point of the slope"""
    num_values: int | None = 16
    """drawn uniformly; a value a key where empty"""
    training: TrainingBudget
    """full batch"""
    expected: float
    """bits per parameter, around which is searched"""
    bracket: tuple[float, ...] = ()
    """shares of the facts expected between which is searched; where empty: as the trial did, upwards from .6"""
    resolution: float = 0.01
    """of the search, relative"""

    unit = "bits/param"
    may_be_empty = frozenset({"bracket"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.bracket) not in (0, 2):
            raise ValueError(f"bracket has a lowest and a highest share, not {list(self.bracket)}")
        if self.num_values is None and not self.bracket:
            raise ValueError("bracket is missing: with a value a key the values grow with the facts")

    @property
    def setting(self) -> str:
        dims = ", ".join(map(str, self.dims))
        params = f" {self.ffn.num_params(*2 * self.dims):,} parameters," if len(self.dims) == 1 else ""
        values = "a value a key" if self.num_values is None else f"{self.num_values} values"
        schedule = "with a cosine" if self.training.schedule == "cosine" else "constant"
        return (
            f"{self.ffn.label}, d = {dims},{params} {values}, {of_seeds(len(self.seeds))}; {self.training.steps:,} "
            f"full-batch steps of Adam at {self.training.learning_rate:,g}, {schedule}"
        )

    def measure(self, seed: int, encoded: Encoded) -> list[Point]:
        points = []
        for dim in self.dims:
            params, facts = self.ffn.num_params(dim, dim), self._facts(dim, seed)
            bits = facts * math.log2(self.num_values or facts)
            points.append(Point(quantity=OURS, series="stored bits", x=float(params), y=bits, seed=seed))
        return points

    def _facts(self, dim: int, seed: int) -> int:
        if not self.bracket:
            assert self.num_values is not None
            return stored_facts(
                self.ffn,
                dim,
                self.num_values,
                self.expected,
                seed=seed,
                budgets=[self.training],
                resolution=self.resolution,
            )
        bits = self.expected * self.ffn.num_params(dim, dim)
        facts = facts_of_bits(bits) if self.num_values is None else int(bits / math.log2(self.num_values))
        low, high = (max(2, int(share * facts)) for share in self.bracket)

        def reaches(num_facts: int) -> bool:
            table = random_table(num_facts, dim, self.num_values, seed=seed)
            return accuracy(train(self.ffn, table, self.training, seed=seed), table) >= _ACCURACY

        return most_facts(reaches, low=low, high=high, resolution=self.resolution)

    def ours(self, points: Sequence[Point]) -> float:
        pairs = [(point.x or 0.0, point.y) for point in points]
        return sum(params * bits for params, bits in pairs) / sum(params**2 for params, _ in pairs)
