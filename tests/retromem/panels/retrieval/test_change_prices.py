import pytest

from retromem.panels.retrieval.change_prices import CHANGES, ChangePricesConfig


def test_every_change_of_a_small_store_has_a_price() -> None:
    config = ChangePricesConfig(indexes=("Flat", "HNSW8"), num_chunks=400, share=0.05, dim=16, seeds=(0,))
    points = config.measure(0, lambda knowledge: knowledge)
    by_name = {(point.quantity, point.name): point.y for point in points}
    for name in config.indexes:
        for change in CHANGES:
            assert by_name["seconds", f"{name}, {change}"] > 0
        written = {change: by_name["bytes", f"{name}, {change}"] for change in CHANGES}
        vectors = 400 * 16 * 4
        assert written["build"] > 2 * vectors  # raw, and in the index
        assert written["add"] < written["build"] / 4
        # A manifest, and four bytes for each of 20 that are dead.
        assert written["delete"] < written["add"]
        assert written["compact"] > 2 * vectors
        assert by_name["search_ratio", name] > 0
    page = config.page(points)
    table = page.tables[0]
    assert list(table.header) == ["index", *CHANGES, "search: changed / compacted"]
    assert [line[0].text for line in table.blocks[0][1]] == ["Flat", "HNSW8"]
    assert "5 % of 400 chunks" in page.finding


def test_shares_that_change_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="share must come to 1 of 50 chunks"):
        ChangePricesConfig(num_chunks=50, share=0.01)
