"""Shape legend: P passages, T tokens, U tokens of a question, D dimensions."""

import dataclasses
import math

import pytest
import torch

from models.span_reader import NUM_MATCHES, ReadingBatch, SpanReader, best_spans, span_loss
from models.span_reader_config import SpanReaderConfig

CONFIG = SpanReaderConfig(width=8, dropout=0.0)


def batch(num_passages: int, lengths: list[int], *, padded_to: int, seed: int = 0) -> ReadingBatch:
    """The same numbers, however far they are padded."""
    generator = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    passages = torch.randn(num_passages, longest, 6, generator=generator)
    questions = torch.randn(num_passages, 4, 6, generator=generator)
    matches = torch.rand(num_passages, longest, NUM_MATCHES, generator=generator)
    there = torch.arange(padded_to)[None] < torch.tensor(lengths)[:, None]

    def pad(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(x, (0, 0, 0, padded_to - longest)) * there[..., None]

    return ReadingBatch(pad(passages), questions, pad(matches), there, torch.ones(num_passages, 4, dtype=torch.bool))


def reader(config: SpanReaderConfig = CONFIG) -> SpanReader:
    return SpanReader(config, 6, generator=torch.Generator().manual_seed(0))


def test_padding_changes_no_score_and_gets_none() -> None:
    short, long = (reader().eval()(batch(3, [5, 3, 4], padded_to=size)) for size in (5, 11))
    assert torch.isneginf(long[:, 5:]).all() and torch.isneginf(short[1, 3:]).all()
    torch.testing.assert_close(long[:, :5], short, rtol=1e-5, atol=1e-6)


def test_the_best_span_is_that_of_trying_all() -> None:
    logits = torch.randn(20, 9, 2, generator=torch.Generator().manual_seed(1))
    logits[:, 7:] = -torch.inf
    for longest in (1, 3, 9):
        scores, starts, ends = best_spans(logits, longest)
        for row in range(20):
            tried = {
                (start, end): float(logits[row, start, 0] + logits[row, end, 1])
                for start in range(7)
                for end in range(start, min(7, start + longest))
            }
            best = max(tried, key=tried.__getitem__)
            assert (int(starts[row]), int(ends[row])) == best
            assert float(scores[row]) == pytest.approx(tried[best])


def test_the_passages_of_a_question_share_one_softmax() -> None:
    logits = torch.zeros(4, 5, 2)  # two questions, two passages each, five tokens: every token has a tenth
    starts, ends = torch.tensor([1, 2]), torch.tensor([1, 4])
    assert float(span_loss(logits, starts, ends)) == pytest.approx(2 * math.log(10))
    logits[1] = -torch.inf  # the other passage of the first question is out
    assert float(span_loss(logits, starts, ends)) == pytest.approx(math.log(5) + math.log(10))


def test_dropout_and_first_weights_come_from_the_reader_s_own_generator() -> None:
    config = dataclasses.replace(CONFIG, dropout=0.5)
    first, second = reader(config).train(), reader(config).train()
    given = batch(2, [4, 4], padded_to=4)
    torch.manual_seed(7)
    once = first(given)
    assert torch.equal(once, second(given)) and not torch.equal(once, first(given))
    assert torch.equal(first.eval()(given), second.eval()(given))


@pytest.mark.parametrize("given", ["width", "kernel", "blocks"])
def test_parameters_are_those_of_the_layers(given: str) -> None:
    config = dataclasses.replace(CONFIG, **{given: getattr(CONFIG, given) + 2})
    h, k, n, d = config.width, config.kernel, config.blocks, 6
    layers = [2 * (d * h + h), h * h, h + 1, (4 * h + NUM_MATCHES + 1) * h + h, 2 * h + 2, 2 * h * h]
    expected = sum(layers) + n * (2 * h + 2 * h * h * k + 2 * h)
    assert sum(weight.numel() for weight in reader(config).parameters()) == expected
