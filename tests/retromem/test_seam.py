"""What crosses the seam: selections, value tables and ledgers, each field of them."""

import numpy as np

from retromem.seam import Asked, Facts, Footprint, Holding, Part, Queries, ValueTable

TABLE = ValueTable(strings=("a", "b", "c", "d", "e", "f"), relations=("x", "y", "z"), starts=(0, 1, 4, 6))


def queries(offset: int) -> Queries:
    return Queries(
        texts=[f"{offset} {row}" for row in range(4)],
        keys_QD=np.arange(offset, offset + 8, dtype=np.float32).reshape(4, 2),
        relation_ids_Q=np.array([0, 1, 1, 2]),
        encoder_hash=f"of {offset}",
    )


def test_a_value_table_is_blocks_of_relations() -> None:
    assert TABLE.num_values == 6
    assert [TABLE.candidates(relation).tolist() for relation in range(3)] == [[0], [1, 2, 3], [4, 5]]
    assert TABLE.num_candidates_R().tolist() == [1, 3, 2]


def test_selections_keep_the_order_that_is_asked_for() -> None:
    rows = np.array([3, 0, 3])
    chosen = queries(10).rows(rows)
    assert chosen.texts == ["10 3", "10 0", "10 3"] and chosen.encoder_hash == "of 10"
    assert chosen.key_vectors().tolist() == [[16, 17], [10, 11], [16, 17]]
    assert chosen.relation_ids_Q.tolist() == [2, 0, 2] and len(chosen) == 3
    bare = Queries(texts=None, keys_QD=None, relation_ids_Q=np.array([5, 6]), encoder_hash="").rows(np.array([1]))
    assert bare.texts is None and bare.keys_QD is None and bare.relation_ids_Q.tolist() == [6]

    asked = Asked(
        queries=queries(20),
        phrasing="seen",
        fact_ids_Q=np.array([16, 32, 48, 64]),
        value_ids_Q=np.array([0, 3, 1, 5]),
        prior_Q=np.array([1.0, 0.2, 0.3, 0.5]),
    )
    some = asked.rows(np.array([2, 1]))
    assert (some.queries.texts, some.phrasing, len(some), len(asked)) == (["20 2", "20 1"], "seen", 2, 4)
    assert some.fact_ids_Q.tolist() == [48, 32] and some.value_ids_Q.tolist() == [1, 3]
    assert some.prior_Q.tolist() == [0.3, 0.2]

    facts = Facts(
        ids_N=asked.fact_ids_Q,
        value_ids_N=asked.value_ids_Q,
        cues=[queries(30), queries(40)],
        statements=queries(50),
        calibration=asked,
        values=TABLE,
    )
    part = facts.rows(np.array([2, 0]))
    assert part.ids_N.tolist() == [48, 16] and part.value_ids_N.tolist() == [1, 0] and len(part) == 2
    assert [cue.texts for cue in part.cues] == [["30 2", "30 0"], ["40 2", "40 0"]]
    assert part.statements is not None and part.statements.texts == ["50 2", "50 0"]
    assert part.calibration is asked and part.values is TABLE


def test_a_ledger_adds_up_what_it_is_asked_for() -> None:
    lines = [
        Holding(name="weights", part=Part.STORAGE, num_bytes=100, num_params=25, num_active_params=11),
        Holding(name="more weights", part=Part.STORAGE, num_bytes=30, num_params=7, num_active_params=5),
        Holding(name="moments", part=Part.MAINTAIN, num_bytes=1000, num_params=9, num_active_params=3),
        Holding(name="values", part=Part.VALUE, num_bytes=4),
        Holding(name="codes", part=Part.SEEDED, num_bytes=50),
    ]
    ledger = Footprint(tuple(lines), resident_bytes=77)
    assert ledger.storage_bytes == 130
    assert ledger.num_bytes(Part.MAINTAIN, Part.VALUE) == 1004
    assert ledger.num_bytes(Part.SHARED) == 0
    assert (ledger.num_params, ledger.num_active_params) == (32, 16)  # of what answers
    server = Footprint((*lines, Holding(name="a server", part=Part.STORAGE, num_bytes=None)))
    assert server.storage_bytes is None and server.num_bytes(Part.STORAGE, Part.VALUE) is None
    assert server.num_bytes(Part.VALUE) == 4 and server.resident_bytes is None
    assert (Footprint(()).storage_bytes, Footprint(()).num_params) == (0, 0)
