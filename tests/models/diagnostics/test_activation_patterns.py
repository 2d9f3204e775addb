"""Streamed counts of activation patterns against sets of tuples; what is left after binarising."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from models.diagnostics.activation_patterns import (
    binarised,
    hidden_blocks,
    mean_positive_activations,
    read_patterns,
    right_answers,
)
from models.ffn import DenseFFN
from models.ffn_kinds import DenseConfig


def tuples(h_NF):
    return [tuple(row) for row in (h_NF > 0).tolist()]


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    facts=st.integers(1, 60),
    units=st.integers(1, 20),
    block_rows=st.sampled_from([1, 7, 99]),
)
def test_streamed_counts_are_those_of_a_set(seed, facts, units, block_rows):
    generator = torch.Generator().manual_seed(seed)
    # Few distinct keys, so that patterns repeat; exact zeros, which are not active.
    h_NF = torch.randint(-1, 2, (facts, units), generator=generator).float()[
        torch.randint(facts, (facts,), generator=generator)
    ]
    queries_QF = torch.randint(-1, 2, (20, units), generator=generator).float()
    patterns = read_patterns(hidden_blocks(lambda x: x, h_NF, block_rows=block_rows))
    rows = tuples(h_NF)
    assert patterns.num_distinct == len(set(rows))
    assert patterns.num_alone == sum(rows.count(row) == 1 for row in rows)
    assert patterns.active_share == pytest.approx(np.mean(rows))
    assert patterns.active_facts_F.tolist() == np.sum(rows, axis=0).tolist()
    assert patterns.seen(read_patterns([queries_QF])).tolist() == [row in rows for row in tuples(queries_QF)]


def test_patterns_that_differ_in_one_late_unit_are_told_apart():
    h_NF = torch.ones(3, 10_001)
    h_NF[1, 10_000] = -1
    patterns = read_patterns([h_NF])
    assert (patterns.num_distinct, patterns.num_alone) == (2, 1)


def test_fingerprints_take_16_bytes_a_fact_whatever_the_width():
    patterns = read_patterns(torch.randn(4, 50, 3_000, generator=torch.Generator().manual_seed(0)))
    assert patterns.fingerprints_N.nbytes == 16 * 200
    assert patterns.num_alone == 200


def test_scale_is_the_mean_of_the_positive_activations():
    h_NF = torch.tensor([[1.0, -1.0, 0.0], [3.0, -2.0, 2.0], [-5.0, -3.0, 4.0]])
    for blocks in ([h_NF], h_NF.split(1)):
        assert mean_positive_activations(blocks).tolist() == [2.0, 0.0, 3.0]
    scale_F = torch.tensor([2.0, 0.0, 3.0])
    assert binarised(h_NF, scale_F).tolist() == [[2.0, 0.0, 0.0], [2.0, 0.0, 3.0], [0.0, 0.0, 3.0]]


@pytest.mark.parametrize("block_rows", [3, 1000])
def test_right_answers_are_those_of_the_highest_score_among_the_candidates(block_rows):
    generator = torch.Generator().manual_seed(0)
    ffn = DenseFFN(DenseConfig(kind="relu", width=12), 6, 5, generator=generator)
    keys, codes = torch.randn(40, 6, generator=generator), torch.randn(9, 5, generator=generator)
    values = torch.randint(9, (40,), generator=generator)
    first, end = (values - 2).clamp(min=0), (values + 2).clamp(max=9)
    blocks = hidden_blocks(ffn.hidden, keys, block_rows=block_rows)
    right = right_answers(blocks, lambda h: h @ ffn.w_out_FE, codes, values, first, end)
    scores = (ffn(keys) @ codes.T).tolist()
    expected = [
        max(range(int(low), int(high)), key=row.__getitem__) == int(value)
        for row, low, high, value in zip(scores, first, end, values, strict=True)
    ]
    assert right.tolist() == expected
    assert 0 < sum(expected) < 40


def test_binarising_keeps_a_one_hot_code_and_destroys_magnitudes():
    codes = functional.normalize(torch.randn(30, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    values, first, end = torch.arange(30), torch.zeros(30, dtype=torch.int64), torch.full((30,), 30)

    def accuracy(h_NF, read_out):
        scale_F = mean_positive_activations([h_NF])
        after = right_answers([binarised(h_NF, scale_F)], read_out, codes, values, first, end)
        before = right_answers([h_NF], read_out, codes, values, first, end)
        return float(before.float().mean()), float(after.float().mean())

    assert accuracy(torch.eye(30), lambda h: h @ codes) == (1.0, 1.0)
    all_on = codes + 10.0  # every unit active for every fact: one pattern, so one answer
    before, after = accuracy(all_on, lambda h: h - 10.0)
    assert (before, after) == (1.0, pytest.approx(1 / 30))
