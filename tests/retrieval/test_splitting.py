"""Passages by their laws: they are parts of their documents, cover them, and are as long as was asked."""

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.encoder_files import find_default
from retrieval.errors import UserError
from retrieval.splitting import SplitConfig, sentences, split_documents

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
