"""Hanin and Rolnick 2019 (arXiv 1901.09021): regions on a line grow with the number of neurons, whatever the depth."""

from functools import partial

from models.diagnostics.linear_regions import regions_per_neuron
from retromem.reproduce.claim import Claim

_WIDTH, _STACKS = 64, 20

CLAIMS = [
    Claim(
        source="Hanin and Rolnick 2019",
        setting=f"linear regions from -x to x, x standard normal in 16 dimensions, {depth} x {_WIDTH} ReLU units, "
        f"He-normal weights, biases of variance 1e-6, mean of {_STACKS} networks",
        unit="regions per neuron",
        published=1.0,
        band=(0.5, 2.0),
        measure=partial(regions_per_neuron, _WIDTH, depth, num_stacks=_STACKS),
        seconds_expected=1.0,
    )
    for depth in (1, 2, 3)
]
