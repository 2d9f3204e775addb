"""Mentions beside a plain search for whole words; answers that a reader of the text would give."""

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from retrieval.candidate_matching import CandidateMatcher, Mention

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


def test_mentions_are_written_out() -> None:
    matcher = CandidateMatcher(["b c", "a", "b", "B", "-", "c d e"])
    assert matcher.mentions("A b c d e, B-c b") == [
        Mention(candidate=1, start=0, end=1),
        Mention(candidate=0, start=2, end=5),
        Mention(candidate=0, start=11, end=14),
        Mention(candidate=2, start=15, end=16),
    ]
    assert CandidateMatcher([]).mentions("a b") == CandidateMatcher(["-"]).mentions("- -") == []


def test_the_rarest_shared_words_decide_by_their_sums() -> None:
    matcher = CandidateMatcher(["Chad", "France", "Guinea", "Peru"])
    # Five sentences. "river" stands in three (log 8/3), "long" in two (log 7/2), "old" in one (log 6).
    passages = [
        "A river is in Chad. A long river is in France.",
        "An old one is in Guinea. The river was long.",
        "Nothing.",
    ]
    assert matcher.answer("Which river?", passages) == 0, "a tie goes to the earlier one"
    assert matcher.answer("Which long river?", passages) == 1, "log 8/3 + log 7/2 = 2.23"
    assert matcher.answer("Which old river?", passages) == 2, "log 6 = 1.79 beats log 8/3 = .98"
    assert matcher.answer("Which old, long river?", passages) == 1, "2.23 beats 1.79"
    # A mention's own word counts for nothing, and every word but once.
    assert matcher.answer("Chad or Peru, is it old?", ["Chad is big. Peru, Peru is old."]) == 3
    assert matcher.answer("Is it Chad?", ["Peru stands here. Chad stands there."]) == 3
    assert matcher.answer("Which is it?", ["Peru is big and Chad is big."]) == 3
    assert matcher.answer("Which?", ["big"]) == -1
