"""The training of free embeddings written out for one seed alone, and the step at which it has solved its task."""

import itertools
import math

import pytest
import torch
from torch.nn import functional

from models.free_embeddings import FreeEmbeddingsConfig, answers_all, critical_n, most_reached, solved


def trace(dim, num_documents, top_k, seed, *, steps, rate=0.01, temperature=0.1):
    """The steps after which every set is answered, and the loss of every step."""
    sets = torch.tensor(list(itertools.combinations(range(num_documents), top_k)))
    drawn = torch.randn(num_documents + len(sets), dim, generator=torch.Generator().manual_seed(seed))
    vectors = [part.clone().requires_grad_() for part in functional.normalize(drawn).split([num_documents, len(sets)])]
    documents, queries = vectors
    optimizer, losses, answered = torch.optim.Adam(vectors, lr=rate), [], []
    for step in range(1, steps + 1):
        log_p = (queries @ documents.T / temperature).log_softmax(1)
        loss = -torch.stack([log_p[row, document] for row, of_query in enumerate(sets) for document in of_query]).mean()
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for part in vectors:
                part.copy_(functional.normalize(part))
            best = (queries @ documents.T).topk(top_k).indices.sort().values
        if torch.equal(best, sets):
            answered.append(step)
    return answered, losses


def is_idle(losses, patience):
    """Whether the last so many steps have brought no loss lower by 1e-5 than the lowest before."""
    best, idle = math.inf, 0
    for loss in losses:
        best, idle = (loss, 0) if loss < best - 1e-5 else (best, idle + 1)
    return idle >= patience


TASK = {"dim": 4, "num_documents": 6, "top_k": 2}


def found_by(seeds, **settings):
    return solved(**TASK, seeds=seeds, config=FreeEmbeddingsConfig(**settings)).tolist()


@pytest.mark.parametrize(("rate", "temperature"), [(0.2, 0.1), (0.1, 0.2)])
def test_each_seed_is_solved_at_its_step_and_not_before(rate, temperature):
    seeds = (0, 1, 3)
    answered = [trace(*TASK.values(), seed, steps=60, rate=rate, temperature=temperature)[0] for seed in seeds]
    firsts = [steps[0] for steps in answered]
    assert len(set(firsts)) == 3
    for first in firsts:
        # Looks come at whole multiples alone; what was solved at one stays so, though later steps may undo it.
        for most, every in ((first, 1), (first - 1, 1), (first, first), (first + 1, 3)):
            settings = {"steps": most, "look_every": every, "learning_rate": rate, "temperature": temperature}
            expected = [any(step <= most and step % every == 0 for step in steps) for steps in answered]
            assert found_by(seeds, **settings) == expected


@pytest.mark.parametrize("seeds", [(0,), (2,), (1, 4)])
def test_a_training_ends_at_the_first_look_at_which_every_seed_is_solved_or_idle(seeds):
    """At a high rate the loss jumps about: the more steps without a gain are allowed, the more seeds end solved."""
    rate, steps, ended_early = 0.5, 45, set()
    traces = [trace(*TASK.values(), seed, steps=steps, rate=rate) for seed in seeds]
    for patience in (1, 2, 3, 5):

        def is_over(step, patience=patience):
            return all(answered[0] <= step or is_idle(losses[:step], patience) for answered, losses in traces)

        ends = next((step for step in range(1, steps + 1) if is_over(step)), steps)
        found = found_by(seeds, steps=steps, learning_rate=rate, patience=patience, look_every=1)
        assert found == [answered[0] <= ends for answered, _ in traces]
        ended_early.add(all(found))
    assert ended_early == {False, True}


@pytest.mark.parametrize(("seeds", "most"), [((0, 1), 5), ((0, 1, 3), 4)])
def test_half_of_the_seeds_decide_how_many_documents_are_reached(seeds, most):
    """In so few steps a half, and a third, of these seeds solve five documents; all solve four, and too few six."""
    config = FreeEmbeddingsConfig(steps=25, learning_rate=0.2, look_every=1)
    solving = {n: int(solved(4, n, top_k=2, seeds=seeds, config=config).sum()) for n in (4, 5, 6)}
    assert most == max(n for n, count in solving.items() if count >= len(seeds) / 2)
    assert critical_n(4, top_k=2, seeds=seeds, config=config, low=3, high=9) == most


def test_sizes_are_tried_upwards_by_a_third_then_halfway_then_one_by_one():
    """The order is what costs: each size that is tried is a training."""
    for last, high, expected, found in (
        (2, 40, [3, 4, 5], 2),  # nothing lies between 2 and 3; two more are tried beyond
        (10, 40, [3, 4, 6, 8, 11, 9, 10, 12, 13], 10),
        (13, 14, [3, 4, 6, 8, 11, 13, 14], 13),
        (40, 12, [3, 4, 6, 8, 11, 12], 12),
    ):
        tried = []

        def reaches(size, last=last, tried=tried):
            tried.append(size)
            return size <= last

        assert most_reached(reaches, low=2, high=high) == found
        assert tried == expected


def test_a_tie_with_a_wrong_document_is_no_answer():
    sets = torch.tensor([[0, 1]])
    documents = torch.tensor([[[3.0, 0.0], [2.0, 0.0], [-1.0, 5.0]], [[3.0, 0.0], [2.0, 0.0], [2.0, 5.0]]])
    queries = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    assert answers_all(queries, documents, sets).tolist() == [True, False]
    documents[1, 2, 0] = 1.875
    assert answers_all(queries, documents, sets).tolist() == [True, True]
