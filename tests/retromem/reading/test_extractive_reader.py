"""The reader on a language of its own: vectors of words drawn at random, answers that can be looked up."""

import re
from collections.abc import Sequence

import numpy as np
import pytest

from models.span_reader_config import SpanReaderConfig
from retrieval.tokens import Tokens
from retromem.reading.extractive_reader import Lesson, teach
from retromem.reading.reader_training import ReaderTraining

WORDS = [f"w{number}" for number in range(400)]
COLOURS = ["deep red", "blue", "very dark green", "white"]
CONFIG = SpanReaderConfig(width=32, dropout=0.1)


def tokens_of(texts: Sequence[str]) -> list[Tokens]:
    """A word is a token; its vector is drawn by its number."""
    vocabulary = {word: number for number, word in enumerate([*WORDS, *" ".join(COLOURS).split(), "is", "and"])}
    vectors = np.random.default_rng(0).standard_normal((len(vocabulary), 16)).astype(np.float32)
    found = []
    for text in texts:
        words = list(re.finditer(r"\w+", text))
        ids = tuple(vocabulary[word[0]] for word in words)
        found.append(Tokens(vectors[list(ids)], ids, tuple(word.span() for word in words)))
    return found


def lesson(rng: np.random.Generator, things: Sequence[str]) -> Lesson:
    """Three things and their colours; one of them is asked for."""
    chosen = [str(thing) for thing in rng.choice(things, 6, replace=False)]
    passages = []
    for three in (chosen[:3], chosen[3:]):
        colours = [COLOURS[number] for number in rng.permutation(4)[:3].tolist()]
        passages.append(" and ".join(f"{thing} is {colour}" for thing, colour in zip(three, colours, strict=True)))
    asked = chosen[int(rng.integers(3))]
    start = re.search(rf"\b{asked} is ", passages[0]).end()
    end = (passages[0] + " and ").index(" and ", start)
    return Lesson(question=asked, passage=passages[0], start=start, end=end, others=(passages[1],))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.slow
def test_answers_about_things_that_no_lesson_named_are_read(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lessons = [lesson(rng, WORDS[:300]) for _ in range(600)]
    reader = teach(lessons, tokens_of, CONFIG, ReaderTraining(steps=250), seed=seed)
    asked = [lesson(rng, WORDS[300:]) for _ in range(100)]
    found = reader.read([one.question for one in asked], [[one.others[0], one.passage] for one in asked])
    right = [
        read.passage == 1
        and (read.start, read.end) == (one.start, one.end)
        and read.text == one.passage[one.start : one.end]
        for read, one in zip(found, asked, strict=True)
    ]
    assert np.mean(right) > 0.9


def test_the_same_seed_teaches_the_same_reader() -> None:
    rng = np.random.default_rng(3)
    lessons = [lesson(rng, WORDS) for _ in range(20)]
    asked = [one.question for one in lessons], [[one.passage, *one.others] for one in lessons]
    first, second, other = (
        teach(lessons, tokens_of, CONFIG, ReaderTraining(steps=3), seed=seed).read(*asked) for seed in (0, 0, 1)
    )
    assert first == second != other
