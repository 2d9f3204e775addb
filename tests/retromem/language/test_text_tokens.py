"""Texts as tokens and back, in every kind of tokenizer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers import models as token_models
from transformers import PreTrainedTokenizerFast

from retrieval.errors import UserError
from retromem.knowledge.biographies import BiographiesConfig, texts_of_people
from retromem.knowledge.biography_wordings import BIOGRAPHY_WORDINGS
from retromem.knowledge.cities import CITY_WORDINGS
from retromem.language.text_tokens import TextTokens, make_tokens, people_tokens, stored_tokens
from retromem.language.tokenizer_config import TokenizerConfig

LEARNT = TokenizerConfig(size=320)
TEXTS = [
    "Where was Anna Łódź born?",
    "Anna's city is 日本.",
    "São Paulo lies in Brazil.",
    "Where was Bo Adams born?",
] * 3


@pytest.fixture(scope="module")
def learnt() -> TextTokens:
    return make_tokens(LEARNT, TEXTS)


@given(st.text(min_size=1))
def test_any_text_is_learnt_tokens_and_back(text: str) -> None:
    tokens = make_tokens(TokenizerConfig(size=258), ())
    assert tokens.text(tokens.ids([text])[0]) == text.strip()


def test_learnt_tokens_are_stored_and_found_again(learnt: TextTokens) -> None:
    back = stored_tokens(LEARNT, learnt.to_bytes())
    assert back.num_tokens == learnt.num_tokens <= 320
    texts = [*TEXTS, "something else 🙂"]
    assert back.ids(texts) == learnt.ids(texts)
    assert (back.begin, back.end) == (learnt.begin, learnt.end)
    assert len(learnt.ids(["Where was Anna Łódź born?"])[0]) < 25  # merged


@pytest.mark.parametrize("wordings", [BIOGRAPHY_WORDINGS, CITY_WORDINGS], ids=["people", "cities"])
def test_a_name_is_the_same_tokens_wherever_it_stands(wordings, learnt: TextTokens) -> None:
    kinds = [learnt, people_tokens()] if wordings is BIOGRAPHY_WORDINGS else [learnt]
    for tokens in kinds:
        name = tokens.ids(["Badrin Baebbick"])[0]
        for own in wordings.values():
            for template in (*own.questions, *own.statements):
                ids = tokens.ids([template.format(subject="Badrin Baebbick", value="Arkenburgh")])[0]
                assert any(ids[place : place + len(name)] == name for place in range(len(ids))), template


def test_the_words_of_invented_people_are_closed_and_whole() -> None:
    tokens = people_tokens()
    knowledge = BiographiesConfig(num_people=300, num_birth_years=100, seed=5).build()
    facts = knowledge.facts(statements=True)
    asked = [text for kind in knowledge.phrasings() for text in knowledge.ask(kind).queries.texts]
    texts = [*facts.cues[0].texts, *facts.statements.texts, *asked, *knowledge.values.strings, *texts_of_people()]
    assert all(tokens.text(ids) == text.strip() for ids, text in zip(tokens.ids(texts), texts, strict=True))
    assert 1_900 < tokens.num_tokens < 2_200
    with pytest.raises(UserError, match=r"people has [\d,]+ words, and 'Napoleon' of 'When was Nap.* is none"):
        tokens.ids(["When was Napoleon born?"])


def test_where_a_value_stands(learnt: TextTokens) -> None:
    ids, first, end = learnt.span("Bo was born in Łódź, as was his sister.", "Łódź")
    assert learnt.text(ids[first:end]) == "Łódź"
    ids, first, end = learnt.span("Paris is Paris", "Paris")
    assert (learnt.text(ids[:first]), learnt.text(ids[first:end])) == ("Paris is", "Paris")
    ids, first, end = learnt.span("Nothing of it", "Paris")
    assert (first, end) == (0, len(ids))


def a_fast_tokenizer(folder, **marks) -> None:
    words = {word: number for number, word in enumerate(["[BOS]", "[EOS]", "[UNK]", "Bo", "was", "here"])}
    tokenizer = Tokenizer(token_models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", **marks).save_pretrained(folder)


def test_a_tokenizer_of_hugging_face_is_taken_from_its_folder(tmp_path) -> None:
    a_fast_tokenizer(tmp_path / "good", bos_token="[BOS]", eos_token="[EOS]")
    tokens = make_tokens(TokenizerConfig(tokens="model", model=str(tmp_path / "good")), ())
    assert tokens.ids(["Bo was here"]) == [[3, 4, 5]]
    assert (tokens.begin, tokens.end, tokens.num_tokens) == (0, 1, 6)
    a_fast_tokenizer(tmp_path / "unmarked")
    with pytest.raises(UserError, match="has no token for the beginning or the end of a text"):
        make_tokens(TokenizerConfig(tokens="model", model=str(tmp_path / "unmarked")), ())
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is a folder without a tokenizer"):
        make_tokens(TokenizerConfig(tokens="model", model=str(tmp_path / "empty")), ())
    with pytest.raises(UserError, match="neither a folder nor a hub id that can be had"):
        make_tokens(TokenizerConfig(tokens="model", model="nobody/has-this"), ())


@pytest.mark.parametrize("settings", [{"size": 100}, {"tokens": "model"}, {"model": "x"}])
def test_settings_that_do_not_fit(settings: dict) -> None:
    with pytest.raises(ValueError, match="must be|belong together"):
        TokenizerConfig(**settings)
