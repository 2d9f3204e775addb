"""Plans beside stores that are built and asked by hand."""

import numpy as np
import pytest

from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig
from retrieval.errors import UserError
from retrieval.vector_index import VectorIndex
from retromem.panels.retrieval.plan_accuracy import (
    BYTES,
    EXPECTED_BYTES,
    EXPECTED_RECALL,
    QUANTITIES,
    RECALL,
    REFUSED,
    PlanAccuracyConfig,
)
from retromem.panels.retrieval.rankers import spec_of

CONFIG = PlanAccuracyConfig(
    num_facts=600, requests=("bytes<=20 per fact", "recall>=0.9", "bytes<=1 per fact"), sampled=(300, 1000)
)


@pytest.mark.slow
def test_what_a_plan_says_stands_beside_what_is_measured(as_in_a_run) -> None:
    points = as_in_a_run(CONFIG)
    found = {(point.quantity, point.name, point.x): point.y for point in points}
    facts = CONFIG.knowledge(0).facts(statements=True)
    encoder = Encoder(EncoderConfig(model="hashed-trigrams"))
    order = np.argsort(facts.cues[0].relation_ids_Q, kind="stable")  # of the store
    stored, asked = (encoder.encode(own.texts)[order] for own in (facts.statements, facts.cues[0]))
    best = (asked @ stored.T).max(axis=1)
    plans = [point for point in points if point.quantity == QUANTITIES[0]]
    assert len(plans) == 4
    for plan in plans:
        series, sampled = plan.name, plan.x
        index = VectorIndex(spec_of(plan.labels["index"]), 384)
        index.add(stored, facts.cues[0].relation_ids_Q[order])
        order_N = index.sort_codes()  # as in a store; a tie goes to another then
        laid = stored if order_N is None else stored[order_N]
        right = (asked * laid[index.search(asked, 1)[0][:, 0]]).sum(axis=1) >= best - 1e-6
        assert found[RECALL, series, sampled] == pytest.approx(np.mean(right), abs=1e-9)
        # To the byte but for sorted codes, whose distances are those of the data.
        about = 0 if order_N is None else 0.02
        assert found[BYTES, series, sampled] == pytest.approx(found[EXPECTED_BYTES, series, sampled], rel=about, abs=0)
        assert found[BYTES, series, sampled] > index.storage_bytes
        if sampled == 1000:  # more than there are: the pilot saw the whole store, and ties of its own
            assert found[EXPECTED_RECALL, series, sampled] == pytest.approx(found[RECALL, series, sampled], abs=about)
    assert {x for quantity, series, x in found if (quantity, series) == (REFUSED, CONFIG.requests[2])} == {300, 1000}
    page = CONFIG.page(points)
    off = max(abs(found[BYTES, plan.name, plan.x] / plan.y - 1) for plan in plans)
    assert 0 < off < 0.02 and "off by 0 %" not in page.answer
    assert [len(table.blocks[0][1]) for table in page.tables] == [3, 3]


def test_what_is_no_request_is_said_when_the_config_is_read() -> None:
    with pytest.raises(UserError, match="'speed<=3' is no limit"):
        PlanAccuracyConfig(requests=("speed<=3",))
