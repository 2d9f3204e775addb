"""Label noise: a share of the facts are written with another value of their relation than the one that is asked for.

What a memory is asked, judged by and calibrated on stays right, so a memory that holds all that was written answers
1 - share: more where it does not believe what stands against the other facts, as an encoder's keys may let it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from retromem.seam import ValueTable


@dataclass(frozen=True, kw_only=True)
class LabelNoise:
    """The dial that every knowledge set has."""

    label_noise: float = 0.0
    """share of the facts that are written with another value of their relation than the one asked for, 0 to 1"""

    def __post_init__(self) -> None:
        if not 0 <= self.label_noise <= 1:
            raise ValueError(f"label_noise is a share of the facts, from 0 to 1, not {self.label_noise:g}")


def mislabelled(
    value_ids_A: Int64[ndarray, " A"], relation_ids_A: Int64[ndarray, " A"], values: ValueTable, share: float
) -> Int64[ndarray, " A"]:
    """The values of a whole set, this share of them replaced, each uniformly by another value of its relation.

    A relation with one value keeps it. The facts of a smaller share are among those of a larger one, and get the same.
    """
    rng = np.random.default_rng([len(value_ids_A), 0x1AB])
    chosen_A = rng.random(len(value_ids_A)) < share
    counts_A = values.num_candidates_R()[relation_ids_A]
    starts_A = np.asarray(values.starts)[relation_ids_A]
    # One step to all but one further along the relation's values is never the value itself.
    steps_A = 1 + rng.integers(0, np.maximum(counts_A - 1, 1))
    others_A = starts_A + (value_ids_A - starts_A + steps_A) % counts_A
    return np.where(chosen_A, others_A, value_ids_A)
