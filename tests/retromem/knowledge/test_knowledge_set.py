import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import UserError
from retromem.knowledge.fact_table import FactRow, FactTable, clean
from retromem.knowledge.from_table import fact_id, text_set
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.knowledge.wordings import Wordings

CAPITAL = Wordings(
    statements=("The capital of {subject} is {value}.", "{value} governs {subject}."),
    written=("Capital of {subject}?", "Who governs {subject}?", "{subject} is ruled from"),
    calibrate="Name the capital of {subject}.",
    heldout=("Where does the government of {subject} sit?",),
)
COLOUR = Wordings(
    statements=("{subject} is painted {value}.",),
    written=("Which colour has {subject}?", "{subject} is of the colour"),
    calibrate=None,
    heldout=(),
)
WORDINGS = {"capital": CAPITAL, "colour": COLOUR}
COLOURS = ("red", "red", "red", "blue", "green")


def table(num_subjects: int = 30) -> FactTable:
    rows = [
        FactRow(subject=f"Land {number}", relation="capital", value=f"Town {number % 7}", aliases=(f"Old {number}",))
        for number in range(num_subjects)
    ]
    rows += [
        FactRow(subject=f"Land {number}", relation="colour", value=COLOURS[number % len(COLOURS)])
        for number in range(num_subjects)
    ]
    return clean(rows, name="lands", source="here")


def lands(num_subjects: int = 30, **options: int) -> KnowledgeSet:
    return text_set(table(num_subjects), WORDINGS, **options)


def answers_of(knowledge: KnowledgeSet) -> dict[int, str]:
    """Fact id -> value."""
    assert knowledge.values.strings is not None
    ids = knowledge.all_fact_ids[knowledge.rows_N]
    strings = knowledge.values.strings
    return {int(key): strings[value] for key, value in zip(ids, knowledge.value_ids_N, strict=True)}


# ---- prefixes, parts, twins ----------------------------------------------------------------------------------------


def test_every_fact_of_the_table_is_in_the_set_once_with_its_value() -> None:
    facts = table()
    expected = {
        fact_id(subject, relation): value
        for subject, relation, value in zip(facts.subjects, facts.relations, facts.values, strict=True)
    }
    assert answers_of(lands()) == expected


@given(small=st.integers(1, 60), large=st.integers(1, 60))
def test_prefixes_are_nested_and_keep_the_hash(small: int, large: int) -> None:
    small, large = sorted([small, large])
    whole = lands()
    inner, outer = whole.prefix(small), whole.prefix(large)
    np.testing.assert_array_equal(inner.facts().ids_N, outer.facts().ids_N[:small])
    np.testing.assert_array_equal(inner.facts().value_ids_N, outer.facts().value_ids_N[:small])
    assert inner.facts().cues[0].texts == list(outer.facts().cues[0].texts or ())[:small]
    assert (inner.content_hash, inner.num_facts, inner.values) == (whole.content_hash, small, whole.values)
    np.testing.assert_array_equal(outer.prefix(small).rows_N, inner.rows_N)


@pytest.mark.parametrize("num_facts", [0, -1, 61])
def test_a_prefix_beyond_the_set_is_the_users_mistake(num_facts: int) -> None:
    with pytest.raises(UserError, match=r"lands: -?\d+ facts asked for, but the set holds 60"):
        lands().prefix(num_facts)


@given(fraction=st.floats(0, 1), seed=st.integers(0, 5), num_facts=st.integers(1, 60))
def test_parts_are_disjoint_and_cover_the_set(fraction: float, seed: int, num_facts: int) -> None:
    whole = lands().prefix(num_facts)
    first, second = whole.split(fraction, seed=seed)
    assert first.num_facts == round(fraction * num_facts)
    assert sorted([*first.rows_N, *second.rows_N]) == whole.rows_N.tolist()
    assert first.content_hash == second.content_hash == whole.content_hash


@given(number=st.integers(2, 6), seed=st.integers(0, 5), num_facts=st.integers(1, 60))
def test_folds_cover_the_set_and_keep_a_subject_together(number: int, seed: int, num_facts: int) -> None:
    whole = lands().prefix(num_facts)
    folds = whole.folds(number, seed=seed)
    assert len(folds) == number
    assert sorted(row for fold in folds for row in fold.rows_N) == sorted(whole.rows_N)
    assert whole.text is not None
    subjects = [{whole.text.subjects[row] for row in fold.rows_N} for fold in folds]
    assert sum(map(len, subjects)) == len(set().union(*subjects))
    assert max(map(len, subjects)) - min(map(len, subjects)) <= 1
    by_fact = dict(zip(whole.rows_N.tolist(), whole.ask("identical").prior_Q.tolist(), strict=True))
    for fold in folds:  # the prior is that of what was written, not of the fold
        assert fold.prior_under(whole).tolist() == [by_fact[row] for row in fold.rows_N.tolist()]


def test_parts_differ_by_seed() -> None:
    assert lands().folds(3, seed=0)[0].rows_N.tolist() != lands().folds(3, seed=1)[0].rows_N.tolist()
    assert lands().split(0.5, seed=0)[0].rows_N.tolist() != lands().split(0.5, seed=1)[0].rows_N.tolist()


@given(seed=st.integers(0, 20))
def test_the_twin_permutes_values_within_each_relation_and_nothing_else(seed: int) -> None:
    whole = lands(num_written=2)
    twin = whole.twin(seed=seed)
    assert twin.is_twin and not whole.is_twin
    assert twin.content_hash == whole.content_hash
    for relation in range(len(whole.values.relations)):
        of_relation = whole.all_relation_ids == relation
        assert Counter(twin.all_value_ids[of_relation]) == Counter(whole.all_value_ids[of_relation])
    np.testing.assert_array_equal(twin.all_relation_ids, whole.all_relation_ids)
    written, real = twin.facts(), whole.facts()
    np.testing.assert_array_equal(written.ids_N, real.ids_N)
    assert [cue.texts for cue in written.cues] == [cue.texts for cue in real.cues]
    assert written.calibration.queries.texts == real.calibration.queries.texts
    for phrasing in whole.phrasings():
        assert twin.ask(phrasing).queries.texts == whole.ask(phrasing).queries.texts
    # Statements tell the twin's values, not the real ones.
    strings, statements = whole.values.strings, twin.facts(statements=True).statements
    assert strings is not None and statements is not None and statements.texts is not None
    assert all(strings[value] in text for value, text in zip(twin.value_ids_N, statements.texts, strict=True))


@given(num_facts=st.integers(1, 60), seed=st.integers(0, 5))
def test_prefixes_of_the_twin_are_nested_too(num_facts: int, seed: int) -> None:
    whole = lands()
    of_prefix, of_whole = whole.prefix(num_facts).twin(seed=seed), whole.twin(seed=seed).prefix(num_facts)
    assert answers_of(of_prefix) == answers_of(of_whole)


def test_another_seed_is_another_twin_and_the_same_seed_the_same() -> None:
    twins = [answers_of(lands().twin(seed=seed)) for seed in (0, 0, 1)]
    assert twins[0] == twins[1] != twins[2]
    assert answers_of(lands()) not in twins


def test_the_twin_of_keys_deals_the_labels_anew_and_is_called_none() -> None:
    whole = keys_set(KeysConfig(num_facts=200))
    dealt = [whole.twin(seed=seed) for seed in (0, 1)]
    assert not any(knowledge.is_twin for knowledge in dealt)
    assert len({knowledge.all_value_ids.tobytes() for knowledge in (whole, *dealt)}) == 3
    for knowledge in dealt:
        assert knowledge.content_hash == whole.content_hash
        np.testing.assert_array_equal(knowledge.facts().cues[0].key_vectors(), whole.facts().cues[0].key_vectors())


# ---- ids -----------------------------------------------------------------------------------------------------------


@given(st.text(max_size=8), st.text(max_size=8))
def test_fact_ids_leave_four_bits_for_the_wording_and_fit_63(subject: str, relation: str) -> None:
    assert fact_id(subject, relation) % 16 == 0
    assert 0 <= fact_id(subject, relation) < 2**63
    assert fact_id(subject, relation) != fact_id(subject + "!", relation)


def test_a_corrected_fact_keeps_its_id() -> None:
    corrected = replace(table(), values=("Another", *table().values[1:]))
    knowledge = text_set(corrected, WORDINGS)
    assert knowledge.content_hash != lands().content_hash
    np.testing.assert_array_equal(knowledge.all_fact_ids, lands().all_fact_ids)
    assert len(set(knowledge.all_fact_ids.tolist())) == knowledge.num_facts
    assert not (keys_set(KeysConfig(num_facts=9)).all_fact_ids % 16).any()


def test_value_ids_lie_in_one_block_a_relation() -> None:
    knowledge = lands()
    values = knowledge.values
    assert values.relations == ("capital", "colour")
    assert values.strings is not None
    assert values.starts == (0, 7, 10)
    assert [values.strings[value] for value in values.candidates(1)] == ["blue", "green", "red"]
    starts = np.asarray(values.starts)
    assert (knowledge.all_value_ids >= starts[knowledge.all_relation_ids]).all()
    assert (knowledge.all_value_ids < starts[knowledge.all_relation_ids + 1]).all()


# ---- demand --------------------------------------------------------------------------------------------------------


def test_the_demand_of_real_values_is_counted_by_hand() -> None:
    knowledge = lands(5)  # five capitals, all different; red red red blue green
    expected = math.log2(math.factorial(5)) + math.log2(math.factorial(5) / math.factorial(3))
    assert knowledge.demand_bits() == pytest.approx(expected)
    assert knowledge.twin(seed=0).demand_bits() == pytest.approx(expected)
    colours = Counter()
    for row in knowledge.prefix(4).rows_N:
        colours[int(knowledge.all_value_ids[row])] += 1
    counts = [[count for value, count in colours.items() if (value < 5) == capitals] for capitals in (True, False)]
    by_hand = sum(
        math.log2(math.factorial(sum(own)) / math.prod(math.factorial(count) for count in own)) for own in counts
    )
    assert knowledge.prefix(4).demand_bits() == pytest.approx(by_hand)


def test_the_demand_of_keys_is_n_log2_m() -> None:
    assert keys_set(KeysConfig(num_facts=300, num_values=32)).prefix(100).demand_bits() == pytest.approx(500)


@given(num_facts=st.integers(1, 60), seed=st.integers(0, 5))
def test_no_prefix_demands_more_than_n_log2_m(num_facts: int, seed: int) -> None:
    knowledge = lands(seed=seed).twin(seed=seed).prefix(num_facts)
    most = np.log2(knowledge.values.num_candidates_R())[knowledge.relation_ids_N].sum()
    assert 0 <= knowledge.demand_bits() <= most + 1e-9


def test_priors_are_the_frequencies_in_the_prefix_written_or_one_of_m() -> None:
    knowledge = lands().prefix(23)
    asked = knowledge.ask("identical")
    for value, relation, prior in zip(asked.value_ids_Q, asked.queries.relation_ids_Q, asked.prior_Q, strict=True):
        same = [
            v == value for v, r in zip(knowledge.value_ids_N, knowledge.relation_ids_N, strict=True) if r == relation
        ]
        assert prior == pytest.approx(sum(same) / len(same))
    keys = keys_set(KeysConfig(num_facts=50, num_values=8)).ask("identical", num=7)
    assert len(keys) == 7
    np.testing.assert_array_equal(keys.prior_Q, 1 / 8)


# ---- the hash ------------------------------------------------------------------------------------------------------


def other_sets() -> dict[str, KnowledgeSet]:
    facts = table()
    last = len(facts) - 1
    subject = replace(facts, subjects=("Land X", *facts.subjects[1:]))
    value = replace(facts, values=(*facts.values[:last], "blue" if facts.values[last] != "blue" else "red"))
    alias = replace(facts, aliases=(("Elder",), *facts.aliases[1:]))
    changed = {
        field: {**WORDINGS, "capital": replace(CAPITAL, **{field: wording})}
        for field, wording in {
            "statements": ("The capital of {subject}: {value}.", CAPITAL.statements[1]),
            "written": (*CAPITAL.written[:2], "{subject} is governed from"),
            "calibrate": "Say the capital of {subject}.",
            "heldout": ("Where sits the government of {subject}?",),
        }.items()
    }
    return {
        "subject": text_set(subject, WORDINGS),
        "value": text_set(value, WORDINGS),
        "alias": text_set(alias, WORDINGS),
        **{field: text_set(facts, wordings) for field, wordings in changed.items()},
        "seed": lands(seed=1),
        "W": lands(num_written=2),
        "pool": lands(pool=2),
        "keys": keys_set(KeysConfig(num_facts=60)),
        "other keys": keys_set(KeysConfig(num_facts=60, seed=1)),
        "other M": keys_set(KeysConfig(num_facts=60, num_values=17)),
        "fewer keys": keys_set(KeysConfig(num_facts=59)),
    }


def test_the_hash_changes_with_whatever_the_set_is() -> None:
    hashes = {name: knowledge.content_hash for name, knowledge in {"as it is": lands(), **other_sets()}.items()}
    assert len(set(hashes.values())) == len(hashes), hashes
    assert lands().content_hash == hashes["as it is"]
    assert lands(max_calibration=3).content_hash == hashes["as it is"]  # a dial of the measure, not of the facts


def test_the_hash_tells_how_wordings_were_dealt_even_where_the_order_is_the_same() -> None:
    lone = clean([FactRow(subject="Land", relation="colour", value="red")], name="lands", source="here")
    sets = [text_set(lone, WORDINGS, seed=seed) for seed in range(4)]
    assert len({knowledge.facts().cues[0].texts[0] for knowledge in sets}) == 2
    assert len({knowledge.content_hash for knowledge in sets}) == 4


# ---- what the user may not ask for ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_written": 3}, "lands: relation 'colour' has 2 wordings to write"),
        ({"num_written": 2, "pool": 1}, "lands: relation 'capital' has 1 wordings to write"),
        ({"num_written": 0}, "lands: num_written is 0; a fact is written in 1 to 16 wordings"),
        ({"num_written": 17}, "lands: num_written is 17; a fact is written in 1 to 16 wordings"),
    ],
)
def test_wordings_that_are_not_there_cannot_be_written(options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        lands(**options)
