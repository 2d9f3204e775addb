"""Texts as tokens and back.

Every text begins with a space, so that a name is the same tokens wherever it stands; no text is cut or added to by the
tokenizer itself.
"""

import json
import zlib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers import models as token_models
from tokenizers import trainers as token_trainers

from retrieval.errors import UserError
from retromem.knowledge.biographies import texts_of_people
from retromem.language.tokenizer_config import TokenizerConfig

_BEGIN, _END, _UNKNOWN = "<begin>", "<end>", "<unknown>"
_WORDS = r" ?[\p{L}\p{M}\p{N}]+| ?[^\s\p{L}\p{M}\p{N}]+"


class TextTokens:
    """A fast tokenizer, and the two tokens that a text stands between."""

    def __init__(
        self, tokenizer: Tokenizer, *, begin: int, end: int, is_learnt: bool = False, source: str = ""
    ) -> None:
        self._tokenizer, self.begin, self.end = tokenizer, begin, end
        self.is_learnt = is_learnt
        """from the facts, and stored with them"""
        self._source = source
        self._unknown = tokenizer.token_to_id(_UNKNOWN)
        tokenizer.no_padding()
        tokenizer.no_truncation()

    @property
    def num_tokens(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Of each text, without the marks. UserError for a word that a closed vocabulary has not."""
        found = self._tokenizer.encode_batch([f" {text}" for text in texts], add_special_tokens=False)
        if self._unknown is not None:
            self._refuse_unknown(texts, found)
        return [encoding.ids for encoding in found]

    def _refuse_unknown(self, texts: Sequence[str], found: Sequence[Any]) -> None:
        for text, encoding in zip(texts, found, strict=True):
            if self._unknown in encoding.ids:
                start, end = encoding.offsets[encoding.ids.index(self._unknown)]
                word = f" {text}"[start:end].strip()
                raise UserError(
                    f"tokenizer.tokens: {self._source} has {self.num_tokens:,} words, and {word!r} of {text!r} is none "
                    "of them; name tokens: learnt, which knows any text"
                )

    def span(self, text: str, part: str) -> tuple[list[int], int, int]:
        """Tokens of the text, and where those of its last `part` begin and end; the whole text where it has none."""
        encoding = self._tokenizer.encode(f" {text}", add_special_tokens=False)
        first = f" {text}".rfind(part)
        if first < 0:
            return encoding.ids, 0, len(encoding.ids)
        inside = [
            number
            for number, (start, end) in enumerate(encoding.offsets)
            if end > first and start < first + len(part) and end > start
        ]
        return encoding.ids, inside[0], inside[-1] + 1

    def prompts(self, questions: Sequence[str]) -> list[list[int]]:
        """What the answer to each question is written after."""
        return [[self.begin, *ids] for ids in self.ids(questions)]

    def answers(self, values: Sequence[str]) -> list[list[int]]:
        """Each value as it stands behind a question."""
        return self.ids(values)

    def joined(self, texts: Sequence[str]) -> str:
        """Statements and the question behind them, as one text that is asked."""
        return " ".join(texts)

    def text(self, ids: Sequence[int]) -> str:
        """What these tokens say."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False)).strip()

    @property
    def num_bytes(self) -> int:
        """Of the whole tokenizer, compressed."""
        return len(zlib.compress(self._tokenizer.to_str().encode(), 9))

    def to_bytes(self) -> bytes:
        """The merges that were learnt, compressed: what else there is of such a tokenizer is the same for all."""
        merges = json.loads(self._tokenizer.to_str())["model"]["merges"]
        return zlib.compress(json.dumps(merges, ensure_ascii=False).encode(), 9)


def make_tokens(config: TokenizerConfig, texts: Iterable[str]) -> TextTokens:
    """The tokenizer of a config; `texts` is what one may be learnt from. UserError where it cannot be had."""
    match config.tokens:
        case "people":
            return people_tokens()
        case "model":
            return model_tokens(config.model)
    trainer = token_trainers.BpeTrainer(
        vocab_size=config.size,
        special_tokens=[_BEGIN, _END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer = Tokenizer(token_models.BPE())
    _with_bytes(tokenizer).train_from_iterator((f" {text}" for text in texts), trainer)
    return _learnt(tokenizer)


def stored_tokens(config: TokenizerConfig, stored: bytes) -> TextTokens:
    """The tokenizer of a saved memory: what was learnt, or that of the config."""
    if config.tokens != "learnt":
        return make_tokens(config, ())
    merges = [tuple(pair) for pair in json.loads(zlib.decompress(stored))]
    order = [_BEGIN, _END, *sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(order))}
    tokenizer = Tokenizer(token_models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.add_special_tokens([_BEGIN, _END])
    return _learnt(_with_bytes(tokenizer))


def _with_bytes(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _learnt(tokenizer: Tokenizer) -> TextTokens:
    begin, end = tokenizer.token_to_id(_BEGIN), tokenizer.token_to_id(_END)
    assert begin is not None and end is not None
    return TextTokens(tokenizer, begin=begin, end=end, is_learnt=True)


@cache
def people_tokens() -> TextTokens:
    """The closed vocabulary of the invented people."""
    split = pre_tokenizers.Split(Regex(_WORDS), "isolated")
    words = dict.fromkeys(word for text in texts_of_people() for word, _ in split.pre_tokenize_str(f" {text}"))
    vocabulary = {token: number for number, token in enumerate([_BEGIN, _END, _UNKNOWN, *words])}
    tokenizer = Tokenizer(token_models.WordLevel(vocab=vocabulary, unk_token=_UNKNOWN))
    tokenizer.pre_tokenizer, tokenizer.decoder = split, decoders.Fuse()
    return TextTokens(tokenizer, begin=0, end=1, source="people")


@cache
def model_tokens(model: str) -> TextTokens:
    """The fast tokenizer of a folder or a hub id, with the marks that it has for a text's beginning and end."""
    from transformers import AutoTokenizer

    place = f"tokenizer.model: {model}"
    try:
        found = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        kind = "folder without a tokenizer" if Path(model).is_dir() else "neither a folder nor a hub id that can be had"
        raise UserError(f"{place} is a {kind} ({reason}); name one with a tokenizer.json") from None
    return marked_tokens(found, place)


def marked_tokens(found: Any, place: str) -> TextTokens:
    """The fast tokenizer that transformers has found, with its marks; `place` is what messages call it."""
    if not found.is_fast:
        raise UserError(f"{place} has no fast tokenizer; name one with a tokenizer.json")
    begin = next(
        (mark for mark in (found.bos_token_id, found.cls_token_id, found.eos_token_id) if mark is not None), None
    )
    end = next((mark for mark in (found.eos_token_id, found.sep_token_id) if mark is not None), None)
    if begin is None or end is None:
        raise UserError(f"{place} has no token for the beginning or the end of a text; name one with eos_token")
    return TextTokens(Tokenizer.from_str(found.backend_tokenizer.to_str()), begin=begin, end=end, source=place)
