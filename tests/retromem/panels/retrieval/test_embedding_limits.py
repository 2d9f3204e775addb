import pytest

from retromem.panels.retrieval.embedding_limits import CUBIC, TRAINED, EmbeddingLimitsConfig


@pytest.mark.slow
def test_a_small_panel_says_where_training_and_number_formats_end() -> None:
    config = EmbeddingLimitsConfig(dims=(2,), trainings=2, steps=800, num_documents=(10, 46))
    points = config.measure(0, lambda knowledge: knowledge)
    by_name = {(point.quantity, point.series, point.x): point.y for point in points}
    assert by_name["documents", TRAINED, 2] == 3  # on a circle
    assert by_name["documents", CUBIC, 2] == 0
    assert by_name["share_of_pairs_lost", "float64", 46] == 0
    assert by_name["share_of_pairs_lost", "float32", 10] == 0
    assert by_name["share_of_pairs_lost", "float32", 46] > 0
    page = config.page(points)
    assert "3 at d = 2 (cubic 0.0)" in page.finding
    assert "float64 46, float32 10" in page.finding
    assert "1,035 pairs" in page.finding


def test_pairs_need_a_third_document() -> None:
    with pytest.raises(ValueError, match="3 or more"):
        EmbeddingLimitsConfig(num_documents=(2, 10))
