"""How many activation patterns a ReLU network can show: what 2^(d_ff) counts, and how few of them there are.

A pattern says of each hidden unit whether it is on. A layer of n units cuts R^d by n hyperplanes, and each cell of the
arrangement is one pattern: far fewer than 2^n once n > d. Kinds whose activation is smooth (GELU, SwiGLU) have no
regions. Counts come as exact integers where they are counts; `log2_` marks what is returned as a logarithm.
"""

import math
from collections.abc import Sequence


def _binomial_sum(n: int, most: int) -> int:
    """sum_{j <= most} C(n, j), exact; each term from the last, as they have thousands of digits."""
    total = term = 1
    for j in range(min(most, n)):
        term = term * (n - j) // (j + 1)
        total += term
    return total


def affine_regions(num_units: int, dim: int) -> int:
    """Cells of n hyperplanes in general position in R^d: sum_{j <= d} C(n, j).

    A ReLU layer with biases has as many patterns, for inputs that span d dimensions. Zaslavsky 1975.
    """
    return _binomial_sum(num_units, dim)


def central_regions(num_units: int, dim: int) -> int:
    """The same where all hyperplanes pass through 0: 2 sum_{j < d} C(n - 1, j), for n, d >= 1.

    A ReLU layer without biases has as many patterns. Zaslavsky 1975; Cover 1965 counts the same number.
    """
    return 2 * _binomial_sum(num_units - 1, dim - 1)


def log2_all_patterns(widths: Sequence[int]) -> int:
    """log2 of the trivial upper bound: every unit of every layer on or off, 2^(d_ff) for one layer."""
    return sum(widths)


def log2_layerwise_upper(widths: Sequence[int], dim: int) -> float:
    """log2 of prod_l sum_{j <= m_l} C(n_l, j), with m_l the narrowest layer before layer l, input of `dim` included.

    An upper bound for layers with biases: inside each region the input of a layer fills m_l dimensions at most.
    Raghu et al. 2017; Montufar 2017, "Notes on the number of linear regions of deep neural networks".
    """
    total = 0.0
    for width in widths:
        total += math.log2(affine_regions(width, dim))
        dim = min(dim, width)
    return total


def log2_montufar_lower(widths: Sequence[int], dim: int) -> float:
    """log2 of (prod_{l < L} floor(n_l / d)^d) sum_{j <= d} C(n_L, j): some network of these widths has as many regions.

    What a deep network *can* reach, by folding its input n_l / d times a layer. Every layer but the last needs `dim`
    units or more. Montufar et al. 2014 (arXiv 1402.1869).
    """
    assert all(width >= dim for width in widths[:-1]), "a layer narrower than the input folds nothing"
    folds = sum(dim * math.log2(width // dim) for width in widths[:-1])
    return folds + math.log2(affine_regions(widths[-1], dim))


def log2_hanin_rolnick(num_neurons: int, dim: int, *, density: float = 1.0) -> float:
    """log2 of (T n)^d / d! regions expected in a unit cube, n neurons in all layers together, whatever their depth.

    An upper bound on the expectation at initialisation, for n >= d (else 2^n). `density` is T, which depends on how
    weights and biases are drawn; 1 gives the order of magnitude. Hanin and Rolnick 2019 (arXiv 1906.00904).
    """
    if num_neurons < dim:
        return float(num_neurons)
    return dim * math.log2(density * num_neurons) - math.lgamma(dim + 1) / math.log(2)
