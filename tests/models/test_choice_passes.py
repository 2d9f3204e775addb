"""The k largest of columns against torch.topk, and what ties and numbers that are none do to them."""

import math

import pytest
import torch

from models.choice_passes import choice_of, kept


def scores(groups=3, places=7, batch=40, dtype=torch.float32, seed=0):
    """In steps of a tenth, in another order in each column: no two agree to within rounding."""
    drawn = torch.randn(groups, places, batch, generator=torch.Generator().manual_seed(seed))
    return drawn.argsort(dim=1).to(dtype) / 10


def run(operations):
    for operation in operations:
        operation()


def places_of(scores_GNB, num_chosen):
    choice = choice_of(scores_GNB, num_chosen)
    out = torch.full((len(scores_GNB), num_chosen, scores_GNB.shape[2]), -1)
    run([*choice.find, *choice.places(out=out)])
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shift", [0.0, -50.0, 1e4])
@pytest.mark.parametrize(("places", "num_chosen"), [(7, 1), (7, 3), (7, 7), (16, 4), (33, 16), (1, 1)])
def test_places_are_those_of_topk(dtype, shift, places, num_chosen):
    x = scores(places=places, dtype=dtype) + shift
    assert torch.equal(places_of(x, num_chosen), x.topk(num_chosen, dim=1).indices)


@pytest.mark.parametrize("num_chosen", [1, 3, 7])
def test_what_is_kept_is_what_was_chosen(num_chosen):
    x, other = scores(), scores(seed=1)
    choice = choice_of(x, num_chosen)
    compare, over = choice.among_all()
    out = torch.empty_like(x)
    run([*choice.find, compare, kept(other, over, out=out)])
    chosen = x.topk(num_chosen, dim=1).indices
    assert torch.equal(out, torch.zeros_like(x).scatter(1, chosen, other.gather(1, chosen)))


def test_the_same_buffers_serve_other_scores():
    x = scores()
    choice = choice_of(x, 3)
    compare, over = choice.among_all()
    out, chosen = torch.empty_like(x), torch.empty(3, 3, 40, dtype=torch.int64)
    for seed in (1, 2):
        x.copy_(scores(seed=seed))
        run([*choice.find, *choice.places(out=chosen), compare, kept(torch.ones_like(x), over, out=out)])
        assert torch.equal(chosen, x.topk(3, dim=1).indices)
        assert torch.equal(out, torch.zeros_like(x).scatter(1, chosen, 1.0))


@pytest.mark.parametrize("value", [0.0, 3.7, -1e-30, 1e30])
def test_of_equal_numbers_there_are_as_many_as_asked_for(value):
    x = torch.full((2, 5, 9), value)
    chosen = places_of(x, 3)
    assert all(len(set(column.tolist())) == 3 for group in chosen for column in group.T)
    choice = choice_of(x, 3)
    compare, over = choice.among_all()
    out = torch.empty_like(x)
    run([*choice.find, compare, kept(torch.ones_like(x), over, out=out)])
    assert (out.sum(dim=1) == 3).all()


def test_numbers_far_behind_are_told_apart():
    x = torch.tensor([1e3, 0.0, -1e3, -1e9, -1e12, -2e12])[None, :, None]
    assert places_of(x, 6).flatten().tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_a_place_that_exists(value):
    x = scores(places=5)
    x[:, 2, ::2] = value
    chosen = places_of(x, 4)
    assert int(chosen.min()) >= 0 and int(chosen.max()) < 5
    assert torch.equal(chosen[:, :, 1::2], x.topk(4, dim=1).indices[:, :, 1::2])


def test_no_more_are_chosen_than_there_are():
    with pytest.raises(AssertionError):
        choice_of(scores(places=3), 4)
