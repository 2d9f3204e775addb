"""The physical limit: weights are stored in bits, and no memory holds more bits than it is stored in.

    bits recalled <= parameters * bits per parameter, however many facts were written

A dense FFN with d_ff = 4 n_embd has 8 n_embd^2 parameters; that, and not its 2^(4 n_embd) activation patterns, is what
limits how many facts it holds.
"""

import math


def dense_ffn_params(n_embd: int, d_ff: int | None = None) -> int:
    """Weights of a bias-free FFN with two matrices: 2 n_embd d_ff, so 8 n_embd^2 where d_ff is its usual 4 n_embd."""
    return 2 * n_embd * (4 * n_embd if d_ff is None else d_ff)


def physical_bits(num_params: int, bits_per_param: float) -> float:
    """Bits that the weights are stored in; scales of a quantisation count as a fraction of a bit a parameter."""
    return num_params * bits_per_param


def facts_of_bits(bits: float, num_values: int) -> float:
    """Facts that these bits can hold when each names one of `num_values` (2 or more) equally likely values."""
    return bits / math.log2(num_values)
