"""Label noise against its definition: how many facts are written wrongly, with what, and what is asked all the same."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import UserError
from retromem.configuration import build
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.label_noise import mislabelled
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.knowledge.sources import SOURCES, KnowledgeConfig, TextConfig, build_knowledge
from retromem.measure.answers import accuracy
from retromem.memories.static_function import StaticFunctionConfig
from retromem.run.experiment import StudyConfig
from retromem.seam import ValueTable

CITIES = TextConfig(source="cities")


def wrong(knowledge: KnowledgeSet) -> np.ndarray:
    return knowledge.facts().value_ids_N != knowledge.ask("identical").value_ids_Q


def test_about_the_share_of_the_facts_is_written_with_another_value_and_asked_as_before() -> None:
    clean, noisy = (build_knowledge(replace(CITIES, label_noise=share)) for share in (0.0, 0.3))
    # 5 standard deviations of a binomial.
    assert not wrong(clean).any() and abs(wrong(noisy).mean() - 0.3) < 5 * np.sqrt(0.21 / clean.num_facts)
    np.testing.assert_array_equal(clean.ask("identical").value_ids_Q, noisy.ask("identical").value_ids_Q)
    np.testing.assert_array_equal(clean.facts().calibration.value_ids_Q, noisy.facts().calibration.value_ids_Q)
    assert noisy.content_hash != clean.content_hash and noisy.name == "cities, label noise 0.3"
    assert noisy.demand_bits() == clean.demand_bits()


def test_statements_say_what_is_written() -> None:
    noisy = build_knowledge(replace(CITIES, label_noise=0.5)).prefix(40)
    facts, strings = noisy.facts(statements=True), noisy.values.strings
    assert facts.statements is not None and facts.statements.texts is not None and strings is not None
    assert wrong(noisy).any()
    for text, value in zip(facts.statements.texts, facts.value_ids_N.tolist(), strict=True):
        assert strings[value] in text


@settings(max_examples=20, deadline=None)
@given(shares=st.tuples(st.floats(0, 1), st.floats(0, 1)), num_values=st.integers(2, 9), seed=st.integers(0, 99))
def test_the_facts_of_a_smaller_share_are_among_those_of_a_larger(
    shares: tuple[float, float], num_values: int, seed: int
) -> None:
    clean_A = np.random.default_rng(seed).integers(num_values, size=200)
    values = ValueTable(strings=None, relations=("key",), starts=(0, num_values))
    few, many = (mislabelled(clean_A, np.zeros_like(clean_A), values, share) for share in sorted(shares))
    changed = few != clean_A
    np.testing.assert_array_equal(few[changed], many[changed])
    assert few.min() >= 0 and few.max() < num_values


def test_at_1_every_fact_has_another_value_of_its_relation_each_equally_often() -> None:
    relations = np.repeat([0, 1], 40_000)
    values = ValueTable(strings=None, relations=("a", "b"), starts=(0, 1, 6))
    clean = np.where(relations == 0, 0, 1 + np.random.default_rng(0).integers(5, size=80_000))
    noisy = mislabelled(clean, relations, values, 1.0)
    assert (noisy[relations == 0] == 0).all(), "a relation of one value keeps it"
    counts = np.bincount((noisy - clean)[relations == 1] % 5, minlength=5)
    assert counts[0] == 0 and np.abs(counts[1:] - 10_000).max() < 5 * np.sqrt(40_000 * 0.25 * 0.75)
    assert noisy[relations == 1].min() >= 1


def test_a_memory_that_holds_all_that_was_written_answers_the_rest_right() -> None:
    """On the values of each seed, which a cell deals anew."""
    knowledge = keys_set(KeysConfig(num_facts=300, label_noise=0.25)).twin(seed=3).prefix(200)
    memory = StaticFunctionConfig().build(seed=0)
    memory.write(knowledge.facts())
    assert accuracy(memory, knowledge.ask("identical")) == 1 - wrong(knowledge).mean() < 1


@pytest.mark.parametrize("source", [source for source in SOURCES if source != "file"])
def test_every_set_has_the_dial(source: str) -> None:
    arms = [{"memories": [{"memory": "frequency"}]}]

    def study(**noise: float) -> KnowledgeConfig:
        content = {"knowledge": {"source": source, **noise}, "arms": arms}
        return build(StudyConfig, content, source="x.yaml").knowledge

    clean, noisy = (build_knowledge(study(**noise)).twin(seed=1) for noise in ({}, {"label_noise": 0.5}))
    assert not wrong(clean).any() and wrong(noisy).any()
    with pytest.raises(UserError, match="knowledge: label_noise is a share of the facts, from 0 to 1, not 1.5"):
        study(label_noise=1.5)
