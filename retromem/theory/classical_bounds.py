"""Classical bounds: dichotomies of a perceptron, VC dimension, and memorisation with few parameters of many bits.

Orders of magnitude (VC, memorisation) are given with every constant set to 1: they show how things scale, not where.
"""

import math
from dataclasses import dataclass

from retromem.theory.pattern_bounds import central_regions

GARDNER_PATTERNS_PER_WEIGHT = 2.0
"""Random two-valued labels that a perceptron with real weights learns for each of its n weights, n large.

Cover 1965; Gardner 1988. One bit a label: 2 bits a weight.
"""

KRAUTH_MEZARD_PATTERNS_PER_WEIGHT = 0.833
"""The same for weights of +1 or -1: no rule reaches more. Krauth and Mezard 1989, zero entropy at 0.833."""


def cover_dichotomies(num_points: int, dim: int) -> int:
    """Ways to divide N points in general position in R^n by a hyperplane through 0: 2 sum_{k < n} C(N - 1, k).

    Cover 1965, function counting theorem. In the space of weights the points are the hyperplanes of a central
    arrangement, and this is its number of cells. It is 2^N up to N = n, which is hence the VC dimension.
    """
    return central_regions(num_points, dim)


def separability(num_points: int, dim: int) -> float:
    """Chance that a perceptron with n weights can learn N random labels: 1 up to N = n, 1/2 at 2 n, then soon 0."""
    return cover_dichotomies(num_points, dim) / (1 << num_points)


def vc_lower(num_params: int, num_layers: int) -> float:
    """W L log2(W / L): some ReLU network of W parameters in L layers shatters this order of points.

    Bartlett, Harvey, Liaw and Mehrabian 2019 (arXiv 1703.02930), constant 1.
    """
    return num_params * num_layers * math.log2(num_params / num_layers)


def vc_upper(num_params: int, num_layers: int) -> float:
    """W L log2 W: no piecewise linear network shatters more, in order of magnitude. Same paper, constant 1."""
    return num_params * num_layers * math.log2(num_params)


@dataclass(frozen=True, kw_only=True)
class Memorisation:
    """A network that memorises N points, in order of magnitude."""

    num_params: float
    bits_per_param: float
    """bit complexity: what a weight must be written in"""


def deep_memorisation(num_points: int, num_values: int, num_layers: float | None = None) -> Memorisation:
    """What N points with one of M values need at depth L, up to logarithmic factors in the depth.

        parameters      N / L; at the fewest, where L is left out, sqrt(N log2 N)
        bits a weight   L max(log2 N, log2 M)

    Fewer weights are bought by longer ones: the total stays N max(log2 N, log2 M) bits at every depth, linear in the
    facts but for the logarithm, and never less than the N log2 M that they are worth. Vardi, Yehudai and Shamir 2021
    (arXiv 2110.03187), who also prove that such long weights are needed; constants 1, separation left out.
    """
    depth = math.sqrt(num_points / math.log2(num_points)) if num_layers is None else num_layers
    return Memorisation(
        num_params=num_points / depth,
        bits_per_param=depth * math.log2(max(num_points, num_values)),
    )
