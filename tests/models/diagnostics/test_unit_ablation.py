"""Ablation of units against setting them to zero one after another and answering again."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from models.diagnostics import unit_ablation
from models.diagnostics.unit_ablation import answers_without_top_units, deciding_units


def layer(seed, *, facts=12, units=7, values=6):
    """Activations of both signs and zeros, unit scores, bias; candidates that differ from fact to fact."""
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(facts, units, generator=generator, dtype=torch.float64)
    h = h * (torch.rand(facts, units, generator=generator) < 0.7)
    scores = torch.randn(units, values, generator=generator, dtype=torch.float64)
    bias = torch.randn(values, generator=generator, dtype=torch.float64)
    first = torch.randint(values - 1, (facts,), generator=generator)
    end = first + 1 + (torch.rand(facts, generator=generator) * (values - first)).long()
    ids = first + (torch.rand(facts, generator=generator) * (end - first)).long()
    return h, scores, bias, ids, first, end


def answer(h_F, scores, bias, first, end):
    return int((h_F @ scores + bias)[int(first) : int(end)].argmax()) + int(first)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), block_rows=st.sampled_from([1, 5, 99]))
def test_deciding_units_are_those_that_change_the_answer_alone(seed, block_rows):
    h, scores, bias, _, first, end = layer(seed)
    expected = []
    for h_F, low, high in zip(h, first, end, strict=True):
        whole = answer(h_F, scores, bias, low, high)
        without = [h_F.masked_fill(torch.arange(7) == unit, 0.0) for unit in range(7)]
        expected.append(sum(answer(left_F, scores, bias, low, high) != whole for left_F in without))
    found = deciding_units(h.split(block_rows), scores, first, end, bias_V=bias)
    assert found.tolist() == expected


def test_deciding_units_are_the_same_however_few_pairs_are_tried_at_once(monkeypatch):
    h, scores, _, _, first, end = layer(0, facts=60)
    at_once = deciding_units([h], scores, first, end)
    assert 0 < int(at_once.sum()) < 60 * 7
    monkeypatch.setattr(unit_ablation, "SCORES_AT_ONCE", 20)
    assert deciding_units([h], scores, first, end).tolist() == at_once.tolist()


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), num_ablated=st.integers(0, 7), block_rows=st.sampled_from([1, 5, 99]))
def test_answers_without_the_units_that_speak_most_for_the_value(seed, num_ablated, block_rows):
    h, scores, bias, ids, first, end = layer(seed)
    found = answers_without_top_units(
        h.split(block_rows), scores, ids, first, end, num_ablated=num_ablated, bias_V=bias
    )
    for fact in range(len(h)):
        candidates = slice(int(first[fact]), int(end[fact]))
        speaks = h[fact] * (scores[:, ids[fact]] - scores[:, candidates].mean(1))
        left = h[fact].clone()
        left[speaks.argsort(descending=True)[:num_ablated]] = 0.0
        assert bool(found.right_N[fact]) == (answer(left, scores, bias, *end_points(candidates)) == int(ids[fact]))
        log_p = functional.log_softmax((left @ scores + bias)[candidates], dim=0)[int(ids[fact] - first[fact])]
        assert float(found.log2_p_N[fact]) == pytest.approx(float(log_p) / math.log(2), abs=1e-9)


def end_points(candidates):
    return candidates.start, candidates.stop


def test_a_unit_a_fact_decides_alone_and_copies_of_it_do_not():
    ids, first, end = torch.arange(6), torch.zeros(6, dtype=torch.int64), torch.full((6,), 6)
    # Value 0 is answered where nothing speaks: fact 0 hangs on no unit.
    alone = deciding_units([torch.eye(6)], torch.eye(6), first, end)
    assert alone.tolist() == [0, 1, 1, 1, 1, 1]
    twice, scores = torch.eye(6).repeat(1, 2), torch.eye(6).repeat(2, 1)
    assert deciding_units([twice], scores, first, end).tolist() == [0] * 6
    shares = [
        float(answers_without_top_units([twice], scores, ids, first, end, num_ablated=m).right_N.float().mean())
        for m in range(3)
    ]
    assert shares == [1.0, 1.0, pytest.approx(1 / 6)]


def test_units_that_raise_all_candidates_alike_are_not_important():
    # The first unit adds 100 to both candidates, the second 1 to the right one.
    h, scores = torch.ones(1, 2), torch.tensor([[100.0, 100.0, 0.0], [0.0, 1.0, 0.0]])
    ids, first, end = torch.tensor([1]), torch.tensor([0]), torch.tensor([2])
    left = answers_without_top_units([h], scores, ids, first, end, num_ablated=1)
    assert (left.right_N.tolist(), left.log2_p_N.tolist()) == ([False], [-1.0])
