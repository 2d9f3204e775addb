import pytest

from retromem.reading.answer_overlap import exact_match, f1


@pytest.mark.parametrize(
    ("answer", "right", "exact", "overlap"),
    [
        ("the Saxon Garden", "Saxon garden.", True, 1.0),
        ("in 308", "308", False, 2 / 3),
        ("a b b c", "b c c", False, 4 / 6),  # one b and one c are shared: 2 * 2 / (3 + 3), `a` is an article
        ("Paris", "London", False, 0.0),
        ("the", "the", True, 1.0),
        ("the", "London", False, 0.0),
    ],
)
def test_as_squad_counts(answer: str, right: str, exact: bool, overlap: float) -> None:
    assert exact_match(answer, right) is exact
    assert f1(answer, right) == pytest.approx(overlap)
    assert f1(right, answer) == pytest.approx(overlap)
