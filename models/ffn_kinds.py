"""The FFN kinds by name, and their widths at equal parameters. Free of torch, so that a config can name them."""

from typing import Literal, get_args

FFNKind = Literal["relu", "gelu", "swiglu"]
KINDS: tuple[str, ...] = get_args(FFNKind)
GATED: frozenset[str] = frozenset({"swiglu"})


def hidden_units(kind: FFNKind, width: int, dim_in: int, dim_out: int) -> int:
    """Hidden units that give `kind` the parameters of a dense FFN of this width (Shazeer 2020, arXiv 2002.05202).

    Dense: (D + E) F parameters. Gated: (2 D + E) F, so F is smaller; 2/3 of the width where D = E.
    """
    if kind not in GATED:
        return width
    return max(1, width * (dim_in + dim_out) // (2 * dim_in + dim_out))


def training_flops(kind: FFNKind, width: int, dim_in: int, dim_out: int, num_values: int) -> int:
    """FLOPs of one fact in one optimisation step, forward and backward, multiplications and additions.

    The input wants no gradient and the frozen codes (V, E) get none, so both cost 4 a weight where the rest costs 6.
    """
    units = hidden_units(kind, width, dim_in, dim_out)
    inner = num_params(kind, width, dim_in, dim_out) - units * dim_out
    return 4 * inner + 6 * units * dim_out + 4 * num_values * dim_out


def num_params(kind: FFNKind, width: int, dim_in: int, dim_out: int) -> int:
    """Weights of an FFN of this kind: no biases."""
    matrices_in = 2 if kind in GATED else 1
    return hidden_units(kind, width, dim_in, dim_out) * (matrices_in * dim_in + dim_out)
