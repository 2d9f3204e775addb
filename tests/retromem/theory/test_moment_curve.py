import itertools

import numpy as np
import pytest

from retromem.theory.limit_cubic import critical_documents
from retromem.theory.moment_curve import curve_documents, curve_queries, num_wrong_sets, smallest_margin


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_scores_are_minus_the_squared_polynomial(top_k: int) -> None:
    parameters, documents = curve_documents(9, top_k)
    sets = np.array(list(itertools.combinations(range(9), top_k)))
    scores = curve_queries(parameters, sets) @ documents.T
    for row, wanted in enumerate(sets):
        polynomial = np.prod((parameters[:, None] - parameters[wanted]) ** 2, axis=1)
        constant = np.prod(parameters[wanted] ** 2)
        np.testing.assert_allclose(scores[row], constant - polynomial, atol=1e-12)
        assert set(np.argsort(-scores[row])[:top_k]) == set(wanted)
    assert num_wrong_sets(9, top_k, dtype=np.float64) == (0, len(sets))


def test_number_formats_set_the_limit() -> None:
    wrong = [num_wrong_sets(46, 2, dtype=dtype)[0] for dtype in (np.float64, np.float32, np.float16)]
    assert wrong[0] == 0 < wrong[1] < wrong[2]
    assert num_wrong_sets(46, 2, dtype=np.float32, block=100)[1] == 1035


def test_the_margin_is_the_least_gap_of_unit_vectors() -> None:
    parameters, documents = curve_documents(7, 2)
    documents = documents / np.linalg.norm(documents, axis=1).max()
    gaps = []
    for pair in itertools.combinations(range(7), 2):
        query = curve_queries(parameters, np.array([pair]))[0]
        scores = documents @ (query / np.linalg.norm(query))
        gaps.append(min(scores[list(pair)]) - max(np.delete(scores, pair)))
    assert smallest_margin(7, 2) == pytest.approx(min(gaps), rel=1e-6)
    assert smallest_margin(20, 2) < smallest_margin(7, 2)


def test_the_published_cubic() -> None:
    assert [round(critical_documents(dim), 1) for dim in (4, 8)] == [6.7, 26.9]
    assert critical_documents(512) == pytest.approx(512_000, rel=0.005)
