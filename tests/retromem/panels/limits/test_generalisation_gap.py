"""Generalisation: every phrasing beside an index, noise in training, and the finding that follows the points."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from models.ffn_kinds import GatedConfig
from models.training_budget import TrainingBudget
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.text_keys import TextCollector
from retromem.measure.answers import accuracy
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.panels.limits.generalisation_gap import INDEX, NOISY_FFN, GeneralisationConfig
from retromem.panels.limits.generalisation_gap_points import generalisation_points
from retromem.panels.points import Point
from retromem.report.panel_figures import draw_panel
from retromem.report.panel_page import Panel

TINY = GeneralisationConfig(
    wordings=(1, 4), num_people=12, widths=(8,), written_noises=(0.0, 0.3), query_noises=(0.0, 0.3), num_noisy_facts=30,
    steps=120, resolution=1.0,
)  # fmt: skip


@pytest.mark.slow
def test_every_phrasing_is_asked_of_the_ffn_and_of_the_index(
    encoded_names: Callable[[KnowledgeSet], KnowledgeSet],
) -> None:
    points = TINY.measure(0, encoded_names)
    found = {(point.quantity, point.series, point.x): point.y for point in points}
    for series in {series for quantity, series, _ in found if quantity == "accuracy_heldout"}:
        for phrasing in ("identical", "seen", "heldout"):
            for x in (1.0, 4.0):
                # Keys of a question in other words are the same here, and so are the answers.
                assert found[f"accuracy_{phrasing}", series, x] == found["accuracy_identical", series, x]
    assert found["accuracy_heldout", INDEX, 1.0] == 1
    # Without noise an exact index finds each key itself; random keys are far apart, next to noise of .3.
    assert found["accuracy_noisy", INDEX, 0.0] == found["accuracy_noisy", INDEX, 0.3] == 1
    assert found["accuracy_noisy", "trained with noise 0", 0.0] >= found["accuracy_noisy", "trained with noise 0", 0.3]
    assert found["capacity_bits_per_param", NOISY_FFN, 0.0] >= max(
        0.02, found["capacity_bits_per_param", NOISY_FFN, 0.3]
    )
    page = TINY.page(points)
    assert draw_panel(Panel(name="g", page=page, points=points)).svg


def test_an_ffn_of_people_is_trained_for_half_of_the_steps_on_the_full_batch(
    encoded_names: Callable[[KnowledgeSet], KnowledgeSet],
) -> None:
    config = replace(TINY, wordings=(1,), written_noises=(0.0,), query_noises=(0.0,), num_noisy_facts=4, steps=32)
    (knowledge,) = (encoded_names(one) for one in config.text_sets(0))
    points = generalisation_points(config, 0, [knowledge])
    (found,) = {point.y for point in points if point.series.startswith("FFN") and point.quantity == "accuracy_heldout"}

    def trained(steps: int) -> float:
        budget = TrainingBudget(steps=steps, full_batch_up_to=10**6)
        memory = FFNMemoryConfig(ffn=GatedConfig(width=8), code_dim=64, training=budget).build(seed=0)
        memory.write(knowledge.facts())
        return accuracy(memory, knowledge.ask("heldout"))

    assert found == trained(16) != trained(32)


def test_texts_are_the_same_for_every_seed_and_few_enough() -> None:
    config = GeneralisationConfig()
    collected = []
    for seed in (0, 1):
        collector = TextCollector(("Springfield",) * 200)
        for knowledge in config.text_sets(seed):
            with_keys = knowledge.with_keys(collector)
            with_keys.facts()
            for phrasing in with_keys.phrasings():
                with_keys.ask(phrasing)
        collected.append(set(collector.texts))
    assert collected[0] == collected[1] and len(collected[0]) < 12_000 - 200 * 24
    first, second = (config.text_sets(seed)[0].value_ids_N for seed in (0, 1))
    assert not np.array_equal(first, second)


def page_points(heldout: tuple[float, float], wobble: float) -> list[Point]:
    points = []
    for seed, sign in enumerate((-1, 1)):
        for x, y in zip((1.0, 8.0), heldout, strict=True):
            for series in ("FFN", INDEX):
                points.append(Point(quantity="accuracy_heldout", series=series, x=x, y=y + sign * wobble, seed=seed))
            points.append(Point(quantity="accuracy_identical", series="FFN", x=x, y=1.0, seed=seed))
        for noise, y in ((0.0, 2.5), (0.3, 1.0)):
            points.append(Point(quantity="capacity_bits_per_param", series=NOISY_FFN, x=noise, y=y, seed=seed))
            for series in (f"trained with noise {noise:g}", INDEX):
                points.append(Point(quantity="accuracy_noisy", series=series, x=0.3, y=0.5 + noise, seed=seed))
    return points


def test_the_finding_follows_the_points() -> None:
    config = GeneralisationConfig()
    up = config.page(page_points((0.5, 0.9), 0.01)).finding
    answer = config.page(page_points((0.5, 0.9), 0.01)).answer
    assert "FFNs answer 50 % after one wording and 90 % after 8 wordings; the index 50 %" in answer
    assert "facts written in one wording and in 8 wordings are right: FFN 50 % and 90 % (40.0 points more;" in up
    assert "as written 100 % and 100 %); index 50 % and 90 %" in up
    assert "Capacity is 2.50 bits per parameter with training noise 0 and 1.00 (40 % of it) with 0.3." in up
    assert "keys trained with noise 0 are right 50 %, those trained with noise 0.3 80 %" in up
    assert "40.0 points fewer" in config.page(page_points((0.9, 0.5), 0.01)).finding
    assert "the spread over seeds covers the difference" in config.page(page_points((0.5, 0.52), 0.1)).finding
