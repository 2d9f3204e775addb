"""Krauth and Mezard 1989: weights of -1 and +1 hold .83 random patterns each; what algorithms reach is less."""

from functools import partial

import numpy as np
import torch

from models.binary_perceptron import fit_binary_perceptrons
from retromem.reproduce.claim import Claim

_INPUTS, _PERCEPTRONS, _SWEEPS = 1001, 8, 1000
_STEP = 0.01


def patterns_per_weight(seed: int) -> float:
    """The highest load, from .60 up in steps of .01, at which every perceptron is trained to zero error."""
    rng = np.random.default_rng(seed)
    best = 0.0
    for load in np.arange(0.60, 0.83, _STEP):
        num_patterns = round(load * _INPUTS)
        patterns_NF = torch.from_numpy(rng.choice(np.array([-1.0, 1.0], dtype=np.float32), (num_patterns, _INPUTS)))
        labels_ON = torch.from_numpy(rng.choice(np.array([-1.0, 1.0], dtype=np.float32), (_PERCEPTRONS, num_patterns)))
        if int(fit_binary_perceptrons(patterns_NF, labels_ON, sweeps=_SWEEPS).wrong_ON.sum()):
            break
        best = float(load)
    return best


CLAIMS = [
    Claim(
        source="Krauth and Mezard 1989",
        setting=f"binary perceptron, n = {_INPUTS:,}: load up to which each of {_PERCEPTRONS} is trained to zero error "
        "(published: .83 hold; .60 to .75 is what algorithms are known to reach, of which the lower end is asked)",
        unit="patterns a weight",
        published=0.6,
        band=(0.6, 0.83),
        measure=partial(patterns_per_weight, 0),
        seconds_expected=10.0,
    )
]
