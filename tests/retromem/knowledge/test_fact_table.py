import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import UserError
from retromem.knowledge.fact_table import FactRow, FactTable, clean, fold, holds, words


def row(subject: str, value: str, relation: str = "r", **more: object) -> FactRow:
    return FactRow(subject=subject, relation=relation, value=value, **more)  # type: ignore[arg-type]


def cleaned(*rows: FactRow) -> FactTable:
    # One fact that is always fine, so that the rows under test may all go.
    return clean([*rows, row("Ada", "red")], name="set", source="set.csv")


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Québec", "quebec"),
        ("Kyōto", "kyoto"),
        ("Łódź", "lodz"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("İstanbul", "istanbul"),
        ("Ｔｏｋｙｏ", "tokyo"),
        ("Ærø", "aero"),
    ],
)
def test_fold_removes_accents_and_case(text: str, folded: str) -> None:
    assert fold(text) == folded


@given(st.text(max_size=20), st.text(max_size=20))
def test_fold_is_idempotent_and_joins(a: str, b: str) -> None:
    assert fold(fold(a)) == fold(a)
    assert fold(a + b) == fold(a) + fold(b)


def test_words_of_scripts() -> None:
    assert words("Port-au-Prince's (old) C++") == ["port", "au", "prince", "s", "old", "c"]
    assert words("東京 tower") == ["東", "京", "tower"]
    assert len(words("भारत")) == 1  # a vowel sign is no letter and yet no end of a word


@pytest.mark.parametrize(
    ("text", "part", "expected"),
    [
        ("Bank of Japan", "Japan", True),
        ("Romania", "Oman", False),
        ("urban agglomeration in Québec", "Quebec", True),
        ("St. Louis Cardinals", "St Louis", True),
        ("New Mexico", "Mexico", True),
        ("New York", "York New", False),
        ("Oslo", "Oslo", True),
        ("Niger", "Nigeria", False),
        ("東京都", "東京", True),
        ("서울시", "서울", True),
        ("각하", "가", False),
        ("ꦗꦮ", "ꦗ", True),
        ("a ++ b", "++", True),
        ("C", "++", False),
        ("New York New Jersey", "New Jersey", True),
    ],
)
def test_holds_whole_words(text: str, part: str, expected: bool) -> None:
    assert holds(text, part) is expected


_LETTERS = st.text("abé ", max_size=12)


@given(_LETTERS, _LETTERS.filter(str.strip))
def test_holds_equals_a_regular_expression_over_folded_words(text: str, part: str) -> None:
    pattern = r"\b" + r"\s+".join(fold(part).split()) + r"\b"
    assert holds(text, part) == bool(re.search(pattern, fold(text)))


def test_rows_are_left_out_and_counted_once() -> None:
    table = clean(
        [
            row(" Oslo ", "Norway"),
            row("Oslo", "Norway "),  # duplicate after stripping
            row("Paris", "France"),
            row("Paris", "Texas"),
            row("Paris", "Texas"),  # duplicate first, then several values
            row("Paris", "7", relation="code"),  # another relation: fine
            row("  ", "Norway"),
            row("Bergen", ""),
            row("Bergen", "Norway", relation=" "),
            row("Bank of Japan", "Japan"),
            row("Singapore", "Singapore"),
            row("York", "County of York"),
            row("Windhoek", "NA"),
        ],
        name="set",
        source="set.csv",
        dropped={"ambiguous_name": 4},
        notes=("a remark",),
    )
    assert list(zip(table.subjects, table.relations, table.values, strict=True)) == [
        ("Oslo", "r", "Norway"),
        ("Paris", "code", "7"),
        ("Windhoek", "r", "NA"),
    ]
    assert table.dropped == {
        "ambiguous_name": 4,
        "duplicate": 2,
        "several_values": 2,
        "empty": 3,
        "value_in_subject": 2,
        "subject_in_value": 1,
    }
    assert len(table) == 3
    assert table.popularity is None
    assert table.notes == ("a remark",)
    assert sum(table.dropped.values()) - 4 + len(table) == 13


_SHORT = st.text("ab ", max_size=3)


@given(st.lists(st.tuples(_SHORT, _SHORT, _SHORT), max_size=12))
def test_every_row_is_kept_or_counted(facts: list[tuple[str, str, str]]) -> None:
    table = cleaned(*(row(subject, value, relation) for subject, relation, value in facts))
    assert len(table) + sum(table.dropped.values()) == len(facts) + 1
    pairs = list(zip(table.subjects, table.relations, strict=True))
    assert len(set(pairs)) == len(pairs)
    assert not any(holds(s, v) or holds(v, s) for s, v in zip(table.subjects, table.values, strict=True))


def test_aliases_that_tell_or_confuse_are_left_out_and_their_facts_stay() -> None:
    table = cleaned(
        row("Nippon Ginko", "Japan", aliases=("Bank of Japan", "NG", " NG ", "", "nippon ginkō")),
        row("Bombay", "India", aliases=("Mumbai", "Shared", "Ada")),
        row("Bombay", "INR", relation="money", aliases=("Mumbai",)),
        row("Calcutta", "India", aliases=("Shared", "Kolkata")),
    )
    assert table.aliases == (("NG",), ("Mumbai",), ("Mumbai",), ("Kolkata",), ())
    assert table.dropped == {}
    # Bank of Japan, the second NG, the empty one, the subject itself, Shared twice, Ada.
    assert table.notes == ("aliases left out (blank, repeated, ambiguous or telling the value): 7",)


def test_popularity_follows_its_row() -> None:
    table = clean(
        [row("a", "a", popularity=3.0), row("b", "x", popularity=2.0), row("c", "y", popularity=1.0)],
        name="set",
        source="set.csv",
    )
    assert table.popularity == (2.0, 1.0)
    assert table.without([0], "too_good").popularity == (1.0,)


def test_without_counts_its_reason() -> None:
    table = cleaned(row("Oslo", "Norway", aliases=("Christiania",)), row("x", "x"))
    assert table.without([], "reason") is table
    fewer = table.without([1], "reason")
    assert (fewer.subjects, fewer.aliases) == (("Oslo",), (("Christiania",),))
    assert fewer.dropped == {"value_in_subject": 1, "reason": 1}
    with pytest.raises(UserError, match=r"set: no fact is left .*1 value_in_subject, 2 reason"):
        table.without([0, 1], "reason")


def test_nothing_left_names_source_and_counts() -> None:
    with pytest.raises(UserError, match=r"^set\.csv: no fact is left \(left out: 1 empty, 1 value_in_subject\)"):
        clean([row("", "x"), row("x", "x")], name="set", source="set.csv")
