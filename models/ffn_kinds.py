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


def num_params(kind: FFNKind, width: int, dim_in: int, dim_out: int) -> int:
    """Weights of an FFN of this kind: no biases."""
    matrices_in = 2 if kind in GATED else 1
    return hidden_units(kind, width, dim_in, dim_out) * (matrices_in * dim_in + dim_out)
