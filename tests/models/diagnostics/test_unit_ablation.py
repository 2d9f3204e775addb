"""Ablation of units against setting them to zero one after another and answering again."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.diagnostics import unit_ablation
from models.diagnostics.unit_ablation import deciding_units


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


def test_a_unit_a_fact_decides_alone_and_copies_of_it_do_not():
    first, end = torch.zeros(6, dtype=torch.int64), torch.full((6,), 6)
    # Value 0 is answered where nothing speaks: fact 0 hangs on no unit.
    alone = deciding_units([torch.eye(6)], torch.eye(6), first, end)
    assert alone.tolist() == [0, 1, 1, 1, 1, 1]
    twice, scores = torch.eye(6).repeat(1, 2), torch.eye(6).repeat(2, 1)
    assert deciding_units([twice], scores, first, end).tolist() == [0] * 6
