"""A reader without weights: of the values it might be, the one whose sentence shares most with the question."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.splitting import sentences
from retrieval.words import search_words, words_in_place


@dataclass(frozen=True, kw_only=True)
class Mention:
    """A candidate that stands in a text."""

    candidate: int
    start: int
    """in characters of the text"""
    end: int


class CandidateMatcher:
    """Finds candidates in texts by their words, in any case and spelling; of candidates that overlap, the longest."""

    def __init__(self, candidates: Sequence[str]) -> None:
        self._by_words: dict[tuple[str, ...], int] = {}
        for number, candidate in enumerate(candidates):
            words = tuple(word.spelt for word in words_in_place(candidate))
            if words:
                self._by_words.setdefault(words, number)
        self._longest = max(map(len, self._by_words), default=0)

    def mentions(self, text: str) -> list[Mention]:
        """From left to right; none overlaps another."""
        found = words_in_place(text)
        words = [word.spelt for word in found]
        mentions, first = [], 0
        while first < len(words):
            for length in range(min(self._longest, len(words) - first), 0, -1):
                candidate = self._by_words.get(tuple(words[first : first + length]))
                if candidate is not None:
                    start, end = found[first].start, found[first + length - 1].end
                    mentions.append(Mention(candidate=candidate, start=start, end=end))
                    first += length - 1
                    break
            first += 1
        return mentions

    def answer(self, question: str, passages: Sequence[str]) -> int:
        """The candidate of the sentence that shares the rarest words with the question; -1 where none is mentioned.

        A word counts log(1 + S / s), s of the S sentences of these passages having it; a sentence's words count once,
        and a mention's own not at all. Ties go to the earlier passage, then to the earlier mention.
        """
        split = [[passage[start:end] for start, end in sentences(passage)] for passage in passages]
        words = [[set(search_words(sentence)) for sentence in of_passage] for of_passage in split]
        num_with = Counter(word for of_passage in words for of_sentence in of_passage for word in of_sentence)
        num_sentences = sum(map(len, split))
        asked = set(search_words(question))
        best, best_score = -1, -1.0
        for of_passage, its_words in zip(split, words, strict=True):
            for sentence, of_sentence in zip(of_passage, its_words, strict=True):
                for mention in self.mentions(sentence):
                    own = set(search_words(sentence[mention.start : mention.end]))
                    shared = (of_sentence & asked) - own
                    score = sum(math.log1p(num_sentences / num_with[word]) for word in shared)
                    if score > best_score:
                        best, best_score = mention.candidate, score
        return best
