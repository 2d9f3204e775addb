"""Words of a text in any script, in one spelling: what lexical search and matching of candidates compare.

Normal form NFKC, folded case, no characters that are not seen (soft hyphens, zero-width spaces, byte order marks).
Where a script puts no spaces between words (Chinese, Japanese, Thai, Khmer, ...) or hangs particles on them (Korean),
each character is a unit of its own, with the marks on it; search takes units and pairs of units for words.
"""

from dataclasses import dataclass
from itertools import pairwise
from unicodedata import normalize

import regex

# Line breaking class SA is Unicode's for scripts that need a dictionary to find words: Thai, Lao, Khmer, Burmese, ...
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Hangul}\p{Yi}\p{Javanese}\p{Balinese}\p{Line_Break=SA}ー〆"
_WORD = regex.compile(rf"[{_UNSPACED}]\p{{M}}*|[\w--[{_UNSPACED}]]+", regex.V1)
UNIT = regex.compile(rf"[{_UNSPACED}]\p{{M}}*")
"""a character that counts as a word, of a script without spaces, with the marks on it"""
_UNSEEN = regex.compile(r"\p{Default_Ignorable_Code_Point}+")
_CHARACTER = regex.compile(r"\X")  # as people count them: a letter and the marks on it


@dataclass(frozen=True)
class Word:
    """A word, or a unit of a script without spaces, and where it stands in the text as it was given."""

    spelt: str
    start: int
    """in characters of the text"""
    end: int


def one_spelling(text: str) -> str:
    """The text as it is compared."""
    if text.isascii():
        return text.lower()
    return normalize("NFKC", normalize("NFKC", _UNSEEN.sub("", text)).casefold())


def words_in_place(text: str) -> list[Word]:
    """From left to right."""
    if text.isascii():
        return [Word(found.group(), *found.span()) for found in _WORD.finditer(text.lower())]
    spelt, places = [], []  # of each character of the one spelling, where it stands in the text
    for found in _CHARACTER.finditer(text):
        inner = one_spelling(found.group())
        spelt.append(inner)
        places += [found.span()] * len(inner)
    return [
        Word(found.group(), places[found.start()][0], places[found.end() - 1][1])
        for found in _WORD.finditer("".join(spelt))
    ]


def search_words(text: str) -> list[str]:
    """Words, units, and pairs of units that stand side by side: a name of any length is found in a longer run."""
    found = list(_WORD.finditer(one_spelling(text)))
    pairs = [
        one.group() + other.group()
        for one, other in pairwise(found)
        if one.end() == other.start() and UNIT.match(one.group()) and UNIT.match(other.group())
    ]
    return [match.group() for match in found] + pairs
