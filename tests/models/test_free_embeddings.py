"""Free embeddings against brute force and against what geometry knows."""

import itertools

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from models.free_embeddings import FreeEmbeddingsConfig, all_sets, answers_all, critical_n, most_reached, solved

QUICK = FreeEmbeddingsConfig(steps=1000)


def test_all_sets_are_every_combination_once():
    assert all_sets(5, 2).tolist() == [list(pair) for pair in itertools.combinations(range(5), 2)]


def test_answers_are_those_of_a_full_ranking():
    generator = torch.Generator().manual_seed(0)
    sets = all_sets(4, 2)
    queries, documents = torch.randn(40, 6, 3, generator=generator), torch.randn(40, 4, 3, generator=generator)
    # A few seeds whose queries are the sums of their documents, on the axes: those are all answered.
    documents[:5] = 0
    for axis in range(3):
        documents[:5, axis, axis] = 1
    documents[:5, 3] = -torch.ones(3) / 3**0.5
    queries[:5] = documents[:5, sets].sum(2)
    expected = [
        all(
            set((queries[seed, row] @ documents[seed].T).topk(2).indices.tolist()) == set(wanted)
            for row, wanted in enumerate(sets.tolist())
        )
        for seed in range(40)
    ]
    assert answers_all(queries, documents, sets).tolist() == expected
    assert 5 <= sum(expected) < 40


@pytest.mark.slow
def test_in_two_dimensions_only_neighbours_on_the_circle_can_be_a_pair():
    """Four documents on a circle have pairs that are not next to each other: no vectors solve them."""
    assert solved(2, 3, top_k=2, seeds=(0, 1), config=QUICK).any()  # one of them ends in a local minimum
    assert not solved(2, 4, top_k=2, seeds=(0, 1), config=QUICK).any()
    assert critical_n(2, top_k=2, seeds=(0, 1), config=QUICK, low=2, high=5) == 3


@pytest.mark.slow
def test_seeds_do_not_depend_on_each_other():
    alone = [bool(solved(3, 5, top_k=2, seeds=(seed,), config=QUICK)) for seed in range(3)]
    assert solved(3, 5, top_k=2, seeds=(0, 1, 2), config=QUICK).tolist() == alone


@pytest.mark.parametrize("dim", [4])
def test_enough_dimensions_solve_every_pair(dim):
    assert solved(dim, 6, top_k=2, seeds=(0, 1), config=QUICK).all()


def test_a_seed_is_given_up_after_idle_steps_in_a_row_not_in_all():
    """At a high rate the loss goes down and up, more than ten steps of it upwards, and still every seed ends solved."""
    restless = FreeEmbeddingsConfig(steps=600, learning_rate=0.3, patience=10, look_every=10)
    for seed in range(2):
        assert solved(4, 6, top_k=2, seeds=(seed,), config=restless).all()


@given(st.integers(2, 60), st.sets(st.sampled_from([2, 3])), st.integers(2, 80))
@example(10, {3}, 80)
@example(10, {2}, 12)
def test_the_search_ends_at_the_largest_that_reaches_with_one_or_two_failures_below_it(last, beyond, high):
    reaching = {*range(2, last + 1), *(last + step for step in beyond)}
    assert most_reached(reaching.__contains__, low=2, high=high) == max(n for n in reaching if n <= high)
