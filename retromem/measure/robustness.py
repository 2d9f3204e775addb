"""How much disturbance a memory stands: noise on the question, on the weights, and flipped bits in its bytes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from retromem.measure.answers import accuracy
from retromem.seam import Asked, Memory

_TRIALS = 5
_FLOOR = 0.9


@runtime_checkable
class Perturbable(Protocol):
    """A memory whose stored bytes can be disturbed."""

    def perturbed(self, *, relative_noise: float = 0.0, flip_rate: float = 0.0, seed: int) -> Memory:
        """A disturbed copy; NotImplementedError where this kind of disturbance has no meaning."""
        ...


def with_key_noise(asked: Asked, ratio: float, *, seed: int) -> Asked:
    """The same questions, each key k moved by Gaussian noise of length `ratio` |k| and brought back to its length."""
    keys_QD = asked.queries.key_vectors()
    noise_QD = np.random.default_rng([seed, 0x2015]).standard_normal(keys_QD.shape)
    length_Q1 = np.linalg.norm(keys_QD, axis=1, keepdims=True)
    moved_QD = keys_QD + ratio * length_Q1 * noise_QD / np.linalg.norm(noise_QD, axis=1, keepdims=True)
    moved_QD *= length_Q1 / np.linalg.norm(moved_QD, axis=1, keepdims=True)
    return replace(asked, queries=replace(asked.queries, keys_QD=moved_QD.astype(np.float32)))


def _breaking_point(
    disturbed: Callable[[float, int], Memory], asked: Asked, levels: Float64[ndarray, " L"], *, seed: int
) -> float | None:
    """The first of the rising levels at which mean accuracy falls below .9, by bisection; None where none does."""

    def holds(level: float) -> bool:
        trials = [accuracy(disturbed(level, (seed * 1000 + trial) % 2**63), asked) for trial in range(_TRIALS)]
        return float(np.mean(trials)) >= _FLOOR

    low, high = -1, len(levels)  # holds at low, fails at high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(levels[middle]) else (low, middle)
    return None if high == len(levels) else float(levels[high])


def sigma90(memory: Memory, asked: Asked, *, seed: int) -> float | None:
    """Relative Gaussian weight noise (of each matrix's RMS) at which accuracy first falls below .9 (5 trials a level).

    None where the memory has no weights that take noise, or stands below .9 already.
    """
    if memory.side != "parametric" or not isinstance(memory, Perturbable) or accuracy(memory, asked) < _FLOOR:
        return None
    levels = np.geomspace(1e-5, 4.0, 45)
    try:
        return _breaking_point(
            lambda level, trial: memory.perturbed(relative_noise=level, seed=trial), asked, levels, seed=seed
        )
    except NotImplementedError:
        return None


def flip90(memory: Memory, asked: Asked, *, seed: int) -> float | None:
    """Share of random bit flips in the storage bytes at which accuracy first falls below .9 (5 trials a level).

    None where the stored form has no flat codes to flip, or the memory stands below .9 already.
    """
    if not isinstance(memory, Perturbable) or accuracy(memory, asked) < _FLOOR:
        return None
    try:
        levels = np.geomspace(1e-9, 0.5, 45)
        return _breaking_point(
            lambda level, trial: memory.perturbed(flip_rate=level, seed=trial), asked, levels, seed=seed
        )
    except NotImplementedError:
        return None
