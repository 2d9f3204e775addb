"""BM25 over short texts, through `bm25s`: words that a question shares with a chunk, weighed by how rare they are.

Shape legend: N texts, Q queries, K ranked answers, W word ids of one text.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from retrieval.errors import Refused, UserError
from retrieval.words import search_words


@dataclass(frozen=True, kw_only=True)
class LexicalSpec:
    """The formula and its two dials; words are those of `search_words`, in any script, none left out."""

    method: Literal["lucene", "robertson", "atire"] = "lucene"
    """of those that Kamphuis et al. (2020) tell apart: which give a text without the word nothing"""
    k1: float = 1.5
    """how soon a repeated word adds no more"""
    b: float = 0.75
    """how much longer texts are discounted; 0 not at all, 1 in full"""

    def __post_init__(self) -> None:
        if self.k1 < 0 or not 0 <= self.b <= 1:
            raise UserError(f"BM25 takes k1 of 0 or more and b between 0 and 1, not {self.k1:g} and {self.b:g}")

    @property
    def label(self) -> str:
        dials = [f"k{self.k1:g}"] if self.k1 != LexicalSpec.k1 else []
        dials += [f"b{self.b:g}"] if self.b != LexicalSpec.b else []
        return "-".join(["bm25", *([self.method] if self.method != LexicalSpec.method else []), *dials])


class LexicalIndex:
    """Scores of every word in every text that has it, computed once."""

    def __init__(self, spec: LexicalSpec, bm25: Any, num_texts: int) -> None:
        """By `build` or `from_storage`."""
        self.spec = spec
        self._bm25 = bm25
        self.num_texts = num_texts

    @classmethod
    def build(cls, texts: Sequence[str], spec: LexicalSpec) -> "LexicalIndex":
        """Of at least one text. Refused where none of them has a word."""
        assert len(texts), "there are no texts to store"
        words = [search_words(text) for text in texts]
        if not any(words):
            raise Refused(
                f"none of the {len(words):,} texts has a word (the first is {texts[0][:40]!r}); BM25 needs some"
            )
        bm25 = _empty(spec)
        # Numbered in their order: bm25s would number them as this process happens to hash them.
        numbers = {word: number for number, word in enumerate(sorted({word for of_text in words for word in of_text}))}
        bm25.index(([[numbers[word] for word in of_text] for of_text in words], numbers), show_progress=False)
        return cls(spec, bm25, len(texts))

    def search(
        self, queries: Sequence[str], k: int, window: range | None = None
    ) -> tuple[Int64[ndarray, "Q K"], Float32[ndarray, "Q K"]]:
        """Positions and scores of the `k` best texts within a window of positions (None: all), best first.

        Ties go to the smaller position; a text that shares no word is no answer: -1 and 0 pad.
        """
        window = range(self.num_texts) if window is None else window
        positions_QK = np.full((len(queries), k), -1, dtype=np.int64)
        scores_QK = np.zeros((len(queries), k), dtype=np.float32)
        for row, query in enumerate(queries):
            known = [word for word in search_words(query) if word in self._bm25.vocab_dict]
            if not known:
                continue
            scores_N = self._bm25.get_scores(known)[window.start : window.stop]
            best_K = np.argsort(-scores_N, kind="stable")[:k]
            best_K = best_K[scores_N[best_K] > 0]
            positions_QK[row, : len(best_K)] = best_K + window.start
            scores_QK[row, : len(best_K)] = scores_N[best_K]
        return positions_QK, scores_QK

    @property
    def resident_bytes(self) -> int:
        """Of scores and postings in memory; the words come on top."""
        return sum(int(self._bm25.scores[name].nbytes) for name in ("data", "indices", "indptr"))

    def storage(self) -> bytes:
        """Scores, postings and words, compressed: what a disk must hold. The same texts make the same bytes."""
        scores, file = self._bm25.scores, io.BytesIO()
        words = sorted(self._bm25.vocab_dict, key=self._bm25.vocab_dict.__getitem__)
        np.savez_compressed(
            file,
            data=scores["data"],
            indices=scores["indices"].astype(np.uint32),
            starts=scores["indptr"].astype(np.uint32),
            words=np.frombuffer("\n".join(words).encode(), dtype=np.uint8),
            spec=np.frombuffer(json.dumps({**asdict(self.spec), "num_texts": self.num_texts}).encode(), dtype=np.uint8),
        )
        return file.getvalue()

    @classmethod
    def from_storage(cls, data: bytes) -> "LexicalIndex":
        """The index whose `storage()` is `data`; UserError where it is none. Compare a hash first."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                described = json.loads(stored["spec"].tobytes())
                num_texts = described.pop("num_texts")
                words = stored["words"].tobytes().decode().split("\n")
                bm25 = _empty(LexicalSpec(**described))
                bm25.scores = {
                    "data": stored["data"],
                    "indices": stored["indices"].astype(np.int32),
                    "indptr": stored["starts"].astype(np.int64),
                    "num_docs": num_texts,
                }
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise UserError(f"the stored lexical index cannot be read ({error}); build the store again") from error
        bm25.vocab_dict = {word: number for number, word in enumerate(words)}
        bm25.unique_token_ids_set = set(bm25.vocab_dict.values())
        bm25.nonoccurrence_array = None
        return cls(LexicalSpec(**described), bm25, num_texts)


def _empty(spec: LexicalSpec) -> Any:
    import bm25s

    return bm25s.BM25(method=spec.method, k1=spec.k1, b=spec.b)
