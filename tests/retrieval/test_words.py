"""Names are found in whatever script and spelling they stand; words come in one."""

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.candidate_matching import CandidateMatcher
from retrieval.lexical_index import LexicalIndex, LexicalSpec
from retrieval.words import Word, one_spelling, search_words, words_in_place

# A name, a sentence that has it, and one like it that has another.
SCRIPTS = {
    "Chinese": ("北京", "中国的首都是北京。", "法国的首都是巴黎。"),
    "Japanese": ("東京都", "東京都は日本の首都です", "大阪市は西にあります"),
    "Katakana": ("ドイツ", "ドイツの首都です", "タイの首都です"),
    "Korean": ("서울", "한국의 수도는 서울이다", "일본의 수도는 도쿄이다"),
    "Thai": ("กรุงเทพ", "เมืองหลวงของไทยคือกรุงเทพมหานคร", "เมืองหลวงของลาวคือเวียงจันทน์"),
    "Khmer": ("ភ្នំពេញ", "រាជធានីភ្នំពេញនៅកម្ពុជា", "ទីក្រុងបាងកកនៅថៃ"),
    "Burmese": ("ရန်ကုန်", "မြို့တော်ရန်ကုန်ဖြစ်သည်", "မြို့တော်မန္တလေးဖြစ်သည်"),
    "Hindi": ("दिल्ली", "भारत की राजधानी दिल्ली है", "नेपाल की राजधानी काठमांडू है"),
    "Tamil": ("சென்னை", "தலைநகரம் சென்னை ஆகும்", "தலைநகரம் மதுரை ஆகும்"),
    "Arabic": ("القاهرة", "عاصمة مصر القاهرة", "عاصمة العراق بغداد"),
    "Persian": ("می\u200cخواهم", "من می\u200cخواهم بروم", "من می\u200cتوانم بروم"),
    "Greek": ("Ὀδυσσεύς", "Εκεί ο Ὀδυσσεύς μένει", "Εκεί ο Ἀχιλλεύς μένει"),
    "Vietnamese": ("Đà Nẵng", "Ở Đà Nẵng có biển", "Ở Hà Nội có hồ"),
    "German": ("Straßburg", "Er lebt in Straßburg heute", "Er lebt in Zürich heute"),
    "one letter": ("D", "vitamin D and bones", "vitamin C and gums"),
}
SPELLINGS = {
    "as it stands": lambda text: text,
    "NFD": lambda text: unicodedata.normalize("NFD", text),
    "NFKD": lambda text: unicodedata.normalize("NFKD", text),
    "capitals": str.upper,
    "full width": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "soft hyphens": lambda text: "\u00ad".join(text),
    "zero-width spaces": lambda text: "\ufeff" + "\u200b".join(text),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_name_is_found_in_any_script_and_spelling(script: str, spelling: str) -> None:
    name, right, wrong = SCRIPTS[script]
    other = SPELLINGS[spelling]
    for stored, asked in (([wrong, other(right)], name), ([wrong, right], other(name))):
        positions, scores = LexicalIndex.build(stored, LexicalSpec()).search([asked], 2)
        assert positions[0, 0] == 1 and scores[0, 0] > scores[0, 1]
        (mention,) = CandidateMatcher([asked]).mentions(stored[1])
        found = stored[1][mention.start : mention.end]
        assert one_spelling(found) == one_spelling(asked)
        assert CandidateMatcher([asked]).mentions(wrong) == []


@given(st.text(alphabet=st.sampled_from("aé ß東ーが서กำุ\u0301\u00ad\u200bİﬁ½.²ﾄﾞ") | st.characters(), max_size=30))
def test_words_stand_where_they_are_said_to(text: str) -> None:
    words = words_in_place(text)
    assert all(one.start < one.end <= len(text) for one in words)
    assert all(one.start <= other.start and one.end <= other.end for one, other in pairwise(words))
    for word in words:
        assert word.spelt in one_spelling(text[word.start : word.end])
    assert set(search_words(text)) == set(search_words(one_spelling(text))), "one spelling is its own"


def test_letters_in_disguise_are_the_plain_ones() -> None:
    """Signs that stand for capitals have no lower case of their own: they are spelt out first, folded then."""
    plain = {"ℌ": "h", "™": "tm", "㎒": "mhz", "🄰": "a", "𝔄": "a", "Ⅻ": "xii", "ẞ": "ss"}
    assert {letter: one_spelling(letter) for letter in plain} == plain
    blocks = ((0x80, 0x600), (0x1E00, 0x2500), (0x3200, 0x3400), (0x1D400, 0x1D800))
    spelt = [one_spelling(chr(code)) for block in blocks for code in range(*block)]
    assert [one for one in spelt if one_spelling(one) != one] == []
    assert [one for one in spelt if not unicodedata.is_normalized("NFKC", one)] == [], "folding may take letters apart"


def test_words_of_plain_text_are_its_runs_of_letters_and_units_of_others_come_in_pairs() -> None:
    assert search_words("Who's at 10 Main_St?") == ["who", "s", "at", "10", "main_st"]
    assert search_words("iPhoneを買う。国") == ["iphone", "を", "買", "う", "国", "を買", "買う"]
    assert search_words("?!  🎉") == []


def test_words_are_spelt_alike_and_stand_where_they_stood() -> None:
    assert words_in_place("A Big_Dog, 2!") == [Word("a", 0, 1), Word("big_dog", 2, 9), Word("2", 11, 12)]
    text = "Straße ﬁn İ が"
    assert words_in_place(text) == [
        Word("strasse", 0, 6), Word("fin", 7, 9), Word("i̇", 10, 11), Word("が", 12, 13),
    ]  # fmt: skip
    assert words_in_place("é\u200bt e\u0301") == [Word("ét", 0, 3), Word("é", 4, 6)]
    assert search_words("東京 都 tower東") == ["東", "京", "都", "tower", "東", "東京"]
