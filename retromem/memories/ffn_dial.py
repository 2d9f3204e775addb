"""The dial of memories whose facts lie in an FFN: its size, mostly the number of hidden units."""

from collections.abc import Mapping

from models.any_ffn import AnyFFNConfig, sized
from models.precisions import BITS, INTEGER_BITS, Precision
from retromem.memories.dial import Dial

BITS_PER_PARAM: Mapping[Precision, float] = {
    **{"float32": 2.3, "float16": 2.3, "int8": 2.2, "int6": 2.0, "int4": 1.5, "int3": 1.1},
    **{"midrise4": 1.5, "midrise3": 1.1, "midrise2": 0.7, "midrise1": 0.3},
}
"""about what a trained FFN of one hidden layer holds at capacity, of random facts (`make report
CONFIG=configs/bits_in_a_byte.yaml`)"""
WRITTEN = (2.6, 1.57)
"""bits that a fact costs beside its value, and times the bits per parameter that hold both: fitted on cities"""
EXPOSURES_ENOUGH = 400
"""that a fact is shown, for as many facts; of fewer exposures FFNs hold in proportion to their square root (GeGLU of 24
to 48 dimensions, 68 to 887 exposures; GELU a half to two thirds of it)"""
NOISY_OF_FEW_BITS, NOISY = (6.6, 1.75), (6.6, 1.3)
"""the same where keys are moved while facts are trained, so that they are found paraphrased: for weights of one or two
bits, and of more"""
_LARGEST = 1 << 16
_SLACK_BITS = 1024
"""for biases and the steps of a few matrices"""


def dial_of_ffn(ffn: AnyFFNConfig) -> Dial | None:
    """None where a kind has one size."""
    if ffn.resized(1) == ffn.resized(2):
        return None
    return Dial(name="ffn.width" if hasattr(ffn, "width") else "the size of ffn", low=1, high=_LARGEST)


def first_size(ffn: AnyFFNConfig, num_params: float, dim_in: int, dim_out: int) -> float:
    """The size of about so many parameters."""
    try:
        found = sized(ffn, round(num_params), dim_in, dim_out)
    except ValueError:  # the smallest is larger
        return 1
    return found.size or 1


def most_bits_of_ffn(ffn: AnyFFNConfig, precision: Precision, dim_in: int, dim_out: int) -> float:
    """The bits that its weights are stored in, at most: mid-rise codes mostly take a tenth less."""
    bits = BITS[precision] + (16 if precision in INTEGER_BITS else 0)  # a scale a column, which may have one weight
    return ffn.num_params(dim_in, dim_out) * bits + _SLACK_BITS


def ffn_in_words(ffn: AnyFFNConfig, precision: Precision, rotate_to: int | None) -> str:
    """`SwiGLU of width 180, 3-bit weights, keys rotated to 96 dimensions`; of a gated one the width of a dense FFN
    of as many parameters."""
    names = {"relu": "ReLU", "gelu": "GELU", "silu": "SiLU", "swiglu": "SwiGLU", "geglu": "GeGLU", "reglu": "ReGLU"}
    rotated = "" if rotate_to is None else f", keys rotated to {rotate_to} dimensions"
    return f"{names.get(ffn.family, ffn.family)} of width {ffn.size}, {BITS[precision]}-bit weights{rotated}"
