"""Documents in passages, by sentences or by windows of tokens, each with its place in the document.

Sentence ends come from `sentencex`, tokens from the encoder's own tokenizer.

Shape legend: P passages, Q spans that are looked for.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from retrieval.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LABEL = re.compile(r"(\d+) (sentence|token)s?(?:, (\d+) shared)?")
Span = tuple[int, int]
"""[start, end) in characters of a document"""


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How long a passage is, and how much of it the next one repeats."""

    by: Literal["sentences", "tokens"] = "sentences"
    """what is counted"""
    size: int = 3
    """sentences or tokens a passage, at most"""
    overlap: int = 0
    """of these, how many stand in the next passage too"""
    language: str = "en"
    """whose abbreviations do not end a sentence (by: sentences)"""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be 1 or more, not {self.size}")
        if not 0 <= self.overlap < self.size:
            raise ValueError(f"overlap must be 0 or more and less than size, not {self.overlap}")

    @property
    def label(self) -> str:
        """`1 sentence`, `128 tokens, 32 shared`."""
        counted = self.by if self.size > 1 else self.by.removesuffix("s")
        return f"{self.size} {counted}" + (f", {self.overlap} shared" if self.overlap else "")


def parse_split(label: str) -> SplitConfig:
    """The config whose `label` this is; UserError where it is none."""
    found = _LABEL.fullmatch(label.strip())
    if found is None:
        raise UserError(f"split {label!r}: write '3 sentences', '128 tokens' or '128 tokens, 32 shared'")
    try:
        return SplitConfig(
            by="sentences" if found[2] == "sentence" else "tokens", size=int(found[1]), overlap=int(found[3] or 0)
        )
    except ValueError as error:
        raise UserError(f"split {label!r}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A part of a document: `text` is its characters from `start` to `end`, nothing more or less."""

    document: int
    """number of the document"""
    start: int
    end: int
    text: str


def split_documents(documents: Sequence[str], config: SplitConfig, *, tokenizer: Path | None = None) -> list[Passage]:
    """Passages of all documents, in their order. Whatever is no space stands in at least one of them.

    `tokenizer`: a `tokenizer.json`, for windows of tokens. UserError where it is needed and is none.
    """
    if config.by == "sentences":
        units = [sentences(document, config.language) for document in documents]
    else:
        units = _tokens(documents, tokenizer)
    passages = []
    for number, (document, spans) in enumerate(zip(documents, units, strict=True)):
        for start, end in _windows(spans, config.size, config.overlap):
            passages.append(Passage(document=number, start=start, end=end, text=document[start:end]))
    return passages


def holds(passages: Sequence[Passage], spans_Q: Sequence[tuple[int, int, int]]) -> Bool[ndarray, "Q P"]:
    """Whether a passage holds all of a span, which is given by its document, start and end."""
    place_P = np.array([(passage.document, passage.start, passage.end) for passage in passages])
    span_Q = np.array(spans_Q)
    same_QP = span_Q[:, :1] == place_P[:, 0]
    inside_QP: Bool[ndarray, "Q P"] = same_QP & (place_P[:, 1] <= span_Q[:, 1:2]) & (span_Q[:, 2:] <= place_P[:, 2])
    return inside_QP


def sentences(text: str, language: str = "en") -> list[Span]:
    """The sentences of a text, without the spaces around them."""
    import sentencex

    found = []
    for boundary in sentencex.get_sentence_boundaries(language, text):
        start, end = boundary["start_index"], boundary["end_index"]
        inner = text[start:end]
        start, end = start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip())
        if start < end:
            found.append((start, end))
    return found


def _tokens(documents: Sequence[str], tokenizer: Path | None) -> list[list[Span]]:
    """The tokens of each document; characters that are in none join the token before them."""
    if tokenizer is None or not tokenizer.is_file():
        of_whom = tokenizer or "this encoder"
        raise UserError(
            f"{of_whom}: there is no tokenizer.json, so windows of tokens cannot be cut; split by sentences"
        )
    loaded = _tokenizer(str(tokenizer), tokenizer.stat().st_mtime_ns)
    all_encoded = loaded.encode_batch(list(documents), add_special_tokens=False)
    return [
        _whole_spans(document, sorted({start for start, end in encoded.offsets if start < end}))
        for document, encoded in zip(documents, all_encoded, strict=True)
    ]


@lru_cache(maxsize=2)
def _tokenizer(path: str, last_change: int) -> "Tokenizer":
    """Read once, a seventh of a second, as long as the file stays what it is."""
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(path)
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


def _whole_spans(document: str, starts: list[int]) -> list[Span]:
    """From each start to the next; what stands before the first start is a span of its own."""
    lead, length = len(document) - len(document.lstrip()), len(document.rstrip())
    if lead < length and (not starts or lead < starts[0]):
        starts = [lead, *starts]
    spans = [
        (start, start + len(document[start:end].rstrip()))
        for start, end in zip(starts, [*starts[1:], length], strict=False)
    ]
    return [(start, end) for start, end in spans if start < end]


def _windows(spans: Sequence[Span], size: int, overlap: int) -> list[Span]:
    """From the first character of the first of `size` spans to the last of the last; the last window may be short."""
    windows = []
    for first in range(0, len(spans), size - overlap):
        last = min(first + size, len(spans)) - 1
        windows.append((spans[first][0], spans[last][1]))
        if last == len(spans) - 1:
            break
    return windows
