"""BM25 against its formula, written out."""

import hashlib
import math
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import Refused, UserError
from retrieval.lexical_index import LexicalIndex, LexicalSpec

WORDS = ["ada", "bor", "cid", "dom", "eva"]
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)


def formula(stored: list[str], query: str, k1: float, b: float) -> list[float]:
    """Lucene's: idf ln(1 + (N - n + .5) / (n + .5)) times tf / (tf + k1 (1 - b + b length / mean length))."""
    words = [re.findall(r"\w\w+", text.lower()) for text in stored]
    mean = sum(map(len, words)) / len(words)
    scores = []
    for of_text in words:
        score = 0.0
        for word in re.findall(r"\w\w+", query.lower()):
            having = sum(word in other for other in words)
            idf = math.log(1 + (len(words) - having + 0.5) / (having + 0.5))
            frequency = of_text.count(word)
            if not frequency:
                continue
            score += idf * frequency / (frequency + k1 * (1 - b + b * len(of_text) / mean))
        scores.append(score)
    return scores


@given(
    stored=st.lists(texts, min_size=1, max_size=12),
    query=st.lists(st.sampled_from([*WORDS, "unknown"]), max_size=4).map(" ".join),
    k=st.integers(1, 15),
    k1=st.sampled_from([0.0, 0.9, 1.5]),
    b=st.sampled_from([0.0, 0.4, 1.0]),
    start=st.integers(0, 5),
)
def test_answers_are_those_of_the_formula(
    stored: list[str], query: str, k: int, k1: float, b: float, start: int
) -> None:
    index = LexicalIndex.build(stored, LexicalSpec(k1=k1, b=b))
    window = range(min(start, len(stored)), len(stored))
    expected = formula(stored, query, k1, b)
    again = LexicalIndex.from_storage(index.storage())
    positions, scores = index.search([query], k, window)
    found = [position for position in positions[0].tolist() if position >= 0]
    matching = [position for position in window if expected[position] > 0]
    assert len(found) == min(k, len(matching))
    for place, position in enumerate(found):
        assert scores[0, place] == pytest.approx(expected[position], rel=1e-5)
    # Equal scores may differ in their last bit; what is left out is no better than what was found.
    left = [expected[position] for position in matching if position not in found]
    assert not left or max(left) <= min(expected[position] for position in found) + 1e-5
    for one, other in zip(again.search([query], k, window), (positions, scores), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.storage() == index.storage()


def test_ties_go_to_the_smaller_position_and_words_alone_count() -> None:
    index = LexicalIndex.build(["Who likes Tea?", "who LIKES tea", "He likes coffee."], LexicalSpec())
    positions, scores = index.search(["TEA!", "nothing known", ""], 3)
    assert positions.tolist() == [[0, 1, -1], [-1, -1, -1], [-1, -1, -1]]
    assert scores[0, 0] == scores[0, 1] > 0 == scores[0, 2]


def test_texts_without_a_word_find_nothing_and_none_with_one_are_refused() -> None:
    index = LexicalIndex.build(["?!", "", "one 🎉"], LexicalSpec())
    for whole in (index, LexicalIndex.from_storage(index.storage())):
        assert whole.search(["one", "?!", ""], 2)[0].tolist() == [[2, -1], [-1, -1], [-1, -1]]
    with pytest.raises(Refused, match="none of the 2 texts has a word"):
        LexicalIndex.build(["?!", ""], LexicalSpec())


def test_names_and_dials() -> None:
    assert LexicalSpec().label == "bm25"
    assert LexicalSpec(method="atire", k1=0.9, b=0.4).label == "bm25-atire-k0.9-b0.4"
    with pytest.raises(UserError, match="b between 0 and 1, not 1.5 and 2"):
        LexicalSpec(b=2.0)


@pytest.mark.parametrize("damage", [b"", b"PK", b"x" * 100])
def test_what_is_no_lexical_index_is_one_line(damage: bytes) -> None:
    with pytest.raises(UserError, match="the stored lexical index cannot be read"):
        LexicalIndex.from_storage(damage)
    whole = LexicalIndex.build(["one text"], LexicalSpec()).storage()
    with pytest.raises(UserError, match="the stored lexical index cannot be read"):
        LexicalIndex.from_storage(whole[:-20])


PRINT_HASH = """
import hashlib
from retrieval.lexical_index import LexicalIndex, LexicalSpec
texts = ["ada bor cid", "dom eva", "cid cid eva fay", "gus"]
print(hashlib.sha256(LexicalIndex.build(texts, LexicalSpec()).storage()).hexdigest())
"""


def test_the_same_texts_make_the_same_bytes_in_every_process() -> None:
    """Python hashes words with another seed in each, and what is numbered by a set of them differs."""
    hashes = {
        subprocess.run(
            [sys.executable, "-c", PRINT_HASH],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    here = LexicalIndex.build(["ada bor cid", "dom eva", "cid cid eva fay", "gus"], LexicalSpec()).storage()
    assert hashes == {hashlib.sha256(here).hexdigest()}
