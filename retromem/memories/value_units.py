"""Binary units that stand for values: as many for each as its share of the facts asks for.

Shape legend: N facts, V values.
"""

import heapq

import numpy as np
from jaxtyping import Int64
from numpy import ndarray


def units_of_values(counts_V: Int64[ndarray, " V"], units_per_value: int) -> Int64[ndarray, " V"]:
    """How many units each value has: one if it occurs at all, the others where most facts share a unit so far.

    Ties go to the smaller id. No value has more units than facts.
    """
    units_V = (counts_V > 0).astype(np.int64)
    num_left = min((units_per_value - 1) * int(units_V.sum()), int(counts_V.sum() - units_V.sum()))
    fullest = [(-float(count), value) for value, count in enumerate(counts_V) if count]
    heapq.heapify(fullest)
    for _ in range(num_left):
        value = fullest[0][1]
        units_V[value] += 1
        heapq.heapreplace(fullest, (-counts_V[value] / units_V[value], value))
    return units_V


def unit_of_facts(value_ids_N: Int64[ndarray, " N"], units_V: Int64[ndarray, " V"]) -> Int64[ndarray, " N"]:
    """The unit of each fact: those of its value in turn. The units of a value are a block, in the order of the ids."""
    order_N = np.argsort(value_ids_N, kind="stable")
    counts_V = np.bincount(value_ids_N, minlength=len(units_V))
    turn_N = np.empty_like(value_ids_N)
    turn_N[order_N] = np.arange(len(value_ids_N)) - np.repeat(np.cumsum(counts_V) - counts_V, counts_V)
    first_V = np.cumsum(units_V) - units_V
    unit_N: Int64[ndarray, " N"] = first_V[value_ids_N] + turn_N % units_V[value_ids_N]
    return unit_N
