"""Krauth and Mezard 1989: weights of -1 and +1 hold .83 random patterns each; what algorithms reach is less.

Shape legend: N patterns, F inputs, O perceptrons.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from models.binary_perceptron import fit_binary_perceptrons
from retromem.panels.published.published_panel import PublishedPanel


@dataclass(frozen=True, kw_only=True)
class BinaryPerceptronLoadConfig(PublishedPanel):
    """The highest load, from .60 up, at which every binary perceptron is trained to zero error."""

    panel: Literal["binary_perceptron_load"] = "binary_perceptron_load"
    inputs: int = 1001
    """weights of each"""
    perceptrons: int = 8
    """each with labels of its own"""
    sweeps: int = 1000
    """over the patterns, at most"""
    step: float = 0.01
    """of the load"""
    seeds: tuple[int, ...] = (0,)
    """of patterns and labels"""

    unit = "patterns a weight"

    @property
    def setting(self) -> str:
        return (
            f"binary perceptron, n = {self.inputs:,}: load up to which each of {self.perceptrons} is trained to zero "
            "error"
        )

    def number(self, seed: int) -> float:
        rng, signs = np.random.default_rng(seed), np.array([-1.0, 1.0], dtype=np.float32)
        best = 0.0
        for load in np.arange(0.60, 0.83, self.step):
            num_patterns = round(load * self.inputs)
            patterns_NF = torch.from_numpy(rng.choice(signs, (num_patterns, self.inputs)))
            labels_ON = torch.from_numpy(rng.choice(signs, (self.perceptrons, num_patterns)))
            if int(fit_binary_perceptrons(patterns_NF, labels_ON, sweeps=self.sweeps).wrong_ON.sum()):
                break
            best = float(load)
        return best
