"""Mentions beside a plain search for whole words; answers that a reader of the text would give."""

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from retrieval.candidate_matching import CandidateMatcher

COUNTRIES = ["Guinea", "Papua New Guinea", "France", "Chad", "Côte d'Ivoire", "-"]


def test_the_longest_candidate_is_meant() -> None:
    matcher = CandidateMatcher(COUNTRIES)
    text = "From Papua New Guinea to GUINEA, not Guinean; and côte d’Ivoire."
    found = [(text[m.start : m.end], COUNTRIES[m.candidate]) for m in matcher.mentions(text)]
    assert found == [
        ("Papua New Guinea", "Papua New Guinea"),
        ("GUINEA", "Guinea"),
        ("côte d’Ivoire", "Côte d'Ivoire"),
    ]


@given(st.lists(st.sampled_from(["a", "b", "a b", "b a b", "c"]), unique=True), st.text(alphabet="abcd .", max_size=30))
def test_mentions_are_whole_words_apart_from_each_other(candidates: list[str], text: str) -> None:
    mentions = CandidateMatcher(candidates).mentions(text)
    assert all(before.end <= after.start for before, after in pairwise(mentions))
    for mention in mentions:
        assert re.findall(r"\w+", text[mention.start : mention.end]) == candidates[mention.candidate].split()
    # Whatever one word is a candidate, and lies in no mention, would have been found.
    for word in re.finditer(r"\w+", text):
        inside = any(m.start <= word.start() < m.end for m in mentions)
        assert inside or word.group() not in candidates


def test_a_capital_that_folds_to_two_characters_is_still_one_word() -> None:
    (found,) = CandidateMatcher(["İstanbul", "Ankara"]).mentions("A ferry to İstanbul leaves.")
    assert found.candidate == 0


def test_the_sentence_that_names_the_subject_answers() -> None:
    matcher = CandidateMatcher(COUNTRIES)
    passages = [
        "Lyon is a city in Chad. The city of Ukka is in France. A market opens on Mondays.",
        "Guinea has many rivers.",
    ]
    assert matcher.answer("Which country is Ukka in?", passages) == 2
    assert matcher.answer("What country does Lyon belong to?", passages) == 3
    assert matcher.answer("Which country is Ukka in?", ["Nothing is said here."]) == -1
    assert matcher.answer("Which country is Ukka in?", []) == -1


def test_a_tie_goes_to_the_earlier_passage() -> None:
    matcher = CandidateMatcher(COUNTRIES)
    assert matcher.answer("Where?", ["Here is Chad.", "Here is France."]) == 3
    assert matcher.answer("Where?", ["Here is France.", "Here is Chad."]) == 2
