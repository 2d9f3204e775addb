"""Passages by their laws: they are parts of their documents, cover them, and are as long as was asked."""

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.encoder_files import find_default
from retrieval.errors import UserError
from retrieval.splitting import (
    Passage,
    SplitConfig,
    _whole_spans,
    holds,
    parse_split,
    sentences,
    split_documents,
)

TEXT = "Dr. Smith went to Washington, D.C. on Jan. 5th. He met 3.5 million people!\n\nA new paragraph. It ends"


@pytest.fixture(scope="module")
def tokenizer() -> Path:
    return find_default()[0] / "tokenizer.json"


def test_sentences_end_where_a_reader_says() -> None:
    assert [TEXT[start:end] for start, end in sentences(TEXT)] == [
        "Dr. Smith went to Washington, D.C. on Jan. 5th.",
        "He met 3.5 million people!",
        "A new paragraph.",
        "It ends",
    ]


def test_windows_of_sentences_share_what_was_asked() -> None:
    passages = split_documents([TEXT, "", "One."], SplitConfig(size=2, overlap=1))
    assert [(p.document, p.text.split()[0], p.text.split()[-1]) for p in passages] == [
        (0, "Dr.", "people!"),
        (0, "He", "paragraph."),
        (0, "A", "ends"),
        (2, "One.", "One."),
    ]


def test_windows_of_tokens_are_those_of_the_encoder(tokenizer: Path) -> None:
    passages = split_documents(["The unbelievably small cat"], SplitConfig(by="tokens", size=3), tokenizer=tokenizer)
    # the, un, ##bel, ##ie, ##va, ##bly, small, cat
    assert [passage.text for passage in passages] == ["The unbel", "ievably", "small cat"]


def test_windows_of_tokens_go_on_where_the_encoder_would_stop_reading(tokenizer: Path) -> None:
    documents = ["deep " * 700 + "cellar", "cat"]
    passages = split_documents(documents, SplitConfig(by="tokens", size=300, overlap=40), tokenizer=tokenizer)
    assert [(one.document, one.start, one.end) for one in passages] == [
        (0, 0, 1499),
        (0, 1300, 2799),
        (0, 2600, 3506),
        (1, 0, 3),
    ]


@cache
def _tokenizer_file() -> Path:
    return find_default()[0] / "tokenizer.json"  # looking for it reads 90 MB


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.text(alphabet="abe .!?\n\té日Ü'’😀0\u200b\ufffd", max_size=80), max_size=4),
    st.sampled_from(["sentences", "tokens"]),
    st.integers(1, 6),
    st.data(),
)
def test_passages_are_parts_of_their_documents_and_cover_them(documents: list[str], by: str, size: int, data) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    config = SplitConfig(by=by, size=size, overlap=overlap)
    passages = split_documents(documents, config, tokenizer=_tokenizer_file())
    for number, document in enumerate(documents):
        own = [passage for passage in passages if passage.document == number]
        covered = set()
        for passage in own:
            assert passage.text == document[passage.start : passage.end] == passage.text.strip() != ""
            covered |= set(range(passage.start, passage.end))
        assert all(place in covered for place, sign in enumerate(document) if not sign.isspace())
        assert [p.start for p in own] == sorted(p.start for p in own)
        if by == "sentences":
            spans = sentences(document)
            step = size - overlap
            assert len(own) == (0 if not spans else 1 + max(0, -(-(len(spans) - size) // step)))


def test_settings_and_files_without_sense(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="overlap must be 0 or more and less than size, not 3"):
        SplitConfig(size=3, overlap=3)
    with pytest.raises(UserError, match=r"there is no tokenizer\.json"):
        split_documents(["a"], SplitConfig(by="tokens"), tokenizer=tmp_path / "tokenizer.json")


def test_passages_are_written_out_and_hold_the_spans_that_lie_in_them() -> None:
    documents = [" One. Two?  Three! Four. Five. ", "Six."]
    spans = [(1, 5), (6, 10), (12, 18), (19, 24), (25, 30)]
    assert sentences(documents[0]) == spans
    for size, overlap, expected in (
        (1, 0, [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]),
        (2, 0, [(0, 1), (2, 3), (4, 4)]),
        (3, 1, [(0, 2), (2, 4)]),
        (3, 2, [(0, 2), (1, 3), (2, 4)]),
        (5, 3, [(0, 4)]),
        (9, 0, [(0, 4)]),
        (4, 1, [(0, 3), (3, 4)]),
    ):
        own = [(spans[first][0], spans[last][1]) for first, last in expected]
        assert split_documents(documents, SplitConfig(size=size, overlap=overlap)) == [
            *(Passage(document=0, start=start, end=end, text=documents[0][start:end]) for start, end in own),
            Passage(document=1, start=0, end=4, text="Six."),
        ]
    passages = split_documents(documents, SplitConfig(size=3, overlap=1))
    asked = [(0, 1, 18), (0, 0, 5), (0, 12, 18), (0, 12, 30), (0, 12, 31), (1, 0, 4), (1, 0, 5), (0, 18, 24)]
    assert holds(passages, asked).tolist() == [
        [True, False, False],
        [False, False, False],
        [True, True, False],
        [False, True, False],
        [False, False, False],
        [False, False, True],
        [False, False, False],
        [False, True, False],
    ]


def test_a_split_has_a_label_and_is_read_from_it() -> None:
    for label, config in (
        ("1 sentence", SplitConfig(size=1)),
        ("3 sentences", SplitConfig()),
        ("128 tokens, 32 shared", SplitConfig(by="tokens", size=128, overlap=32)),
        ("1 token", SplitConfig(by="tokens", size=1)),
        ("4 sentences, 3 shared", SplitConfig(size=4, overlap=3)),
    ):
        assert (config.label, parse_split(f" {label} ")) == (label, config)
    for fields, message in (
        ({"size": 0}, "size must be 1 or more, not 0"),
        ({"size": 4, "overlap": 4}, "overlap must be 0 or more and less than size, not 4"),
        ({"overlap": -1}, "overlap must be 0 or more and less than size, not -1"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            SplitConfig(**fields)
    with pytest.raises(UserError) as caught:
        parse_split("3 words")
    assert str(caught.value) == "split '3 words': write '3 sentences', '128 tokens' or '128 tokens, 32 shared'"
    with pytest.raises(UserError) as caught:
        parse_split("3 sentences, 3 shared")
    assert str(caught.value) == ("split '3 sentences, 3 shared': overlap must be 0 or more and less than size, not 3")


def test_whatever_is_in_no_token_joins_the_token_before_it() -> None:
    assert _whole_spans("  ab  cd e ", [2, 6, 9]) == [(2, 4), (6, 8), (9, 10)]
    assert _whole_spans("  ab  cd", [6]) == [(2, 4), (6, 8)], "what stands before the first start is a span"
    assert _whole_spans("  ab ", []) == [(2, 4)]
    assert _whole_spans("ab", [0, 1]) == [(0, 1), (1, 2)]
    assert _whole_spans("   ", []) == _whole_spans("", []) == []
    assert _whole_spans("a  b", [0, 2, 3]) == [(0, 1), (3, 4)], "spaces alone are no span"
