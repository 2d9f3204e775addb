"""Scores of the extractive reader by loops over passages and tokens; its draws and its settings at their limits."""

import math

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from models.span_reader import ReadingBatch, SpanReader, best_spans, span_loss
from models.span_reader_config import SpanReaderConfig

DIM = 5


def made(config):
    """A reader all of whose weights are random: biases of 0 and gains of 1 would hide where they are used."""
    reader = SpanReader(config, DIM, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        for weight in reader.parameters():
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())))
    return reader


def batch():
    """Two passages of 6 and 4 tokens, questions of 2 and 3; what is padded holds numbers, which must not matter."""
    generator = torch.Generator().manual_seed(3)
    return ReadingBatch(
        passages_PTD=torch.randn(2, 6, DIM, generator=generator).double(),
        questions_PUD=torch.randn(2, 3, DIM, generator=generator).double(),
        matches_PTM=torch.rand(2, 6, 2, generator=generator).double(),
        in_passage_PT=torch.tensor([[True] * 6, [True] * 4 + [False] * 2]),
        in_question_PU=torch.tensor([[True, True, False], [True] * 3]),
    )


def scores_by_loops(reader, of_batch):
    """[(start, end) of every token] of each passage, no padding anywhere."""
    w = {name: weight.detach().numpy() for name, weight in reader.named_parameters()}
    config, width = reader.config, reader.config.width

    def linear(name, x):
        return w[f"{name}.weight"] @ x + w.get(f"{name}.bias", 0)

    found = []
    for p in range(len(of_batch.passages_PTD)):
        tokens = of_batch.passages_PTD[p][of_batch.in_passage_PT[p]].numpy()
        asked = of_batch.questions_PUD[p][of_batch.in_question_PU[p]].numpy()
        hidden = [np.maximum(linear("passage", token), 0) for token in tokens]
        questions = np.array([np.maximum(linear("question", token), 0) for token in asked])
        weights = softmax([float(linear("weight", question)[0]) for question in questions])
        question = weights @ questions
        rows = []
        for t, token in enumerate(tokens):
            attention = softmax(questions @ linear("attended", hidden[t]) / math.sqrt(width))
            attended = attention @ questions
            nearest = max(token @ other / np.linalg.norm(token) / np.linalg.norm(other) for other in asked)
            seen = [hidden[t], attended, hidden[t] * attended, hidden[t] * question]
            seen += [of_batch.matches_PTM[p, t].numpy(), [nearest]]
            rows.append(np.maximum(linear("mixed", np.concatenate(seen)), 0))
        x, half = np.array(rows), config.kernel // 2
        for block in range(config.blocks):
            centred = x - x.mean(axis=1, keepdims=True)
            normed = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
            normed = normed * w[f"norms.{block}.weight"] + w[f"norms.{block}.bias"]
            kernel, bias = w[f"convolutions.{block}.weight"], w[f"convolutions.{block}.bias"]
            added = np.zeros_like(x)
            for t in range(len(x)):
                sums = bias.copy()
                for place in range(config.kernel):
                    if 0 <= t + place - half < len(x):
                        sums += kernel[:, :, place] @ normed[t + place - half]
                added[t] = sums[:width] * expit(sums[width:])
            x = x + added
        ends = linear("asked_ends", question).reshape(2, width) / math.sqrt(width)
        found.append(np.array([linear("ends", row) + ends @ row for row in x]))
    return found


@pytest.mark.parametrize("config", [
    SpanReaderConfig(width=4, blocks=2, kernel=3, dropout=0.0),
    SpanReaderConfig(width=3, blocks=1, kernel=5, dropout=0.7),  # a reader that is asked drops nothing
    SpanReaderConfig(width=1, blocks=1, kernel=1, longest=1, dropout=0.0),
])  # fmt: skip
def test_scores_are_those_of_loops_over_the_tokens(config):
    reader, of_batch = made(config).eval(), batch()
    with torch.no_grad():
        found = reader(of_batch)
    assert found.shape == (2, 6, 2)
    for mine, expected in zip(found, scores_by_loops(reader, of_batch), strict=True):
        assert mine[: len(expected)].numpy() == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert torch.isneginf(mine[len(expected) :]).all()


def test_first_matrices_are_uniform_within_the_root_of_their_fan_in_and_biases_are_0():
    config = SpanReaderConfig(width=24, blocks=1, kernel=3)
    reader = SpanReader(config, DIM, generator=torch.Generator().manual_seed(0))
    for name, weight in reader.state_dict().items():
        if name == "norms.0.weight":
            assert torch.equal(weight, torch.ones(24))
        elif name.endswith("bias"):
            assert torch.equal(weight, torch.zeros_like(weight))
        else:
            bound = weight[0].numel() ** -0.5
            assert 0.8 * bound < float(weight.max()) <= bound
            assert -bound <= float(weight.min()) < -0.8 * bound
    assert len(reader.state_dict()) == 16


def test_dropout_silences_its_share_and_scales_the_rest():
    reader = SpanReader(SpanReaderConfig(width=2, dropout=0.2), 3, generator=torch.Generator().manual_seed(1)).train()
    reader._generator.manual_seed(5)
    x = torch.arange(1.0, 4001.0).reshape(8, 500)
    dropped = reader._dropped(x)
    kept = torch.rand(8, 500, generator=torch.Generator().manual_seed(5)) >= 0.2
    assert torch.allclose(dropped, torch.where(kept, x / 0.8, 0.0))
    assert reader.eval()._dropped(x) is x


def test_every_place_that_drops_is_seen_in_training():
    """Inputs, what was seen of the question, and the output of each convolution are drawn in this order."""
    reader, of_batch = made(SpanReaderConfig(width=3, blocks=2, kernel=3, dropout=0.5)).train(), batch()
    reader._generator.manual_seed(2)
    reader(of_batch)
    drawn = torch.Generator().manual_seed(2)
    for shape in ((2, 6, DIM), (2, 3, DIM), (2, 6, 4 * 3 + 3), (2, 6, 3), (2, 6, 3)):
        torch.rand(shape, generator=drawn)
    assert torch.equal(drawn.get_state(), reader._generator.get_state())


def test_loss_is_the_mean_of_questions_that_differ():
    """Three questions with two passages of three tokens: logs of the odds counted by hand."""
    odds = torch.tensor([[1, 2, 3], [4, 5, 1], [1, 1, 1], [7, 2, 4], [5, 5, 2], [3, 8, 1]]).double()
    starts, ends = torch.tensor([2, 0, 1]), torch.tensor([2, 1, 1])
    logits = torch.stack([odds.log(), (odds + 1).log()], dim=2)
    of_starts = [3 / 16, 1 / 16, 5 / 24]
    of_ends = [4 / 22, 2 / 22, 6 / 30]
    expected = -sum(math.log(p) for p in of_starts + of_ends) / 3
    assert float(span_loss(logits, starts, ends)) == pytest.approx(expected)


def test_best_spans_of_a_table():
    logits = torch.tensor(
        [[[5.0, 0.0], [0.0, 1.0], [3.0, 2.0], [0.0, 4.0]], [[0.0, 9.0], [1.0, 2.0], [2.0, 3.0], [9.0, 0.0]]]
    )
    expected = {1: ([5.0, 9.0], [0, 0], [0, 0]), 2: ([7.0, 9.0], [2, 0], [3, 0]), 4: ([9.0, 9.0], [0, 0], [3, 0])}
    for longest, (scores, starts, ends) in expected.items():
        found = best_spans(logits, longest)
        assert tuple(part.tolist() for part in found) == (scores, starts, ends)


@pytest.mark.parametrize("name", ["width", "blocks", "kernel", "longest"])
def test_one_of_each_is_enough_and_none_is_not(name):
    assert getattr(SpanReaderConfig(**{name: 1}), name) == 1
    with pytest.raises(ValueError, match=f"^{name} must be 1 or more, not 0$"):
        SpanReaderConfig(**{name: 0})


def test_kernels_are_odd_and_dropout_is_less_than_all():
    assert [SpanReaderConfig(kernel=kernel).kernel for kernel in (3, 7)] == [3, 7]
    assert [SpanReaderConfig(dropout=share).dropout for share in (0.0, 0.99)] == [0.0, 0.99]
    for kernel in (2, 4, 6):
        with pytest.raises(ValueError, match=f"kernel must be odd, not {kernel}"):
            SpanReaderConfig(kernel=kernel)
    for share in (-0.01, 1.0, 1.2):
        with pytest.raises(ValueError, match=f"dropout must be 0 or more and less than 1, not {share}"):
            SpanReaderConfig(dropout=share)
