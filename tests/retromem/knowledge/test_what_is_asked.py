"""All that a set writes and asks, beside the same made from names, wordings and the numbers that deal them."""

import hashlib
import json
import math
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy import ndarray

from retromem.knowledge.biographies import BiographiesConfig, biographies_set
from retromem.knowledge.fact_table import FactTable
from retromem.knowledge.from_table import fact_id, text_set, value_id
from retromem.knowledge.hidden_facts import hide
from retromem.knowledge.knowledge_set import KnowledgeSet, content_hash, value_file
from retromem.knowledge.random_keys import KeysConfig, TokenPairsConfig, keys_set, token_pairs_set
from retromem.knowledge.text_keys import RotatedKeys, Template
from retromem.knowledge.wordings import Wordings
from retromem.seam import Asked, Phrasing, ValueTable

WORDINGS = {
    # One wording calibrates, two are held out.
    "capital": Wordings(
        statements=("The capital of {subject} is {value}.", "{value} governs {subject}.", "{subject}: {value}"),
        written=(
            "Capital of {subject}?",
            "Who governs {subject}?",
            "{subject} is ruled from",
            "Where from, {subject}?",
        ),
        calibrate="Name the capital of {subject}.",
        heldout=("Where does the government of {subject} sit?", "Seat of {subject}?"),
    ),
    # A tenth calibrates in a held-out wording.
    "river": Wordings(
        statements=("{subject} lies on the {value}.", "The {value} flows through {subject}."),
        written=("River of {subject}?", "Which water runs through {subject}?"),
        calibrate=None,
        heldout=("What flows in {subject}?", "Name a stream of {subject}.", "By which river is {subject}?"),
    ),
    # The written cues calibrate.
    "colour": Wordings(
        statements=("{subject} is painted {value}.",),
        written=("Which colour has {subject}?", "{subject} is of the colour"),
        calibrate=None,
        heldout=(),
    ),
}
RELATIONS = ("capital", "colour", "river")  # as the set has them: by name
NUMBERS = {"capital": 14, "river": 33, "colour": 9}


def table() -> FactTable:
    facts = [
        (f"Land {number}", relation, f"{relation} {number * number % (5 + len(relation))}")
        for relation in ("river", "capital", "colour")
        for number in range(NUMBERS[relation])
    ]
    subjects, relations, values = zip(*facts, strict=True)
    aliases = tuple(
        (f"Old {subject}", f"Older {subject}") if int(subject.split()[1]) % 4 == 1 else () for subject in subjects
    )
    return FactTable(
        name="lands", subjects=subjects, relations=relations, values=values, popularity=None, aliases=aliases,
        dropped={"empty": 3}, attribution="by hand", notes=("a note",),
    )  # fmt: skip


def lands(**options: int) -> KnowledgeSet:
    return text_set(table(), WORDINGS, **options)  # type: ignore[arg-type]


def rows_of(knowledge: KnowledgeSet) -> list[int]:
    return [int(row) for row in knowledge.rows_N]


class ByHand:
    """What is written and asked of a fact, by its row."""

    def __init__(self, knowledge: KnowledgeSet, num_written: int) -> None:
        assert knowledge.text is not None and knowledge.values.strings is not None
        self.knowledge, self.num_written = knowledge, num_written
        self.text, self.strings = knowledge.text, knowledge.values.strings

    def relation(self, row: int) -> str:
        return RELATIONS[int(self.knowledge.all_relation_ids[row])]

    def subject(self, row: int) -> str:
        return self.text.subjects[row]

    def value(self, row: int) -> str:
        return self.strings[int(self.knowledge.all_value_ids[row])]

    def written(self, row: int, number: int, name: str | None = None) -> str:
        pool = WORDINGS[self.relation(row)].written
        wording = pool[(int(self.text.dealt_N[row]) + number) % len(pool)]
        return wording.replace("{subject}", name or self.subject(row))

    def heldout(self, row: int) -> str:
        pool = WORDINGS[self.relation(row)].heldout
        return pool[int(self.text.dealt_N[row]) // 11 % len(pool)].replace("{subject}", self.subject(row))

    def statement(self, row: int) -> str:
        pool = WORDINGS[self.relation(row)].statements
        wording = pool[int(self.text.dealt_N[row]) // 7 % len(pool)]
        return wording.replace("{subject}", self.subject(row)).replace("{value}", self.value(row))

    def tenth(self) -> list[int]:
        rivers = [row for row in rows_of(self.knowledge) if self.relation(row) == "river"]
        return [row for place, row in enumerate(rivers) if place % 10 == 9]

    def calibration(self) -> list[tuple[int, str]]:
        asked = []
        for row in rows_of(self.knowledge):
            match self.relation(row):
                case "capital":
                    asked.append((row, f"Name the capital of {self.subject(row)}."))
                case "colour":
                    asked.append((row, self.written(row, 0)))
                case "river" if row in self.tenth():
                    asked.append((row, self.heldout(row)))
        return asked

    def asked(self, phrasing: Phrasing) -> list[tuple[int, str]]:
        rows = rows_of(self.knowledge)
        match phrasing:
            case "identical":
                return [(row, self.written(row, 0)) for row in rows]
            case "seen":
                beyond = {
                    "capital": self.num_written < 4,
                    "river": self.num_written < 2,
                    "colour": self.num_written < 2,
                }
                return [(row, self.written(row, self.num_written)) for row in rows if beyond[self.relation(row)]]
            case "heldout":
                return [
                    (row, self.heldout(row))
                    for row in rows
                    if self.relation(row) != "colour" and row not in self.tenth()
                ]
            case "alias":
                return [
                    (row, self.written(row, 0, f"Old {self.subject(row)}"))
                    for row in rows
                    if int(self.subject(row).split()[1]) % 4 == 1
                ]
        return self.calibration()


def check_asked(asked: Asked, by_hand: list[tuple[int, str]], knowledge: KnowledgeSet, phrasing: str) -> None:
    rows = [row for row, _ in by_hand]
    assert list(asked.queries.texts or ()) == [text for _, text in by_hand]
    assert asked.phrasing == phrasing
    assert asked.fact_ids_Q.tolist() == knowledge.all_fact_ids[rows].tolist()
    assert asked.value_ids_Q.tolist() == knowledge.all_value_ids[rows].tolist()
    assert asked.queries.relation_ids_Q.tolist() == knowledge.all_relation_ids[rows].tolist()
    written = Counter(
        (int(knowledge.all_relation_ids[row]), int(knowledge.all_value_ids[row])) for row in rows_of(knowledge)
    )
    of_relation = Counter(int(knowledge.all_relation_ids[row]) for row in rows_of(knowledge))
    assert asked.prior_Q.tolist() == [
        written[int(knowledge.all_relation_ids[row]), int(knowledge.all_value_ids[row])]
        / of_relation[int(knowledge.all_relation_ids[row])]
        for row in rows
    ]
    assert (asked.queries.keys_QD, asked.queries.encoder_hash) == (None, "")


@pytest.mark.parametrize(("num_facts", "num_written"), [(56, 1), (41, 2), (56, 2), (30, 1)])
def test_everything_that_is_written_and_asked_is_what_the_rules_say(num_facts: int, num_written: int) -> None:
    knowledge = lands(num_written=num_written, seed=3).prefix(num_facts)
    by_hand = ByHand(knowledge, num_written)
    rows = rows_of(knowledge)
    facts = knowledge.facts(statements=True)
    assert (facts.ids_N.tolist(), facts.value_ids_N.tolist()) == (
        knowledge.all_fact_ids[rows].tolist(),
        knowledge.all_value_ids[rows].tolist(),
    )
    assert [list(cue.texts or ()) for cue in facts.cues] == [
        [by_hand.written(row, number) for row in rows] for number in range(num_written)
    ]
    assert all(cue.relation_ids_Q.tolist() == knowledge.relation_ids_N.tolist() for cue in facts.cues)
    assert facts.statements is not None
    assert list(facts.statements.texts or ()) == [by_hand.statement(row) for row in rows]
    assert knowledge.facts().statements is None and facts.values is knowledge.values
    check_asked(facts.calibration, by_hand.calibration(), knowledge, "calibrate")
    kinds = ["identical", "seen", "heldout", "alias"]
    assert knowledge.phrasings() == tuple(kinds)
    for phrasing in (*kinds, "calibrate"):
        expected = by_hand.asked(phrasing)  # type: ignore[arg-type]
        check_asked(knowledge.ask(phrasing), expected, knowledge, phrasing)  # type: ignore[arg-type]
        if phrasing != "calibrate":
            check_asked(knowledge.ask(phrasing, num=5), expected[:5], knowledge, phrasing)  # type: ignore[arg-type]
    few = replace(knowledge, max_calibration=4)
    check_asked(few.ask("calibrate"), by_hand.calibration()[:4], knowledge, "calibrate")


def test_kinds_of_question_are_those_of_the_relations_that_are_there() -> None:
    whole = lands()
    for relation, kinds in (
        ("capital", ("identical", "seen", "heldout")),
        ("colour", ("identical", "seen")),
        ("river", ("identical", "seen", "heldout")),
    ):
        rows_N = np.flatnonzero(whole.all_relation_ids == RELATIONS.index(relation))
        assert whole.text is not None
        plain_N = np.array([row for row in rows_N.tolist() if not whole.text.aliases[row]])
        assert replace(whole, rows_N=plain_N).phrasings() == kinds
        assert replace(whole, rows_N=rows_N).phrasings() == (*kinds, "alias")
    assert lands(num_written=2, pool=2).phrasings() == ("identical", "heldout", "alias")
    keys = keys_set(KeysConfig(num_facts=20, num_values=5))
    assert keys.phrasings() == ("identical",)
    few = replace(keys.prefix(11), max_calibration=7)
    for asked, num, phrasing in ((few.ask("identical", num=3), 3, "identical"), (few.ask("calibrate"), 7, "calibrate")):
        assert (len(asked), asked.phrasing, asked.queries.texts) == (num, phrasing, None)
        np.testing.assert_array_equal(asked.queries.key_vectors(), keys.facts().cues[0].key_vectors()[:num])
        assert asked.value_ids_Q.tolist() == keys.all_value_ids[:num].tolist()
        assert asked.fact_ids_Q.tolist() == [16 * number for number in range(num)]
        assert asked.prior_Q.tolist() == [0.2] * num


def test_too_few_facts_for_a_tenth_calibrate_in_the_written_cues() -> None:
    whole = lands(seed=1)
    rivers_N = np.flatnonzero(whole.all_relation_ids == RELATIONS.index("river"))
    for num in (9, 10):
        few = replace(whole, rows_N=rivers_N[:num])
        by_hand = ByHand(few, 1)
        expected = [(row, by_hand.written(row, 0)) for row in rows_of(few)]
        check_asked(few.ask("calibrate"), by_hand.calibration() or expected, few, "calibrate")
        assert len(few.ask("calibrate")) == (9 if num == 9 else 1)
        assert len(few.ask("heldout")) == 9


# ---- the set itself ------------------------------------------------------------------------------------------------


def test_a_set_of_a_table_is_written_out() -> None:
    given, knowledge = table(), lands(num_written=2, seed=4, max_calibration=77)
    order = np.random.default_rng(4).permutation(56).tolist()
    assert knowledge.text is not None
    assert knowledge.text.subjects == tuple(given.subjects[row] for row in order)
    assert knowledge.text.aliases == tuple(given.aliases[row] for row in order)
    assert knowledge.text.wordings == tuple(WORDINGS[relation] for relation in RELATIONS)
    dealt_N = np.random.default_rng([4, 0xDEA1]).integers(2**40, size=56)
    assert knowledge.text.dealt_N.tolist() == dealt_N.tolist()
    assert knowledge.all_relation_ids.tolist() == [RELATIONS.index(given.relations[row]) for row in order]
    of_relation = {
        relation: sorted({value for value in given.values if value.startswith(relation)}) for relation in RELATIONS
    }
    strings = [value for relation in RELATIONS for value in of_relation[relation]]
    starts = (0, *np.cumsum([len(values) for values in of_relation.values()]).tolist())
    assert knowledge.values == ValueTable(strings=tuple(strings), relations=RELATIONS, starts=starts)
    assert knowledge.all_value_ids.tolist() == [strings.index(given.values[row]) for row in order]
    assert knowledge.all_fact_ids.tolist() == [fact_id(given.subjects[row], given.relations[row]) for row in order]
    assert knowledge.rows_N.tolist() == list(range(56))
    assert (knowledge.name, knowledge.uniform, knowledge.is_twin, knowledge.max_calibration) == (
        "lands",
        False,
        False,
        77,
    )
    assert (knowledge.dropped, knowledge.attribution, knowledge.notes) == ({"empty": 3}, "by hand", ("a note",))
    assert (knowledge.all_keys, knowledge.text_keys, knowledge.following) == (None, None, None)
    identity = [knowledge.text.subjects, RELATIONS, strings, starts, knowledge.text.aliases, 2]
    described = [[own.statements, own.written, own.calibrate, own.heldout] for own in knowledge.text.wordings]
    parts = [
        json.dumps([identity, described]).encode(), knowledge.all_relation_ids.tobytes(),
        knowledge.all_value_ids.tobytes(), dealt_N.tobytes(),
    ]  # fmt: skip
    assert knowledge.content_hash == content_hash(*parts)
    joined = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    assert knowledge.content_hash == hashlib.sha256(joined).hexdigest()[:16]
    assert value_file(knowledge.values) == zlib.compress(json.dumps(strings).encode(), 9)
    assert value_file(keys_set(KeysConfig(num_facts=2)).values) == b""


def test_ids_are_the_first_bytes_of_a_hash_without_the_lowest_bits() -> None:
    number = int.from_bytes(hashlib.sha256(b"Land\0capital").digest()[:8], "big")
    assert fact_id("Land", "capital") == (number // 2) // 16 * 16
    assert value_id("Town") == int.from_bytes(hashlib.sha256(b"Town").digest()[:8], "big") // 2 // 16 * 16
    several = text_set(table(), WORDINGS, several_values=True, seed=4)
    single = text_set(table(), WORDINGS, seed=4)
    strings = single.values.strings or ()
    assert [
        one ^ other for one, other in zip(several.all_fact_ids.tolist(), single.all_fact_ids.tolist(), strict=True)
    ] == [value_id(strings[value]) for value in single.all_value_ids]


def test_parts_folds_and_twins_are_those_that_the_seed_draws() -> None:
    whole = lands(seed=2)
    part = whole.prefix(31)
    order = np.random.default_rng([8, 0x5B17]).permutation(31)
    first, second = part.split(0.3, seed=8)
    assert (first.rows_N.tolist(), second.rows_N.tolist()) == (sorted(order[:9].tolist()), sorted(order[9:].tolist()))
    names = sorted(set(part.subjects))
    drawn = np.random.default_rng([8, 0xF01D]).permutation(len(names))
    for number in (2, 4):
        groups = np.array_split(drawn, number)
        assert [fold.subjects for fold in part.folds(number, seed=8)] == [
            [subject for subject in part.subjects if names.index(subject) in group] for group in groups
        ]
    keys = keys_set(KeysConfig(num_facts=10))
    drawn = np.random.default_rng([8, 0xF01D]).permutation(10)
    assert [fold.rows_N.tolist() for fold in keys.folds(3, seed=8)] == [
        sorted(group.tolist()) for group in np.array_split(drawn, 3)
    ]
    rng = np.random.default_rng([5, 0x7714])
    values = whole.all_value_ids.tolist()
    for relation in range(3):
        rows = [row for row in range(56) if whole.all_relation_ids[row] == relation]
        for row, source in zip(rows, rng.permutation(rows).tolist(), strict=True):
            values[row] = int(whole.all_value_ids[source])
    assert whole.twin(seed=5).all_value_ids.tolist() == values
    counts = Counter(whole.prefix(23).value_ids_N.tolist())
    of_relation = Counter(whole.prefix(23).relation_ids_N.tolist())
    bits = sum(math.log2(math.factorial(num)) for num in of_relation.values())
    bits -= sum(math.log2(math.factorial(num)) for num in counts.values())
    assert whole.prefix(23).demand_bits() == pytest.approx(bits)


# ---- keys ----------------------------------------------------------------------------------------------------------


class Letters:
    """Keys of texts by the letters that they have: an encoder whose vectors anybody can count."""

    encoder_hash = "letters"

    def keys(self, texts: Sequence[str], templates: Sequence[Template]) -> ndarray:
        assert len(texts) == len(templates)
        counts_QD = np.array([[1 + text.lower().count(sign) for sign in "aeiouy"] for text in texts], dtype=np.float32)
        return np.asarray(counts_QD / np.linalg.norm(counts_QD, axis=1, keepdims=True), dtype=np.float32)


def test_keys_of_an_encoder_go_with_every_text_and_may_be_turned_into_fewer_dimensions() -> None:
    plain = lands(num_written=2).prefix(20)
    turned = RotatedKeys(Letters(), 4, seed=9)
    assert turned.encoder_hash == "letters-rot4-9"
    gauss = np.random.default_rng(9).standard_normal((6, 4))
    orthonormal, triangular = np.linalg.qr(gauss)
    rotation_DE = orthonormal * np.sign(np.diag(triangular))
    for keys, name in ((Letters(), "letters"), (turned, "letters-rot4-9")):
        facts = plain.with_keys(keys).facts(statements=True)
        assert facts.statements is not None
        for queries in (*facts.cues, facts.statements, facts.calibration.queries):
            texts = list(queries.texts or ())
            expected_QD = Letters().keys(texts, [Template("")] * len(texts))
            if name != "letters":
                expected_QD = expected_QD @ rotation_DE
                expected_QD = expected_QD / np.linalg.norm(expected_QD, axis=1, keepdims=True)
            np.testing.assert_allclose(queries.key_vectors(), expected_QD, atol=1e-6)
            assert queries.encoder_hash == name and queries.key_vectors().dtype == np.float32


def test_token_pairs_and_keys_are_written_out() -> None:
    pairs = token_pairs_set(TokenPairsConfig(num_tokens=5, num_values=7, num_facts=13, seed=3))
    rng = np.random.default_rng(3)
    drawn = rng.permutation(25)[:13].tolist()
    keys_ND = np.zeros((13, 10))
    for row, pair in enumerate(drawn):
        keys_ND[row, pair // 5] = keys_ND[row, 5 + pair % 5] = 1
    values_N = rng.integers(7, size=13)
    assert pairs.all_keys is not None
    np.testing.assert_array_equal(pairs.all_keys, keys_ND)
    assert pairs.all_value_ids.tolist() == values_N.tolist()
    keys = keys_set(KeysConfig(dim=3, num_values=6, num_facts=9, seed=2))
    for knowledge, name, num, num_values in ((pairs, "token pairs", 13, 7), (keys, "keys", 9, 6)):
        assert (knowledge.name, knowledge.uniform, knowledge.text) == (name, True, None)
        assert knowledge.values == ValueTable(strings=None, relations=("key",), starts=(0, num_values))
        assert knowledge.all_fact_ids.tolist() == list(range(0, 16 * num, 16))
        assert knowledge.all_relation_ids.tolist() == [0] * num and knowledge.rows_N.tolist() == list(range(num))
        assert knowledge.all_keys is not None
        assert knowledge.content_hash == content_hash(
            knowledge.all_keys.tobytes(), knowledge.all_value_ids.tobytes(), str(num_values).encode()
        )
    for config in (KeysConfig, TokenPairsConfig):
        assert config(num_values=2, num_facts=1).num_facts == 1
    for fields in ({"dim": 0}, {"num_values": 0}, {"num_facts": 0}):
        with pytest.raises(ValueError, match="^dim, num_values and num_facts should each be 1 or more$"):
            KeysConfig(**fields)
    for fields in ({"num_tokens": 0}, {"num_values": 0}, {"num_facts": 0}):
        with pytest.raises(ValueError, match="^num_tokens, num_values and num_facts should each be 1 or more$"):
            TokenPairsConfig(**fields)
    assert TokenPairsConfig(num_tokens=10_000).num_tokens == 10_000
    assert TokenPairsConfig(num_tokens=7, num_facts=49).num_facts == 49


# ---- hidden facts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("facts_per_document", "distractors"), [(4, 3), (5, 0), (23, 1), (1, 2)])
def test_hidden_facts_stand_where_they_are_said_to_among_statements_about_others(
    facts_per_document: int, distractors: int
) -> None:
    knowledge = lands(seed=5).prefix(22)
    hidden = hide(knowledge, facts_per_document=facts_per_document, distractors_per_fact=distractors, seed=12)
    statements = ByHand(knowledge, 1)
    facts = [statements.statement(row) for row in rows_of(knowledge)]
    num_people = -(-22 * distractors // 6)
    others: list[str] = []
    if num_people:
        people = biographies_set(BiographiesConfig(num_people=num_people, seed=13)).facts(statements=True).statements
        assert people is not None
        others = list(people.texts or ())
    rng = np.random.default_rng([12, 0x41DE])
    documents, spans = [], {}
    for number in range(-(-22 // facts_per_document)):
        own = facts[number * facts_per_document : (number + 1) * facts_per_document]
        lines = own + [others.pop(0) for _ in range(distractors * len(own))]
        drawn = rng.permutation(len(lines)).tolist()
        documents.append(" ".join(lines[row] for row in drawn))
        for place, row in enumerate(drawn):
            if row < len(own):
                start = sum(len(lines[other]) + 1 for other in drawn[:place])
                spans[number * facts_per_document + row] = (number, start, start + len(own[row]))
    assert hidden.documents == tuple(documents)
    assert hidden.spans_N == tuple(spans[fact] for fact in range(22))
    assert [hidden.documents[number][start:end] for number, start, end in hidden.spans_N] == facts
