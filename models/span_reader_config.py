"""Size of an extractive reader. Free of torch, so that a config can be read without it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SpanReaderConfig:
    """Size of a reader."""

    width: int = 128
    """H"""
    blocks: int = 2
    """gated convolutions"""
    kernel: int = 5
    """tokens that one of them sees; odd"""
    dropout: float = 0.4
    """of inputs and of hidden units, while it is trained"""
    longest: int = 16
    """tokens of an answer, at most"""
