"""How many directions fit into d dimensions when they may overlap a little: between d and 2^d.

The coherence of unit vectors is the largest |cosine| between two of them: the interference that one stored feature can
cause in the read-out of another. All functions take lines, so v and -v count once.
"""

import math

from scipy.integrate import quad
from scipy.special import betainc, betainccinv, betaln, hyp2f1


def welch_bound(num_vectors: int, dim: int) -> float:
    """The least coherence that N unit vectors in R^d can have: sqrt((N - d) / (d (N - 1))), 0 up to N = d.

    Attained by equiangular tight frames, such as the simplex (N = d + 1, coherence 1 / d). Welch 1974.
    """
    if num_vectors <= dim:
        return 0.0
    return math.sqrt((num_vectors - dim) / (dim * (num_vectors - 1)))


def johnson_lindenstrauss_dim(num_points: int, eps: float) -> float:
    """Dimensions that keep all squared distances of N points within 1 +- eps: 4 ln N / (eps^2 / 2 - eps^3 / 3).

    Enough, not necessary, for 0 < eps < 1. Dasgupta and Gupta 2003, Theorem 2.1.
    """
    return 4.0 * math.log(num_points) / (eps**2 / 2 - eps**3 / 3)


def log2_cap(dim: int, cosine: float) -> float:
    """log2 of the chance that two random directions in R^d have |cosine| > c, for 0 < c < 1, 2 <= d <= 10^5.

    The chance is the regularised incomplete beta function I_{1 - c^2}((d - 1) / 2, 1 / 2). Where it is below the
    smallest float, its series x^a (1 - x)^b 2F1(a + b, 1; a + 1; x) / (a B(a, b)) is summed as a logarithm.
    """
    a, b, x = (dim - 1) / 2, 0.5, 1.0 - cosine**2
    chance = float(betainc(a, b, x))
    if chance > 1e-300:
        return math.log2(chance)
    series = math.log(float(hyp2f1(a + b, 1.0, a + 1.0, x)))
    return (a * math.log(x) + b * math.log1p(-x) - math.log(a) - float(betaln(a, b)) + series) / math.log(2)


def expected_max_coherence(num_vectors: int, dim: int) -> float:
    """Mean coherence of N >= 2 random unit vectors in R^d, d >= 2: about sqrt(4 ln N / d) while that is small.

    The N (N - 1) / 2 cosines are pairwise independent; they are taken as independent here.
    """
    num_pairs = num_vectors * (num_vectors - 1) / 2

    def quantile(share: float) -> float:
        """The coherence that this share of draws stays below: each pair alone does so with chance share^(1 / pairs)."""
        above = -math.expm1(math.log(share) / num_pairs)
        return math.sqrt(float(betainccinv(0.5, (dim - 1) / 2, above)))

    return float(quad(quantile, 0.0, 1.0)[0])


def log2_greedy_code(dim: int, eps: float) -> float:
    """log2 N of vectors with coherence <= eps that surely exist: the sphere is not covered by fewer than 1 / p caps.

    Gilbert and Varshamov's argument: about exp(eps^2 d / 2), the square of what drawing at random gives.
    """
    return -log2_cap(dim, eps)


def log2_packing_upper(dim: int, eps: float) -> float:
    """log2 of the most vectors with coherence <= eps: the caps of half their least angle do not overlap.

    About 2^d at eps = 1/2 and far less below it. Loose, but at d = 2 it is exact.
    """
    return -log2_cap(dim, math.sqrt((1.0 + eps) / 2))
