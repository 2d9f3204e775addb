"""How right an answer in words is: SQuAD's exact match and F1 over words (Rajpurkar et al. 2016, arXiv 1606.05250)."""

import re
import string
from collections import Counter

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _words(text: str) -> list[str]:
    """In lower case, without punctuation and articles."""
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def exact_match(answer: str, right: str) -> bool:
    """Whether both are the same words."""
    return _words(answer) == _words(right)


def f1(answer: str, right: str) -> float:
    """Harmonic mean of the shares of words that both have; where one has none, whether both have none."""
    given, wanted = _words(answer), _words(right)
    if not given or not wanted:
        return float(given == wanted)
    shared = sum((Counter(given) & Counter(wanted)).values())
    return 2 * shared / (len(given) + len(wanted))
