"""The points of the panel on planned indexes."""

import time
from dataclasses import replace
from functools import partial

from retrieval.errors import Refused
from retromem.memories.store_memory import build_store
from retromem.panels.panel_config import Encoded, Vectors
from retromem.panels.points import Point
from retromem.panels.retrieval.plan_accuracy import QUANTITIES, REFUSED, PlanAccuracyConfig
from retromem.panels.retrieval.rankers import plain_queries
from retromem.seam import Facts
from retromem.stores.planning import plan_for, recall_in


def plan_accuracy_points(config: PlanAccuracyConfig, encoded: Encoded, seed: int) -> list[Point]:
    """What each plan expects, and what the store that it leads to weighs and finds."""
    assert isinstance(encoded, Vectors), "a store of facts keeps the embeddings as they are"
    facts = _with_vectors(config.knowledge(seed).facts(statements=True), encoded)
    assert facts.statements is not None
    points = [Point(quantity="facts", series="", y=float(len(facts)), seed=seed)]
    for sampled in config.sampled:
        for request, limits in config.limits.items():
            start = time.perf_counter()
            try:
                chosen = plan_for(limits, facts, "statement", most_sampled=sampled).chosen
            except Refused:
                points.append(Point(quantity=REFUSED, series=request, x=float(sampled), y=1.0, seed=seed))
                continue
            seconds = time.perf_counter() - start
            store = build_store(facts, [facts.statements], chosen.spec, with_values=True)
            found, asked = recall_in(store, facts, "statement")
            numbers = (
                chosen.storage_bytes,
                sum(store.file_bytes.values()),
                chosen.recall_at_1,
                found / asked,
                seconds,
            )
            point = partial(Point, series=request, labels={"index": chosen.name}, x=float(sampled), seed=seed)
            points += [point(quantity=of, y=float(y)) for of, y in zip(QUANTITIES, numbers, strict=True)]
    return points


def _with_vectors(facts: Facts, encoded: Vectors) -> Facts:
    """The written question and the statement of each fact, as the encoder gives them."""
    assert facts.statements is not None
    cue, statements = (
        replace(
            own,
            keys_QD=plain_queries(own.texts or (), encoded, is_document=is_document).key_vectors(),
            encoder_hash="plain",
        )
        for own, is_document in ((facts.cues[0], False), (facts.statements, True))
    )
    return replace(facts, cues=[cue], statements=statements)
