"""Hopfield's model: patterns that Hebb's rule keeps stable for one step, as Amit, Gutfreund and Sompolinsky 1985 count.

Each of N neurons sees its own pattern and the noise of P others, of variance P / N: a share Phi(1 / sqrt(load)) of the
bits is right, so the load P / N is 1 / z^2 with z the normal quantile of that share. .138 is where .36 % are wrong.

Shape legend: P patterns, N neurons.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from models.closed_form.linear_memory import outer_product_memory
from retromem.measure.trained_ffn import most_facts
from retromem.panels.published.published_panel import PublishedPanel, of_seeds


def stable_share(patterns_PN: torch.Tensor) -> float:
    """Of the bits of all patterns, those that one step of the network leaves as they are."""
    w_NN = outer_product_memory(patterns_PN, torch.arange(len(patterns_PN)), patterns_PN)["w_DE"].fill_diagonal_(0.0)
    return float((patterns_PN @ w_NN * patterns_PN > 0).double().mean())


@dataclass(frozen=True, kw_only=True)
class HopfieldLoadConfig(PublishedPanel):
    """The load of Hebb's rule at which a share of the bits is stable for one step."""

    panel: Literal["hopfield_load"] = "hopfield_load"
    share: float = 0.9964
    """of the bits that stay"""
    neurons: int = 1000
    """and as many bits a pattern"""
    resolution: float = 0.005
    """of the search, relative"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of the patterns"""

    unit = "patterns a neuron"

    @property
    def setting(self) -> str:
        return (
            f"Hebb's rule, {self.neurons:,} neurons: load at which {self.share:.2%} of the bits are stable for one "
            f"step, {of_seeds(len(self.seeds))}"
        )

    def number(self, seed: int) -> float:
        bits = np.array([-1.0, 1.0], dtype=np.float32)
        patterns_PN = torch.from_numpy(np.random.default_rng(seed).choice(bits, (self.neurons // 2, self.neurons)))
        found = most_facts(
            lambda num: stable_share(patterns_PN[:num]) >= self.share,
            low=self.neurons // 20,
            high=self.neurons // 2,
            resolution=self.resolution,
        )
        return found / self.neurons
