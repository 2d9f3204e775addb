"""Hopfield's model: patterns that Hebb's rule keeps stable for one step, as Amit, Gutfreund and Sompolinsky 1985 count.

Each of N neurons sees its own pattern and the noise of P others, of variance P / N: a share Phi(1 / sqrt(load)) of the
bits is right, so the load P / N is 1 / z^2 with z the normal quantile of that share. .138 is where .36 % are wrong.
"""

from functools import partial

import numpy as np
import torch

from models.closed_form.linear_memory import outer_product_memory
from retromem.measure.trained_ffn import most_facts
from retromem.reproduce.claim import Claim, within

_NEURONS, _SEEDS, _RESOLUTION = 1000, (0, 1, 2), 0.005


def stable_share(patterns_PN: torch.Tensor) -> float:
    """Of the bits of all patterns, those that one step of the network leaves as they are."""
    w_NN = outer_product_memory(patterns_PN, torch.arange(len(patterns_PN)), patterns_PN)["w_DE"].fill_diagonal_(0.0)
    return float((patterns_PN @ w_NN * patterns_PN > 0).double().mean())


def load_at(share: float) -> float:
    """Patterns a neuron up to which this share of the bits is stable; mean of the seeds."""
    found = []
    for seed in _SEEDS:
        drawn_PN = np.random.default_rng(seed).choice(
            np.array([-1.0, 1.0], dtype=np.float32), (_NEURONS // 2, _NEURONS)
        )
        patterns_PN = torch.from_numpy(drawn_PN)
        found.append(
            most_facts(
                lambda num, of=patterns_PN: stable_share(of[:num]) >= share,  # type: ignore[misc]
                low=_NEURONS // 20,
                high=_NEURONS // 2,
                resolution=_RESOLUTION,
            )
        )
    return sum(found) / len(found) / _NEURONS


CLAIMS = [
    Claim(
        source=source,
        setting=f"Hebb's rule, {_NEURONS:,} neurons: load at which {share:.2%} of the bits are stable for one step, "
        f"{len(_SEEDS)} seeds",
        unit="patterns a neuron",
        resolution=_RESOLUTION,
        published=published,
        band=within(published, 0.03),
        measure=partial(load_at, share),
        seconds_expected=3.0,
    )
    for source, share, published in (
        ("Hopfield's model, Amit 1985", 0.9964, 0.138),
        ("Hopfield's model, one-step stability 1 / z^2", 0.99, 0.1848),
    )
]
