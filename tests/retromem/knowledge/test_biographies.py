import math
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray

from retrieval.errors import UserError
from retromem.configuration import build
from retromem.knowledge.biographies import ATTRIBUTES, NUM_NAMES, BiographiesConfig, _names, _pools, biographies_set
from retromem.knowledge.biography_wordings import BIOGRAPHY_WORDINGS
from retromem.knowledge.cities import spare_city_names
from retromem.knowledge.fact_table import fold, words
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import build_knowledge
from retromem.knowledge.text_keys import Template
from retromem.knowledge.wordings import SUBJECT, VALUE
from retromem.measure.judgement import Setting, judge
from retromem.measure.latency import EncoderCost
from retromem.measure.settings import MeasureConfig
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.memories.static_function import StaticFunctionConfig
from retromem.run.experiment import StudyConfig

POOL_SIZES = {
    "birth_date": 336 * 4,
    "birth_city": 128,
    "university": 192,
    "major": 100,
    "employer": 256,
    "work_city": 128,
}
BITS_A_PERSON = sum(math.log2(POOL_SIZES[attribute]) for attribute in ATTRIBUTES if attribute != "work_city")


def people(num_people: int = 60, **options: object) -> KnowledgeSet:
    return biographies_set(BiographiesConfig(num_people=num_people, **options))  # type: ignore[arg-type]


def answers_of(knowledge: KnowledgeSet) -> dict[tuple[str, str], str]:
    """(person, attribute) -> value, of the facts of this part."""
    assert knowledge.text is not None and knowledge.values.strings is not None
    return {
        (knowledge.text.subjects[row], knowledge.values.relations[knowledge.all_relation_ids[row]]): (
            knowledge.values.strings[knowledge.all_value_ids[row]]
        )
        for row in knowledge.rows_N.tolist()
    }


def answers_of_person(knowledge: KnowledgeSet) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for (person, attribute), value in answers_of(knowledge).items():
        found.setdefault(person, {})[attribute] = value
    return found


def seats_of(knowledge: KnowledgeSet) -> dict[str, set[str]]:
    """Employer -> cities in which its people work."""
    seats: dict[str, set[str]] = {}
    for answers in answers_of_person(knowledge).values():
        seats.setdefault(answers["employer"], set()).add(answers["work_city"])
    return seats


# ---- pools ---------------------------------------------------------------------------------------------------------


def test_pools_have_the_sizes_that_are_stated_and_no_value_twice() -> None:
    pools = _pools(4)
    assert {attribute: len(pool) for attribute, pool in pools.items()} == POOL_SIZES
    assert tuple(pools) == ATTRIBUTES
    for pool in pools.values():
        assert len({fold(value) for value in pool}) == len(pool)
    folded = set(" ".join(_names()).lower().split(" "))
    assert all(part.isascii() and part.isalpha() for part in folded)
    assert len({name.lower() for name in _names()}) == len(_names()) == NUM_NAMES
    assert len(folded) == 400 + 1024  # no first name is a last name


def test_no_name_or_wording_holds_a_value_and_no_city_that_centres_is_a_person() -> None:
    value_words = {word for pool in _pools(100).values() for value in pool for word in words(value)}
    asked = {word for own in BIOGRAPHY_WORDINGS.values() for question in own.questions for word in words(question)}
    assert asked & value_words <= {"school", "medical", "university"}  # a value is two words, never one of these alone
    assert not {value for pool in _pools(100).values() for value in pool if len(words(value)) == 1} & asked
    assert not set(" ".join(_names()).lower().split(" ")) & value_words
    assert not {fold(name) for name in spare_city_names()} & {name.lower() for name in _names()}


# ---- entropy -------------------------------------------------------------------------------------------------------


def test_demand_of_a_person_is_the_closed_form_and_the_city_of_work_adds_nothing() -> None:
    assert pytest.approx(39.6211361) == BITS_A_PERSON
    for num_people in (1, 7, 60):
        assert people().prefix(6 * num_people).demand_bits() == pytest.approx(num_people * BITS_A_PERSON)
    without = people(attributes=ATTRIBUTES[:-1])
    assert without.num_facts == 5 * 60
    assert without.demand_bits() == people().demand_bits()


def test_demand_counts_the_city_of_work_where_the_employer_is_not_stored() -> None:
    assert people(attributes=("work_city",)).demand_bits() == pytest.approx(60 * 7)
    assert people(attributes=("employer",)).demand_bits() == pytest.approx(60 * 8)
    whole = people()
    _, part = whole.split(0.5, seed=3)
    expected = 0.0
    for attributes in answers_of_person(part).values():
        expected += sum(math.log2(POOL_SIZES[attribute]) for attribute in attributes)
        if "employer" in attributes and "work_city" in attributes:
            expected -= 7
    assert part.demand_bits() == pytest.approx(expected)
    assert whole.twin(seed=1).demand_bits() == whole.demand_bits()


@given(num_facts=st.integers(1, 360))
@settings(max_examples=30)
def test_demand_is_chained_in_every_prefix(num_facts: int) -> None:
    """Persons stand one after the other, and the employer before the city that follows from it."""
    order = [math.log2(POOL_SIZES[attribute]) if attribute != "work_city" else 0.0 for attribute in ATTRIBUTES]
    expected = num_facts // 6 * sum(order) + sum(order[: num_facts % 6])
    assert people().prefix(num_facts).demand_bits() == pytest.approx(expected)


def test_years_of_birth_set_the_entropy_of_the_date() -> None:
    for years in (1, 100):
        demand_bits = people(num_birth_years=years, attributes=("birth_date",)).demand_bits()
        assert demand_bits == pytest.approx(60 * math.log2(336 * years))


def test_values_are_drawn_uniformly_and_independently() -> None:
    whole = people(20_000)
    drawn_PA = whole.all_value_ids.reshape(-1, 6) - np.asarray(whole.values.starts[:-1])
    for column, attribute in enumerate(ATTRIBUTES):
        counts_M = np.bincount(drawn_PA[:, column], minlength=POOL_SIZES[attribute])
        expected = 20_000 / POOL_SIZES[attribute]
        degrees = POOL_SIZES[attribute] - 1
        # Cities of work are employers two by two, and so as uniform.
        assert ((counts_M - expected) ** 2 / expected).sum() == pytest.approx(degrees, abs=5 * math.sqrt(2 * degrees))
    for one in range(6):
        for two in range(one):
            counts_44 = np.bincount(drawn_PA[:, one] % 4 * 4 + drawn_PA[:, two] % 4, minlength=16)  # 4 divides all M
            distance = ((counts_44 - 1250) ** 2 / 1250).sum()
            assert (distance < 15 + 5 * math.sqrt(2 * 15)) == ({one, two} != {4, 5})


# ---- the dependent relation ----------------------------------------------------------------------------------------


def test_the_city_of_work_follows_from_the_employer_and_every_city_seats_two() -> None:
    whole = people(8000)
    twin = whole.twin(seed=5)
    for knowledge in (whole, twin):
        seats = seats_of(knowledge)
        assert len(seats) == 256
        assert all(len(cities) == 1 for cities in seats.values())
        cities = sorted(city for own in seats.values() for city in own)
        assert cities == sorted(_pools(4)["work_city"] * 2)
    assert seats_of(whole) == seats_of(twin)  # the seats stay, whoever works there
    assert seats_of(whole) != seats_of(people(8000, seed=1))


# ---- prefix, twin, hash --------------------------------------------------------------------------------------------


def test_a_prefix_holds_whole_people_and_full_names_are_unique() -> None:
    whole = people(200)
    assert whole.text is not None
    found = answers_of_person(whole)
    assert len(found) == 200
    assert all(tuple(attributes) == ATTRIBUTES for attributes in found.values())
    assert whole.num_facts == len(np.unique(whole.all_fact_ids)) == 1200
    assert list(answers_of_person(whole.prefix(60))) == list(found)[:10]
    assert not (whole.all_fact_ids % 16).any()


def test_labels_are_dealt_anew_for_each_seed_and_the_set_is_no_twin() -> None:
    whole = people()
    dealt = [whole.twin(seed=seed) for seed in (0, 0, 1)]
    assert whole.uniform and not any(knowledge.is_twin for knowledge in dealt)
    assert answers_of(dealt[0]) == answers_of(dealt[1]) != answers_of(dealt[2])
    assert answers_of(whole) not in [answers_of(knowledge) for knowledge in dealt]
    for knowledge in dealt:
        assert knowledge.content_hash == whole.content_hash
        for relation in range(6):
            rows = whole.all_relation_ids == relation
            np.testing.assert_array_equal(np.sort(knowledge.all_value_ids[rows]), np.sort(whole.all_value_ids[rows]))
        assert answers_of(knowledge.prefix(60)) == dict(list(answers_of(knowledge).items())[:60])
        assert knowledge.facts().cues[0].texts == whole.facts().cues[0].texts
    assert answers_of(whole.prefix(60).twin(seed=1)) == answers_of(dealt[2].prefix(60))


def test_each_seed_deals_the_wordings_anew() -> None:
    one, again, other = (people(num_people=50, seed=seed).text for seed in (0, 0, 1))
    assert one is not None and again is not None and other is not None
    assert (one.dealt_N == again.dealt_N).all()
    # Nine wordings are dealt: those of two seeds are the same for a ninth of the 300 facts, within four deviations.
    same = (one.dealt_N % 9 == other.dealt_N % 9).mean()
    assert abs(same - 1 / 9) < 4 * (1 / 9 * 8 / 9 / 300) ** 0.5


def test_the_prior_is_one_over_the_pool() -> None:
    asked = people().ask("identical")
    expected = [1 / POOL_SIZES[ATTRIBUTES[relation]] for relation in asked.queries.relation_ids_Q]
    assert asked.prior_Q.tolist() == expected


def test_what_changes_the_set_changes_its_hash_and_nothing_else_does() -> None:
    plain = BiographiesConfig(num_people=40)
    changed = [
        replace(plain, seed=1),
        replace(plain, num_people=41),
        replace(plain, num_birth_years=5),
        replace(plain, num_written=2),
        replace(plain, pool=3),
        replace(plain, attributes=ATTRIBUTES[1:]),
    ]
    hashes = [biographies_set(config).content_hash for config in (plain, *changed)]
    assert len(set(hashes)) == len(hashes)
    same = [replace(plain), replace(plain, attributes=ATTRIBUTES[::-1]), replace(plain, max_calibration=7)]
    assert {biographies_set(config).content_hash for config in same} == {hashes[0]}


def test_people_keep_their_values_when_an_attribute_is_left_out() -> None:
    left = answers_of(people(attributes=("employer", "major")))
    assert left.items() <= answers_of(people()).items()
    assert {attribute for _, attribute in left} == {"employer", "major"}


# ---- wordings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_twelve_ways_to_say_and_to_ask_each(attribute: str) -> None:
    own = BIOGRAPHY_WORDINGS[attribute]
    assert len(own.statements) == 12
    assert (len(own.written), own.calibrate is not None, len(own.heldout)) == (9, True, 2)
    assert all(template.count(SUBJECT) == template.count(VALUE) == 1 for template in own.statements)
    assert all(template.count(SUBJECT) == 1 and VALUE not in template for template in own.questions)
    every = [tuple(words(template)) for other in BIOGRAPHY_WORDINGS.values() for template in other.questions]
    assert len(set(every)) == len(every) == 72


@pytest.mark.parametrize("num_written", [1, 8])
def test_up_to_eight_wordings_are_written_and_one_is_left_to_be_seen(num_written: int) -> None:
    whole = people(num_written=num_written)
    assert whole.phrasings() == ("identical", "seen", "heldout")
    facts = whole.facts(statements=True)
    texts_NW = list(zip(*[cue.texts or () for cue in facts.cues], strict=True))
    assert all(len(set(texts)) == num_written for texts in texts_NW)
    seen = whole.ask("seen").queries.texts
    assert seen is not None
    assert all(text not in texts for text, texts in zip(seen, texts_NW, strict=True))
    pool = people(num_written=num_written, pool=num_written)
    assert pool.phrasings() == ("identical", "heldout")


# ---- configuration -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_people": 0}, "num_people should be 1 to 409,600"),
        ({"num_people": NUM_NAMES + 1}, "num_people should be 1 to 409,600"),
        ({"attributes": ()}, "attributes should be one or more of birth_date"),
        ({"attributes": ("major", "major")}, "each once"),
        ({"num_birth_years": 0}, "num_birth_years should be 1 to 100"),
        ({"num_written": 10}, "num_written should be 1 to 9"),
        ({"num_written": 3, "pool": 2}, "no more than pool"),
    ],
)
def test_a_config_that_cannot_be_built_says_what_could(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BiographiesConfig(**options)  # type: ignore[arg-type]


def test_a_study_takes_biographies_from_its_file() -> None:
    content = {"source": "biographies", "num_people": 30, "attributes": ["major", "employer"], "num_written": 8}
    arms = [{"memories": [{"memory": "frequency"}]}]
    study = build(StudyConfig, {"knowledge": content, "arms": arms}, source="here")
    assert study.knowledge == BiographiesConfig(num_people=30, attributes=("major", "employer"), num_written=8)
    assert build_knowledge(study.knowledge).num_facts == 60
    assert build_knowledge(study.knowledge) is build_knowledge(study.knowledge)
    content["attributes"] = ["major", "hobby"]
    with pytest.raises(UserError, match="knowledge.attributes.1: 'hobby' is none of birth_date"):
        build(StudyConfig, {"knowledge": content, "arms": arms}, source="here")


# ---- judged --------------------------------------------------------------------------------------------------------


class UnderstandingKeys:
    """One random unit key for each person and attribute, however the question is worded."""

    encoder_hash = "understanding"

    def keys(self, texts: list[str], templates: list[Template]) -> ndarray:
        asked = {question: attribute for attribute, own in BIOGRAPHY_WORDINGS.items() for question in own.questions}
        keys = []
        for text, template in zip(texts, templates, strict=True):
            before, after = template.text.split(SUBJECT)
            about = text.removeprefix(before).removesuffix(after) + asked[template.text]
            keys.append(np.random.default_rng(zlib.crc32(about.encode())).standard_normal(64))
        keys_QD = np.stack(keys)
        return (keys_QD / np.linalg.norm(keys_QD, axis=1, keepdims=True)).astype(np.float32)


def test_a_perfect_store_recalls_all_of_the_demand_and_a_guesser_nothing() -> None:
    whole = people(100).with_keys(UnderstandingKeys())
    knowledge = whole.twin(seed=1).prefix(480)
    for config in (FaissMemoryConfig(), StaticFunctionConfig(), FrequencyConfig(guess=True)):
        setting, measures = Setting(study="s", role="arm", seed=1), MeasureConfig(robustness=False)
        row = judge(config, knowledge, setting=setting, measures=measures, encoder=EncoderCost(), quick=True).rows[0]
        assert row.demand_bits == pytest.approx(80 * BITS_A_PERSON)
        assert not row.twin
        assert row.bits_ce is not None and row.bits_argmax is not None
        if config.name == "guesser":
            assert max(row.bits_ce, row.bits_argmax) <= 40
        else:
            assert row.accuracy == 1.0
            assert row.bits_at_tau == row.demand_bits
            # Of each answer eps = 1 / N goes to the prior: 1.44 bits at most over all facts.
            assert row.demand_bits - 2 < row.bits_ce <= row.demand_bits
            assert row.demand_bits - 9 < row.bits_argmax <= row.demand_bits  # log2(N + 1): how many were wrong
