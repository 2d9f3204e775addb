"""What the texts of a language model are cut into. Free of torch."""

from dataclasses import dataclass
from typing import Literal

BYTES = 256
SPECIAL = 2
"""the beginning and the end of a text"""


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Whose tokens they are."""

    tokens: Literal["learnt", "people", "model"] = "learnt"
    """learnt: byte pairs merged as often as they are met in what is written, so that no text is unknown. people: the
    words of the invented people, their values and all their wordings, and no others. model: of `model`"""
    size: int = 768
    """tokens at most, the 256 bytes among them (tokens: learnt)"""
    model: str = ""
    """folder or hub id with a fast tokenizer of Hugging Face (tokens: model)"""

    def __post_init__(self) -> None:
        if self.size < BYTES + SPECIAL:
            raise ValueError(f"size must be {BYTES + SPECIAL} or more, the bytes and two marks, not {self.size}")
        if (self.tokens == "model") != bool(self.model):
            raise ValueError("tokens: model and model belong together: give both, or none")

    @property
    def label(self) -> str:
        """Of a name."""
        return {"learnt": f"bpe{self.size}", "people": "words", "model": self.model.rpartition("/")[2]}[self.tokens]
