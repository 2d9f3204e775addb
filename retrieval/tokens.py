"""The tokens of a text as an encoder sees them: what a reader needs beside the vector of the whole text.

Shape legend: T tokens of a text, D dimensions.
"""

from dataclasses import dataclass

from jaxtyping import Float32
from numpy import ndarray


@dataclass(frozen=True)
class Tokens:
    """Of one text; without the marks that the encoder puts around it, and cut where the encoder cuts."""

    vectors_TD: Float32[ndarray, "T D"]
    """of the encoder's last layer"""
    ids: tuple[int, ...]
    """in the encoder's vocabulary"""
    spans: tuple[tuple[int, int], ...]
    """[start, end) in characters of the text"""
