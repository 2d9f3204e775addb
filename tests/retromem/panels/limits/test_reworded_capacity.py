"""Capacity by what is asked: searches over one FFN, an index beside them, cities asked by another name."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from retrieval.errors import UserError
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.panels.limits.reworded_capacity import ASKED, FFN, INDEX, RewordedCapacityConfig
from retromem.panels.points import Point
from retromem.report.panel_figures import draw_panel
from retromem.report.panel_page import Panel

TINY = RewordedCapacityConfig(
    wordings=(1, 2), num_people=40, width=8, city_wordings=(1,), num_cities=12, city_width=8, steps=300, resolution=0.5,
    code_dim=64, seeds=(0,),
)  # fmt: skip


@pytest.mark.slow
def test_words_that_the_keys_do_not_show_cost_nothing_and_names_they_do_not_know_everything(
    encoded_names: Callable[[KnowledgeSet], KnowledgeSet],
) -> None:
    points = TINY.measure(0, encoded_names)
    found = {(point.quantity, point.series, point.x): point.y for point in points}
    for x in (1.0, 2.0):
        held = {phrasing: found["facts", series, x] for phrasing, series in ASKED.items()}
        # The same keys and answers: 95 % of them right is less than 99 %, and so are both phrasings.
        assert held["seen"] == held["heldout"] >= held["identical"]
        assert 0 < held["seen"] < TINY.num_facts
        assert found["index_accuracy", ASKED["heldout"], x] == 1
    assert found["accuracy_alias", INDEX, 1.0] < 0.5
    assert found["accuracy_alias", FFN, 1.0] < 0.5
    commonest = Counter(TINY.text_sets(0)[-1].value_ids_N.tolist()).most_common(1)[0][1]
    assert found["accuracy_alias", "chance", 1.0] == commonest / TINY.num_cities
    assert draw_panel(Panel(name="r", page=TINY.page(points), points=points)).svg


def test_texts_are_the_same_for_every_seed_and_values_are_dealt_anew() -> None:
    first, second = TINY.text_sets(0), TINY.text_sets(1)
    for one, other in zip(first, second, strict=True):
        assert one.text is not None and other.text is not None
        assert one.text.subjects == other.text.subjects and np.array_equal(one.rows_N, other.rows_N)
        assert not np.array_equal(one.value_ids_N, other.value_ids_N)
    cities = first[-1]
    assert cities.num_facts == TINY.num_cities and len(cities.ask("alias").value_ids_Q) == TINY.num_cities


@pytest.mark.parametrize(("heldout", "said"), [((20.0, 60.0), "(more)"), ((60.0, 20.0), "(fewer)")])
def test_the_finding_follows_the_points(heldout: tuple[float, float], said: str) -> None:
    config = RewordedCapacityConfig()
    points = []
    for seed in (0, 1):
        for x in (1.0, 2.0, 4.0, 8.0):
            for series in ASKED.values():
                y = 100.0 if series != ASKED["heldout"] else heldout[0] + (heldout[1] - heldout[0]) * (x - 1) / 7
                points.append(Point(quantity="facts", series=series, x=x, y=y + seed, seed=seed))
                points.append(Point(quantity="index_accuracy", series=series, x=x, y=1.0, seed=seed))
        for x in (1.0, 3.0, 6.0):
            for series, y in ((FFN, 0.2), (INDEX, 0.5), ("chance", 0.1)):
                points.append(Point(quantity="accuracy_alias", series=series, x=x, y=y, seed=seed))
    finding = config.page(points).finding
    answer = config.page(points).answer.replace("100.5", "100").replace("0.5", "0")
    assert (
        f"with 1 wording written, 100 facts in those words and {heldout[0]:.0f} facts in words never written" in answer
    )
    assert f"held-out wordings {heldout[0]:.0f} and {heldout[1]:.0f} {said}" in finding.replace("0.5", "0")
    assert "as written 100 and 100 (no clear difference)" in finding.replace("100.5", "100")
    assert (
        "by the FFN in 20 % with 1 and 20 % with 6, by the index in 50 % with 1 and 50 % with 6, by chance in 10 %"
        in finding
    )


def test_more_cities_than_have_another_name_are_refused() -> None:
    with pytest.raises(UserError, match="or less, which have another name, not 90,000"):
        replace(TINY, num_cities=90_000).text_sets(0)
