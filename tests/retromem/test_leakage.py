"""A memory never sees a test wording of a fact it is tested on, whatever mix of relations and wordings a set has."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retromem.knowledge.fact_table import FactTable
from retromem.knowledge.from_table import fact_id, text_set
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.knowledge.wordings import Wordings, fill
from retromem.seam import Asked, Queries


@dataclass(frozen=True)
class Fact:
    subject: str
    relation: str
    value: str
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class Drawn:
    """A set, and what it was made from."""

    knowledge: KnowledgeSet
    facts: dict[int, Fact]
    """by fact id; the prefix's alone"""
    wordings: dict[str, Wordings]
    """what is dealt: cut to the pool"""
    num_written: int

    def own(self, fact: int) -> Wordings:
        return self.wordings[self.facts[fact].relation]

    def relation_name(self, relation_id: int) -> str:
        return self.knowledge.values.relations[relation_id]


def wordings_of(name: str, num_seen: int, num_heldout: int) -> Wordings:
    """As a phrasings file is read: two or more seen wordings and a held-out one leave one to calibrate."""
    seen = tuple(f"{name} seen {number} of {{subject}}?" for number in range(num_seen))
    calibrates = num_seen >= 2 and num_heldout >= 1
    return Wordings(
        statements=(f"{name} of {{subject}} is {{value}}.",),
        written=seen[:-1] if calibrates else seen,
        calibrate=seen[-1] if calibrates else None,
        heldout=tuple(f"{name} held out {number} of {{subject}}?" for number in range(num_heldout)),
    )


def set_of(
    facts: list[Fact],
    wordings: dict[str, Wordings],
    *,
    num_facts: int | None = None,
    num_written: int = 1,
    pool: int | None = None,
    max_calibration: int = 512,
    seed: int = 0,
) -> Drawn:
    table = FactTable(
        name="drawn",
        subjects=tuple(fact.subject for fact in facts),
        relations=tuple(fact.relation for fact in facts),
        values=tuple(fact.value for fact in facts),
        popularity=None,
        aliases=tuple(fact.aliases for fact in facts),
        dropped={},
        attribution=None,
        notes=(),
    )
    whole = text_set(table, wordings, num_written=num_written, pool=pool, max_calibration=max_calibration, seed=seed)
    knowledge = whole.prefix(num_facts or len(facts))
    by_id = {fact_id(fact.subject, fact.relation): fact for fact in facts}
    cut = {
        name: Wordings(
            statements=own.statements, written=own.written[:pool], calibrate=own.calibrate, heldout=own.heldout
        )
        for name, own in wordings.items()
    }
    inside = {int(fact): by_id[int(fact)] for fact in knowledge.all_fact_ids[knowledge.rows_N]}
    return Drawn(knowledge=knowledge, facts=inside, wordings=cut, num_written=num_written)


Recipe = dict[str, Any]


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Numbers alone: beartype draws random numbers while a set is made, which a strategy must not."""
    fewest = draw(st.integers(1, 3))
    return {
        "relations": draw(
            st.lists(  # seen wordings, held-out ones, facts
                st.tuples(st.integers(fewest + 1, 5), st.integers(0, 3), st.integers(1, 35))
                | st.tuples(st.just(fewest), st.just(0 if fewest > 1 else 1), st.integers(1, 35)),
                min_size=1,
                max_size=3,
            )
        ),
        "num_aliases": draw(st.lists(st.integers(0, 2), min_size=1, max_size=5)),
        "values": draw(st.lists(st.integers(0, 3), min_size=1, max_size=9)),
        "share": draw(st.floats(0, 1)),
        "num_written": draw(st.integers(1, fewest)),
        "pool_beyond": draw(st.none() | st.integers(0, 3)),
        "max_calibration": draw(st.sampled_from([1, 3, 512])),
        "seed": draw(st.integers(0, 3)),
    }


def make(recipe: Recipe) -> Drawn:
    names = ["birth", "colour", "home"][: len(recipe["relations"])]
    num_aliases, values, num_written = recipe["num_aliases"], recipe["values"], recipe["num_written"]
    facts = [
        Fact(
            subject=f"Someone {number}",
            relation=name,
            value=f"value {values[number % len(values)]}",
            aliases=(f"Alias {number}", f"Nick {number}")[: num_aliases[number % len(num_aliases)]],
        )
        for name, (_, _, num_facts) in zip(names, recipe["relations"], strict=True)
        for number in range(num_facts)
    ]
    return set_of(
        facts,
        {name: wordings_of(name, seen, out) for name, (seen, out, _) in zip(names, recipe["relations"], strict=True)},
        num_facts=max(1, round(recipe["share"] * len(facts))),
        num_written=num_written,
        pool=None if recipe["pool_beyond"] is None else num_written + recipe["pool_beyond"],
        max_calibration=recipe["max_calibration"],
        seed=recipe["seed"],
    )


def pairs(queries: Queries) -> list[tuple[str, int]]:
    assert queries.texts is not None
    return list(zip(queries.texts, queries.relation_ids_Q.tolist(), strict=True))


def questions(asked: Asked) -> list[tuple[int, str]]:
    """(fact id, text)"""
    assert asked.queries.texts is not None
    return list(zip(asked.fact_ids_Q.tolist(), asked.queries.texts, strict=True))


@settings(max_examples=80)
@given(recipes())
def test_no_memory_sees_a_test_wording_of_a_fact_it_is_tested_on(recipe: Recipe) -> None:
    drawn = make(recipe)
    shown = drawn.knowledge.facts(statements=True)
    assert shown.statements is not None
    seen = {pair for part in (*shown.cues, shown.statements, shown.calibration.queries) for pair in pairs(part)}
    if "heldout" not in drawn.knowledge.phrasings():
        assert not any(own.heldout for own in map(drawn.own, drawn.facts))
        return
    asked = drawn.knowledge.ask("heldout")
    for relation, (fact, text) in zip(asked.queries.relation_ids_Q.tolist(), questions(asked), strict=True):
        tests = {fill(wording, drawn.facts[fact].subject) for wording in drawn.own(fact).heldout}
        assert text in tests
        assert not {(test, relation) for test in tests} & seen
    # Asked are all facts that can be, but those that calibrate in a held-out wording.
    kept_back = set(drawn.facts) - set(asked.fact_ids_Q.tolist())
    for fact in kept_back:
        assert drawn.own(fact).calibrate is None or not drawn.own(fact).heldout
    assert len([fact for fact in kept_back if drawn.own(fact).heldout]) <= len(drawn.facts) / 10


@settings(max_examples=60)
@given(recipes())
def test_what_calibrates_is_decided_for_each_relation(recipe: Recipe) -> None:
    drawn = make(recipe)
    calibration = drawn.knowledge.facts().calibration
    assert 1 <= len(calibration) <= drawn.knowledge.max_calibration
    assert questions(calibration) == questions(drawn.knowledge.ask("calibrate"))
    cues = {pair for cue in drawn.knowledge.facts().cues for pair in pairs(cue)}
    heldout = dict(questions(drawn.knowledge.ask("heldout"))) if "heldout" in drawn.knowledge.phrasings() else {}
    wanting = True  # no relation has a calibrating wording, none lacks a held-out one, and none has ten facts
    for (fact, text), pair in zip(questions(calibration), pairs(calibration.queries), strict=True):
        own, subject = drawn.own(fact), drawn.facts[fact].subject
        if own.calibrate is not None:
            assert text == fill(own.calibrate, subject)
        elif not own.heldout:
            assert pair in cues
        elif pair in cues:
            assert wanting
            continue
        else:
            assert text in {fill(wording, subject) for wording in own.heldout}
            assert fact not in heldout
        wanting = False


@settings(max_examples=60)
@given(recipes())
def test_seen_wordings_are_of_the_pool_but_not_of_the_fact(recipe: Recipe) -> None:
    drawn = make(recipe)
    facts = drawn.knowledge.facts()
    cues_of = {int(fact): {list(cue.texts or ())[row] for cue in facts.cues} for row, fact in enumerate(facts.ids_N)}
    can_be = {fact for fact in drawn.facts if len(drawn.own(fact).written) > drawn.num_written}
    assert ("seen" in drawn.knowledge.phrasings()) == bool(can_be)
    for fact, cues in cues_of.items():
        pool = {fill(wording, drawn.facts[fact].subject) for wording in drawn.own(fact).written}
        assert len(cues) == drawn.num_written and cues <= pool
    if can_be:
        asked = drawn.knowledge.ask("seen")
        assert set(asked.fact_ids_Q.tolist()) == can_be
        for fact, text in questions(asked):
            pool = {fill(wording, drawn.facts[fact].subject) for wording in drawn.own(fact).written}
            assert text in pool - cues_of[fact]


def test_wordings_are_dealt_by_the_seed_so_that_every_seen_one_was_written_for_others() -> None:
    wordings = {"birth": wordings_of("birth", 5, 1)}
    of_the_pool = {f"birth seen {number}" for number in range(3)}
    dealt = []
    for seed in (0, 1):
        knowledge = set_of(people(60), wordings, num_written=2, pool=3, seed=seed).knowledge
        cues = knowledge.facts().cues
        for cue in cues:
            assert {text.split(" of ")[0] for text in cue.texts or ()} == of_the_pool
        dealt.append({text for cue in cues for text in cue.texts or ()})
        asked = texts(knowledge.ask("seen"))
        assert {text.split(" of ")[0] for text in asked} == of_the_pool
    assert dealt[0] != dealt[1]


@settings(max_examples=40)
@given(recipes())
def test_aliases_are_asked_in_the_wording_written_for_their_fact(recipe: Recipe) -> None:
    drawn = make(recipe)
    named = {fact for fact in drawn.facts if drawn.facts[fact].aliases}
    assert ("alias" in drawn.knowledge.phrasings()) == bool(named)
    if not named:
        return
    written = dict(questions(drawn.knowledge.ask("identical")))
    asked = questions(drawn.knowledge.ask("alias"))
    assert {fact for fact, _ in asked} == named
    for fact, text in asked:
        about = drawn.facts[fact]
        templates = [wording for wording in drawn.own(fact).written if fill(wording, about.subject) == written[fact]]
        assert text == fill(templates[0], about.aliases[0])
        assert about.subject not in text


@settings(max_examples=40)
@given(recipes(), st.integers(0, 50))
def test_every_question_comes_with_its_own_answer_and_fewer_are_the_first_of_them(recipe: Recipe, num: int) -> None:
    drawn = make(recipe)
    strings = drawn.knowledge.values.strings
    assert strings is not None
    for phrasing in drawn.knowledge.phrasings():
        asked = drawn.knowledge.ask(phrasing)
        assert [strings[value] for value in asked.value_ids_Q] == [
            drawn.facts[fact].value for fact in asked.fact_ids_Q.tolist()
        ]
        assert [drawn.relation_name(relation) for relation in asked.queries.relation_ids_Q.tolist()] == [
            drawn.facts[fact].relation for fact in asked.fact_ids_Q.tolist()
        ]
        assert questions(drawn.knowledge.ask(phrasing, num=num)) == questions(asked)[:num]
        assert all(
            strings[value] not in text for (_, text), value in zip(questions(asked), asked.value_ids_Q, strict=True)
        )
    asked = drawn.knowledge.ask("identical")
    assert asked.queries.texts == drawn.knowledge.facts().cues[0].texts


# ---- the four ways to calibrate ------------------------------------------------------------------------------------


def people(num: int, relation: str = "birth") -> list[Fact]:
    return [Fact(f"Someone {row}", relation, f"value {row % 3}", ()) for row in range(num)]


def texts(asked: Asked) -> list[str]:
    return list(asked.queries.texts or ())


def test_three_wordings_leave_one_to_calibrate() -> None:
    drawn = set_of(people(40), {"birth": wordings_of("birth", 2, 1)})
    facts = drawn.knowledge.facts()
    assert all(text.startswith("birth seen 1 of") for text in texts(facts.calibration))
    assert all(text.startswith("birth seen 0 of") for text in facts.cues[0].texts or ())
    assert len(facts.calibration) == len(drawn.knowledge.ask("heldout")) == 40


def test_two_wordings_calibrate_on_a_tenth_in_the_held_out_one() -> None:
    drawn = set_of(people(40), {"birth": wordings_of("birth", 1, 1)})
    calibration, heldout = drawn.knowledge.facts().calibration, drawn.knowledge.ask("heldout")
    assert len(calibration) == 4
    assert len(heldout) == 36
    assert all(text.startswith("birth held out 0 of") for text in texts(calibration) + texts(heldout))
    assert set(calibration.fact_ids_Q.tolist()).isdisjoint(heldout.fact_ids_Q.tolist())
    assert len(drawn.knowledge.ask("identical")) == 40  # they are stored, and asked as written
    # A limit on the questions that calibrate does not make test questions of the rest of the tenth.
    fewer = set_of(people(40), {"birth": wordings_of("birth", 1, 1)}, max_calibration=1).knowledge
    assert len(fewer.facts().calibration) == 1
    assert len(fewer.ask("heldout")) == 36


def test_without_a_held_out_wording_the_written_cues_calibrate() -> None:
    drawn = set_of(people(20), {"birth": wordings_of("birth", 3, 0)}, num_written=2)
    facts = drawn.knowledge.facts()
    assert texts(facts.calibration) == facts.cues[0].texts
    assert drawn.knowledge.phrasings() == ("identical", "seen")


def test_too_few_facts_for_a_tenth_calibrate_on_the_written_cues() -> None:
    drawn = set_of(people(9), {"birth": wordings_of("birth", 1, 1)})
    facts = drawn.knowledge.facts()
    assert texts(facts.calibration) == facts.cues[0].texts
    assert len(drawn.knowledge.ask("heldout")) == 9


def test_relations_calibrate_each_in_its_own_way() -> None:
    wordings = {
        "birth": wordings_of("birth", 3, 1),
        "colour": wordings_of("colour", 1, 2),
        "home": wordings_of("home", 1, 0),
    }
    drawn = set_of(people(30) + people(30, "colour") + people(30, "home"), wordings)
    told = texts(drawn.knowledge.facts().calibration)
    kinds = [" ".join(text.split()[:2]) + ("" if "held" in text else " " + text.split()[2]) for text in told]
    assert sorted(set(kinds)) == ["birth seen 2", "colour held", "home seen 0"]
    assert [kinds.count(kind) for kind in ("birth seen 2", "colour held", "home seen 0")] == [30, 3, 30]
    heldout = drawn.knowledge.ask("heldout")
    assert len(heldout) == 30 + 27


def test_keys_are_asked_and_calibrated_on_the_very_vectors_written() -> None:
    knowledge = keys_set(KeysConfig(num_facts=100)).prefix(60)
    written = knowledge.facts(statements=True)
    assert knowledge.phrasings() == ("identical",)
    assert written.statements is None
    asked = knowledge.ask("identical")
    np.testing.assert_array_equal(asked.queries.key_vectors(), written.cues[0].key_vectors())
    np.testing.assert_array_equal(written.calibration.queries.key_vectors(), written.cues[0].key_vectors())
    np.testing.assert_array_equal(asked.value_ids_Q, written.value_ids_N)
    np.testing.assert_allclose(np.linalg.norm(asked.queries.key_vectors(), axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("phrasing", ["seen", "heldout", "alias"])
def test_what_a_set_cannot_ask_has_no_questions(phrasing: str) -> None:
    drawn = set_of(people(12), {"birth": wordings_of("birth", 1, 0)})
    assert drawn.knowledge.phrasings() == ("identical",)
    assert len(drawn.knowledge.ask(phrasing)) == 0
