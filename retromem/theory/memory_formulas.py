"""Published guide lines: how many facts an associative memory of a given size was trained to hold.

    linear, d x d             N values     d^2 = 1.3 N ln N       accuracy >= .99
    ReLU, d - m - d           N values     m d = .35 N ln N       accuracy >= .99
    ReLU, d - m - d           32 classes   m d = 1.2 N            accuracy >= .99
    ReLU over two tokens      d values     N = 8.49 d^2 / ln d    accuracy >= .9

The first three are the dashed lines in the plots of Nichani, Lee and Bietti 2025 (arXiv 2412.06538), no fits; the last
is a fit to trained models of the challenge by Linsefors and Bushnaq 2026. Facts are no integers here.
"""

import math
from dataclasses import dataclass

from scipy.optimize import brentq


@dataclass(frozen=True, kw_only=True)
class GuideLine:
    """Facts on a guide line, and the weights that hold them."""

    num_facts: float
    num_params: int
    bits_per_fact: float

    @property
    def bits_per_param(self) -> float:
        return self.num_facts * self.bits_per_fact / self.num_params


def linear_memory(dim: int) -> GuideLine:
    """One d x d matrix, every fact with a value of its own: 1 / (1.3 ln 2) = 1.11 bits per parameter at every size."""
    num_facts = _facts_of_own_values(dim**2, 1.3)
    return GuideLine(num_facts=num_facts, num_params=dim**2, bits_per_fact=math.log2(num_facts))


def relu_memory(dim: int, hidden: int) -> GuideLine:
    """A ReLU FFN d - m - d, every fact with its own value: 1 / (.7 ln 2) = 2.06 bits per parameter at every size."""
    num_facts = _facts_of_own_values(dim * hidden, 0.35)
    return GuideLine(num_facts=num_facts, num_params=2 * dim * hidden, bits_per_fact=math.log2(num_facts))


def relu_memory_of_32_classes(dim: int, hidden: int) -> GuideLine:
    """A ReLU FFN d - m - d, facts with one of 32 values: 5 / 2.4 = 2.08 bits per parameter at every size."""
    return GuideLine(num_facts=dim * hidden / 1.2, num_params=2 * dim * hidden, bits_per_fact=5.0)


def _facts_of_own_values(num_weights: int, weights_per_nat: float) -> float:
    """N >= 1 such that num_weights = weights_per_nat N ln N."""
    most = 2.0 + num_weights / weights_per_nat  # ln most > 1/2, and N ln N is far past the goal unless N is tiny
    return float(brentq(lambda num: weights_per_nat * num * math.log(num) - num_weights, 1.0, most**2))
