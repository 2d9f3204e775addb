"""Label noise against its definition: how many facts change, to what, and what stays."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import UserError
from retromem.configuration import build
from retromem.knowledge.biographies import BiographiesConfig
from retromem.knowledge.label_noise import with_label_noise
from retromem.knowledge.random_keys import KeysConfig
from retromem.knowledge.sources import SOURCES, KnowledgeConfig, TextConfig, build_knowledge
from retromem.run.experiment import StudyConfig

CITIES = TextConfig(source="cities")


def test_about_the_share_of_the_facts_get_another_value_of_their_relation() -> None:
    clean, noisy = (build_knowledge(replace(CITIES, label_noise=share)) for share in (0.0, 0.3))
    changed = clean.all_value_ids != noisy.all_value_ids
    # 5 standard deviations of a binomial.
    assert abs(changed.mean() - 0.3) < 5 * np.sqrt(0.21 / len(changed))
    np.testing.assert_array_equal(clean.all_fact_ids, noisy.all_fact_ids)
    assert noisy.content_hash != clean.content_hash and noisy.name == "cities, label noise 0.3"
    assert noisy.ask("identical", num=5).value_ids_Q.tolist() == noisy.facts().value_ids_N[:5].tolist()


@settings(max_examples=20, deadline=None)
@given(low=st.floats(0, 1), high=st.floats(0, 1), num_values=st.integers(2, 9), seed=st.integers(0, 99))
def test_the_facts_of_a_smaller_share_are_among_those_of_a_larger(
    low: float, high: float, num_values: int, seed: int
) -> None:
    low, high = sorted((low, high))
    clean = build_knowledge(KeysConfig(num_facts=200, num_values=num_values, dim=2, seed=seed))
    few, many = (with_label_noise(clean, share).all_value_ids for share in (low, high))
    changed = few != clean.all_value_ids
    np.testing.assert_array_equal(few[changed], many[changed])
    assert few.min() >= 0 and few.max() < num_values


def test_at_1_every_fact_has_another_value_each_equally_often() -> None:
    clean = build_knowledge(KeysConfig(num_facts=40_000, num_values=5, dim=2))
    steps = (with_label_noise(clean, 1.0).all_value_ids - clean.all_value_ids) % 5
    counts = np.bincount(steps, minlength=5)
    assert counts[0] == 0 and np.abs(counts[1:] - 10_000).max() < 5 * np.sqrt(40_000 * 0.25 * 0.75)


def test_what_follows_from_another_fact_follows_from_its_new_value() -> None:
    config = BiographiesConfig(num_people=200, label_noise=0.5)
    clean, noisy = (build_knowledge(replace(config, label_noise=share)) for share in (0.0, 0.5))
    assert noisy.following is not None
    followers = np.flatnonzero(noisy.following.cause_A >= 0)
    causes = noisy.following.cause_A[followers]
    assert (noisy.all_value_ids[causes] != clean.all_value_ids[causes]).any()
    expected = noisy.following.value_of_V[noisy.all_value_ids[causes]]
    np.testing.assert_array_equal(noisy.all_value_ids[followers], expected)


@pytest.mark.parametrize("source", [source for source in SOURCES if source != "file"])
def test_every_set_has_the_dial(source: str) -> None:
    arms = [{"memories": [{"memory": "frequency"}]}]

    def study(**noise: float) -> KnowledgeConfig:
        content = {"knowledge": {"source": source, **noise}, "arms": arms}
        return build(StudyConfig, content, source="x.yaml").knowledge

    clean, noisy = (build_knowledge(study(**noise)) for noise in ({}, {"label_noise": 0.5}))
    assert (clean.all_value_ids != noisy.all_value_ids).any()
    with pytest.raises(UserError, match="knowledge: label_noise is a share of the facts, from 0 to 1, not 1.5"):
        study(label_noise=1.5)
