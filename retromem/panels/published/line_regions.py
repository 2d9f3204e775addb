"""Hanin and Rolnick 2019 (arXiv 1901.09021): regions on a line grow with the number of neurons, whatever the depth."""

from dataclasses import dataclass
from typing import Literal

from models.diagnostics.linear_regions import regions_per_neuron
from retromem.panels.published.published_panel import PublishedPanel


@dataclass(frozen=True, kw_only=True)
class LineRegionsConfig(PublishedPanel):
    """Linear regions that a line through the inputs of a ReLU network crosses, a neuron."""

    panel: Literal["line_regions"] = "line_regions"
    width: int = 64
    """units a layer"""
    depth: int = 1
    """layers"""
    networks: int = 20
    """drawn at random, whose mean is taken"""
    seeds: tuple[int, ...] = (0,)
    """of the networks"""

    unit = "regions per neuron"

    @property
    def setting(self) -> str:
        return (
            f"linear regions from -x to x, x standard normal in 16 dimensions, {self.depth} x {self.width} ReLU "
            f"units, He-normal weights, biases of variance 1e-6, mean of {self.networks} networks"
        )

    def number(self, seed: int) -> float:
        return regions_per_neuron(self.width, self.depth, num_stacks=self.networks, seed=seed)
