"""Bits that a language model stores as the literature counts them, in numpy alone, so that others can reuse them.

Two different numbers, which are never mixed:

    knowledge bits    names and values of N people, read off the model's loss on the tokens that say them
                      (Allen-Zhu and Li 2024, arXiv 2404.05405: the bit complexity of bioS)
    memorised bits    whole sequences of uniformly drawn tokens (Morris et al. 2025, arXiv 2505.24832)

Knowledge bits, derived. N people bear different names out of N0, each set of N names as likely as any other, and each
person has one of S0 = prod_a M_a combinations of values, drawn uniformly. To send such data without a model takes

    log2 C(N0, N) + N log2 S0   bits.

With the model on both sides, person after person is sent by arithmetic coding: the name at -log2 p(name), each value
at -log2 p(value | name, what was said before). In which order people are sent tells nothing, which gives back
log2 N!. What the model saves is what it holds:

    log2 C(N0, N) + log2 N! - N p1 / ln 2   +   N log2 S0 - N p2 / ln 2
    = [log2 (N0! / (N0 - N)!) - N p1 / ln 2]  +  [N log2 S0 - N p2 / ln 2]

with p1 and p2 the mean loss in nats of a person's name and of a person's values. The published form, N log2((N0 - N) /
e^p1) for names, is a lower bound of the first bracket. A model that knows all N names and nothing else of them says
each with 1 / N, p1 = ln N: between N log2((N0 - N) / N) and N log2(N0 / N) bits, and not all of log2 C(N0, N), since a
code that may repeat a name wastes up to 1.44 bits a name. What follows from another value (the city of work, once the
employer is known) is neither in S0 nor in p2. How values are spelt is given to the model with its vocabulary, and
counted for nobody.

Sums are clipped once, and never per person. Shape legend: N people or sequences, A values of a person.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

_LN2 = math.log(2)


@dataclass(frozen=True, kw_only=True)
class KnowledgeBits:
    """What a model holds of N people."""

    demand_bits: float
    """what one holds at most that says each of the N names with 1 / N and every value with certainty"""
    name_bits: float
    """may be negative: a model that knows nothing says names worse than a list of all would"""
    value_bits: float
    """may be negative, for the same reason"""

    @property
    def total_bits(self) -> float:
        """Names and values together, 0 at least."""
        return max(0.0, self.name_bits + self.value_bits)


def knowledge_bits(
    name_nats_N: ndarray, value_nats_NA: ndarray, *, num_names: int, num_values_A: Sequence[int]
) -> KnowledgeBits:
    """From the loss of each name (summed over its tokens) and of each value (summed over its tokens, after the name).

    `num_names`: N0, that there are. `num_values_A`: M of each attribute; leave out what follows from another one.
    ValueError where there are more people than names, or a loss is no number.
    """
    num_people = len(name_nats_N)
    if num_people > num_names:
        raise ValueError(
            f"{num_people:,} people have different names only where there are as many: {num_names:,} are few"
        )
    if value_nats_NA.shape != (num_people, len(num_values_A)):
        raise ValueError(
            f"value_nats_NA is {value_nats_NA.shape}: {num_people:,} people have {len(num_values_A)} values each"
        )
    if not (np.isfinite(name_nats_N).all() and np.isfinite(value_nats_NA).all()):
        raise ValueError("a loss is not finite: the model gives what it was trained on no probability")
    ways = (math.lgamma(num_names + 1) - math.lgamma(num_names - num_people + 1)) / _LN2
    combinations = num_people * math.fsum(math.log2(number) for number in num_values_A)
    return KnowledgeBits(
        demand_bits=ways - num_people * math.log2(num_people) + combinations,
        name_bits=ways - float(name_nats_N.sum(dtype=np.float64)) / _LN2,
        value_bits=combinations - float(value_nats_NA.sum(dtype=np.float64)) / _LN2,
    )


def memorised_bits(sequence_nats_N: ndarray, *, num_tokens: int, length: int) -> float:
    """Of N sequences whose tokens were drawn uniformly: their entropy less what the model's code takes; 0 at least.

    `sequence_nats_N`: the loss of each, summed over its `length` tokens out of `num_tokens`. These bits hold the
    sequences' beginnings, too, which name nothing: not to be compared with knowledge bits.
    """
    entropy = len(sequence_nats_N) * length * math.log2(num_tokens)
    return max(0.0, entropy - float(sequence_nats_N.sum(dtype=np.float64)) / _LN2)
