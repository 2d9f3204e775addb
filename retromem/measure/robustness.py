"""How much disturbance a memory stands: noise on the question, on the weights, and flipped bits in its bytes."""

from dataclasses import replace
from typing import Literal, Protocol, runtime_checkable

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
    memory: Memory,
    asked: Asked,
    disturbance: Literal["relative_noise", "flip_rate"],
    levels: Float64[ndarray, " L"],
    *,
    seed: int,
) -> float | None:
    """The first of the rising levels at which mean accuracy falls below .9, by bisection; None where none does, where
    it stands below .9 already, or where this kind of disturbance has no meaning."""
    if not isinstance(memory, Perturbable) or accuracy(memory, asked) < _FLOOR:
        return None

    def holds(level: float) -> bool:
        seeds = [(seed * 1000 + trial) % 2**63 for trial in range(_TRIALS)]
        trials = [accuracy(memory.perturbed(**{disturbance: level}, seed=trial), asked) for trial in seeds]
        return float(np.mean(trials)) >= _FLOOR

    low, high = -1, len(levels)  # holds at low, fails at high
    try:
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if holds(levels[middle]) else (low, middle)
    except NotImplementedError:
        return None
    return None if high == len(levels) else float(levels[high])


def sigma90(memory: Memory, asked: Asked, *, seed: int) -> float | None:
    """Relative Gaussian weight noise (of each matrix's RMS) at which accuracy first falls below .9 (5 trials a level).

    None where the memory has no weights that take noise, or stands below .9 already.
    """
    if memory.side != "parametric":
        return None
    return _breaking_point(memory, asked, "relative_noise", np.geomspace(1e-5, 4.0, 45), seed=seed)


def flip90(memory: Memory, asked: Asked, *, seed: int) -> float | None:
    """Share of random bit flips in the storage bytes at which accuracy first falls below .9 (5 trials a level).

    None where the stored form has no flat codes to flip, or the memory stands below .9 already.
    """
    return _breaking_point(memory, asked, "flip_rate", np.geomspace(1e-9, 0.5, 45), seed=seed)
