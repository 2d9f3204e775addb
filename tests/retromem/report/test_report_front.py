"""The front by brute force, and the bytes that the switch adds."""

from hypothesis import given
from hypothesis import strategies as st

from retromem.report.front import Offer, draw_front, offers, pareto, worth_naming
from retromem.report.sides import Group
from retromem.rows import Row


def offer(num_bytes: float, bits: float, memory: str = "it") -> Offer:
    return Offer(memory=memory, group=Group.INDEX, num_bytes=num_bytes, bits=bits)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=12))
def test_the_front_is_what_nothing_smaller_matches(pairs: list[tuple[int, int]]) -> None:
    found = [offer(num_bytes, bits, f"{at}") for at, (num_bytes, bits) in enumerate(pairs)]
    front = pareto(found)
    kept = {(one.num_bytes, one.bits) for one in front}
    beaten = {
        pair
        for pair in set(pairs)
        if any(other != pair and other[0] <= pair[0] and other[1] >= pair[1] for other in set(pairs))
    }
    assert kept == set(pairs) - beaten
    assert [one.num_bytes for one in front] == sorted({one.num_bytes for one in front})
    assert len(front) == len(kept)


def test_what_gains_less_than_a_hundredth_is_not_named() -> None:
    front = [offer(1, 50.0, "a"), offer(2, 99.0, "b"), offer(3, 99.5, "c"), offer(4, 100.0, "d")]
    assert [one.memory for one in worth_naming(front)] == ["a", "b", "d"]
    assert worth_naming([]) == []


def row(
    memory: str, side: str, storage: int, maintain: int, bits: float, seed: int = 0, phrasing: str = "identical"
) -> Row:
    return Row(
        study="cities", side=side, memory=memory, role="arm", family="faiss-q" if side == "retrieval" else "ffn",
        stores="questions", knowledge="k", knowledge_name="cities", twin=True, num_facts=100, seed=seed,
        phrasing=phrasing,        storage_bytes=storage, maintain_bytes=maintain, bits_ce=bits, demand_bits=500.0,
    )  # fmt: skip


ROWS = [
    *(row("ffn", "parametric", 400, 9000, 300 + seed, seed) for seed in (0, 1, 2)),
    row("index", "retrieval", 500, 200_000, 500),
    row("index-large", "retrieval", 9000, 200_000, 500),
    row("ffn", "parametric", 400, 9000, 100, phrasing="heldout"),
    row("index", "retrieval", 500, 200_000, 450, phrasing="heldout"),
]


def test_medians_over_seeds_and_the_bytes_of_a_change() -> None:
    found = {one.memory: one for one in offers(ROWS, num_facts=100, phrasing="identical", with_maintenance=False)}
    assert (found["ffn"].num_bytes, found["ffn"].bits, found["ffn"].group) == (400, 301, Group.WEIGHTS)
    assert [one.memory for one in pareto(list(found.values()))] == ["ffn", "index"]
    found = {one.memory: one for one in offers(ROWS, num_facts=100, phrasing="identical", with_maintenance=True)}
    assert found["ffn"].num_bytes == 9400 and found["index"].num_bytes == 200_500


def test_the_picture_names_the_front_and_says_which_bytes() -> None:
    for with_maintenance, said in ((False, "storage bytes"), (True, "bytes, with what a change needs")):
        picture = draw_front(ROWS, "cities", num_facts=100, with_maintenance=with_maintenance)
        assert said in picture.svg and ">index<" in picture.svg and "index-large" not in picture.svg
        assert "500 bits" in picture.caption
