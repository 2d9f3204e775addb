"""An extractive reader taught on questions whose answers are known, and asked of passages that were found.

Token vectors come from the frozen encoder; the reader's own weights are the only ones that are trained.

Shape legend: P passages, Q questions, T tokens of a passage, U of a question, D dimensions.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from models.span_reader import ReadingBatch, SpanReader, SpanReaderModule, best_spans
from models.span_reader_config import SpanReaderConfig
from models.step_module import take_steps
from retrieval.tokens import Tokens
from retromem.reading.reader_training import ReaderTraining

TokensOf = Callable[[Sequence[str]], Sequence[Tokens]]
"""the encoder's vectors of the tokens of texts"""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A question, the passage that answers it, and some that do not."""

    question: str
    passage: str
    start: int
    end: int
    """of the answer, in characters of the passage"""
    others: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a reader answers."""

    text: str
    passage: int
    """position among the passages it was given"""
    start: int
    end: int
    """in characters of that passage"""


class ExtractiveReader:
    """Reads one answer out of passages."""

    def __init__(self, reader: SpanReader, tokens_of: TokensOf, rarity: Mapping[int, float]) -> None:
        self.reader = reader
        self._tokens_of = tokens_of
        self._rarity = rarity

    @property
    def num_params(self) -> int:
        return sum(weight.numel() for weight in self.reader.parameters())

    def read(self, questions: Sequence[str], passages: Sequence[Sequence[str]]) -> list[Found]:
        """The best span over all passages of each question, of which there is at least one with a token."""
        tokens = _by_text([*questions, *(text for own in passages for text in own)], self._tokens_of)
        self.reader.eval()
        found = []
        with torch.inference_mode():
            for question, own in zip(questions, passages, strict=True):
                batch = self._batch([(tokens[question], tokens[text]) for text in own])
                scores_P, starts_P, ends_P = best_spans(self.reader(batch), self.reader.config.longest)
                best = int(scores_P.argmax())
                spans = tokens[own[best]].spans
                start, end = spans[int(starts_P[best])][0], spans[int(ends_P[best])][1]
                found.append(Found(text=own[best][start:end], passage=best, start=start, end=end))
        return found

    def _batch(self, pairs: Sequence[tuple[Tokens, Tokens]]) -> ReadingBatch:
        """Of (question, passage)."""
        questions, passages = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        passages_PTD = pad_sequence([torch.from_numpy(own.vectors_TD) for own in passages], batch_first=True)
        questions_PUD = pad_sequence([torch.from_numpy(own.vectors_TD) for own in questions], batch_first=True)
        matches = []
        for question, passage in pairs:
            asked = set(question.ids)
            matches.append(
                torch.tensor([(1.0, self._rarity.get(id_, 1.0)) if id_ in asked else (0.0, 0.0) for id_ in passage.ids])
            )
        return ReadingBatch(
            passages_PTD=passages_PTD,
            questions_PUD=questions_PUD,
            matches_PTM=pad_sequence(matches, batch_first=True),
            in_passage_PT=_is_there([len(own.ids) for own in passages], passages_PTD.shape[1]),
            in_question_PU=_is_there([len(own.ids) for own in questions], questions_PUD.shape[1]),
        )


def teach(
    lessons: Sequence[Lesson],
    tokens_of: TokensOf,
    config: SpanReaderConfig,
    training: ReaderTraining,
    *,
    seed: int,
) -> ExtractiveReader:
    """A reader trained on these lessons; those whose answer no token covers (behind the encoder's last one) are left
    out. Every lesson has the same number of other passages."""
    texts = [text for lesson in lessons for text in (lesson.question, lesson.passage, *lesson.others)]
    tokens = _by_text(texts, tokens_of)
    spans = [_token_span(tokens[lesson.passage], lesson.start, lesson.end) for lesson in lessons]
    taught = [(lesson, span) for lesson, span in zip(lessons, spans, strict=True) if span is not None]
    assert taught, "no lesson has an answer that the encoder sees"
    generator = torch.Generator().manual_seed(seed)
    dim = tokens[taught[0][0].question].vectors_TD.shape[1]
    passages = {text for lesson in lessons for text in (lesson.passage, *lesson.others)}
    counts = Counter(id_ for text in passages for id_ in set(tokens[text].ids))
    rarest = math.log1p(len(passages))
    rarity = {id_: math.log((1 + len(passages)) / count) / rarest for id_, count in counts.items()}
    reader = ExtractiveReader(SpanReader(config, dim, generator=generator), tokens_of, rarity)
    batches = _batches(len(taught), training.batch_size, np.random.default_rng(seed))

    def lessons_of_a_step() -> tuple[ReadingBatch, torch.Tensor, torch.Tensor]:
        chosen = [taught[row] for row in next(batches)]
        pairs = [
            (tokens[lesson.question], tokens[text]) for lesson, _ in chosen for text in (lesson.passage, *lesson.others)
        ]
        starts_Q, ends_Q = torch.tensor([span for _, span in chosen]).unbind(1)
        return reader._batch(pairs), starts_Q, ends_Q

    take_steps(
        SpanReaderModule(
            reader.reader,
            lessons_of_a_step,
            num_steps=training.steps,
            learning_rate=training.learning_rate,
            weight_decay=training.weight_decay,
        )
    )
    return reader


def _batches(num: int, size: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Rows of one batch after another, in one random order after another."""
    waiting: list[int] = []
    while True:
        if len(waiting) < size:
            waiting += rng.permutation(num).tolist()
        yield waiting[:size]
        waiting = waiting[size:]


def _by_text(texts: Sequence[str], tokens_of: TokensOf) -> dict[str, Tokens]:
    unique = list(dict.fromkeys(texts))
    return dict(zip(unique, tokens_of(unique), strict=True))


def _token_span(tokens: Tokens, start: int, end: int) -> tuple[int, int] | None:
    """First and last token that share a character with [start, end)."""
    inside = [number for number, (first, last) in enumerate(tokens.spans) if first < end and last > start]
    return (inside[0], inside[-1]) if inside else None


def _is_there(lengths: Sequence[int], longest: int) -> torch.Tensor:
    return torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
