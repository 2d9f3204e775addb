"""Names that look the same are one, and what carries meaning stays."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retromem.knowledge.fact_table import FactRow, clean
from retromem.knowledge.names import tidied


@pytest.mark.parametrize(
    ("spelled", "seen"),
    [
        (unicodedata.normalize("NFD", "Zürich"), "Zürich"),
        ("\ufeffLyon\u200b", "Lyon"),
        ("Ly\u00adon", "Lyon"),
        ("Lyon\u00a0", "Lyon"),
        ("New\u00a0\u2009 York\n", "New York"),
        ("\u200eתל אביב\u200f", "תל אביב"),
        ("Zu\u2060\u0308rich", "Zürich"),  # a sign between a letter and its accent
        ("Ly\u200don", "Lyon"),
        ("\u200dLyon\u200c", "Lyon"),
        ("\x00Lyon\x7f", "Lyon"),
        ("\u212bngström", "Ångström"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # a non-joiner between Persian letters is spelling
        ("क\u094d\u200dष", "क\u094d\u200dष"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("👩\u200d", "👩"),
        ("ﬁ Ａ ²", "ﬁ Ａ ²"),  # compatible, not the same
        ("Paris\ufe0f", "Paris"),
        ("Pa\u3164ri\U000e0041s\U000e0100\u17b4\u180b\U0001d173\u115f", "Paris"),
        ("\ufe0f", ""),
        ("\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", None),  # England's flag
        ("\ufee3\ufebc\ufead", "مصر"),  # letters as they look in a word
        ("Port\u2011au\u2010Prince", "Port-au-Prince"),
    ],
)
def test_what_shows_nothing_goes(spelled: str, seen: str | None) -> None:
    seen = spelled if seen is None else seen
    assert tidied(spelled) == seen == tidied(seen)


@given(
    st.text(
        st.characters(codec="utf-8")
        | st.sampled_from(
            "\u200c\u200d\u200b\u0308u \u094dक👩\ufeff\ufe0f\U0001f3f4\U000e0067\U000e007f\ufe70\ufdfa\u2011"
        ),
        max_size=12,
    )
)
def test_tidying_twice_changes_nothing_and_normal_forms_are_one(text: str) -> None:
    once = tidied(text)
    assert tidied(once) == once
    for form in ("NFC", "NFD"):
        assert tidied(unicodedata.normalize(form, text)) == once  # type: ignore[arg-type]


def test_one_subject_in_two_spellings_is_a_duplicate_or_has_several_values() -> None:
    def row(subject: str, value: str, relation: str = "canton") -> FactRow:
        return FactRow(subject=subject, relation=relation, value=value)

    rows = [row("Zürich", "Zug"), row("Zu\u0308rich", "Zug"), row("Köln\u200b", "Main"), row("Ko\u0308ln", "Rhein")]
    rows += [row("Genf", "français", "language"), row("Lausanne", "franc\u0327ais", "language\u00a0")]
    table = clean(rows, name="t", source="t")
    assert table.subjects == ("Zürich", "Genf", "Lausanne")
    assert set(table.values) == {"Zug", "français"} and set(table.relations) == {"canton", "language"}
    assert table.dropped == {"duplicate": 1, "several_values": 2}
