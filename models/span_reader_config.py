"""Size of an extractive reader. Free of torch, so that a config can be read without it."""

from dataclasses import dataclass

from models.dial_checks import check_one_or_more


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

    def __post_init__(self) -> None:
        check_one_or_more(width=self.width, blocks=self.blocks, kernel=self.kernel, longest=self.longest)
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, not {self.kernel}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be 0 or more and less than 1, not {self.dropout}")
