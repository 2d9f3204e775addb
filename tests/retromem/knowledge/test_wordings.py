import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import UserError
from retromem.knowledge.fact_files import read_facts
from retromem.knowledge.fact_table import FactRow, FactTable, clean, holds
from retromem.knowledge.wordings import (
    Wordings,
    check_covers,
    drop_value_in_wording,
    fill,
    generic_wordings,
    read_wordings,
)

SHARED = Path(__file__).parents[3].parent / "shared"

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def _save(content: object, name: str = "phrasings.json") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return _save


@given(st.text("{}suvaleject ", max_size=12), st.text("{}suvaleject ", max_size=12))
def test_fill_is_safe_for_braces(subject: str, value: str) -> None:
    assert fill("a {subject} b {value} c {subject}", subject, value) == f"a {subject} b {value} c {subject}"
    assert fill("Where is {subject}?", subject) == f"Where is {subject}?"


def test_fill_does_not_fill_what_was_filled_in() -> None:
    assert fill("{subject}: {value}", "{value}", "{subject}") == "{value}: {subject}"


def plain(num: int) -> list[str]:
    return [f"{{subject}} wording {letter} {{value}}." for letter in "bcdefghijklmno"[:num]]


@pytest.mark.parametrize(
    ("num", "num_written", "calibrates", "num_heldout"),
    [
        (1, 1, False, 0),
        (2, 1, False, 1),
        (3, 1, True, 1),
        (4, 2, True, 1),
        (5, 2, True, 2),
        (8, 5, True, 2),
        (9, 5, True, 3),
    ],
)
def test_plain_list_holds_the_last_quarter_out(
    save: Save, num: int, num_written: int, calibrates: bool, num_heldout: int
) -> None:
    own = read_wordings(save({"r": plain(num)}))["r"]
    assert own.statements == ("{subject} wording b {value}.",)
    questions = tuple(f"{{subject}} wording {letter}" for letter in "bcdefghijklmno"[:num])
    assert own.questions == questions
    assert own.written == questions[:num_written]
    assert own.calibrate == (questions[num_written] if calibrates else None)
    assert own.heldout == questions[num - num_heldout :]
    assert own.num_repeated == 0


@pytest.mark.parametrize(
    ("wording", "question"),
    [
        ("{subject} is a legal term in {value} .", "{subject} is a legal term in"),
        ("{value} is {subject}'s native language.", "is {subject}'s native language"),
        ("{value}'s capital, {subject}.", "capital, {subject}"),
        ("The {value}-owned {subject}", "The owned {subject}"),
        ("{subject}, a product of {value},", "{subject}, a product of"),
        ("{subject},  a type of {value}.", "{subject}, a type of"),
        ("{subject} label : {value}.", "{subject} label"),
        ("Where is {subject}? {value}.", "Where is {subject}?"),
        ("{subject} ({value}) is where?", "{subject} is where?"),
        ('{subject} is called "{value}" .', "{subject} is called"),
        ("{value}, {value}: {subject}", "{subject}"),
        ("Where does {subject} lie ?", "Where does {subject} lie?"),
    ],
)
def test_question_of_a_plain_wording(save: Save, wording: str, question: str) -> None:
    assert read_wordings(save({"r": ["{subject} X {value}", wording]}))["r"].heldout == (question,)


def test_plain_wordings_that_become_the_same_question_are_left_out_and_counted(save: Save) -> None:
    own = read_wordings(
        save(
            {
                "r": [
                    "{subject} is a {value} by trade.",
                    "{subject} is an {value} by trade.",
                    "{value} made {subject}.",
                    "{subject} works as {value}",
                    "{subject} works, as {value}",
                    "{subject}'s job: {value}",
                    "{subject} is a {value} by trade",
                    "{subject} does {value}",
                ]
            }
        )
    )["r"]
    assert own.written == ("{subject} is a by trade", "made {subject}", "{subject} works as")
    assert own.calibrate == "{subject}'s job"
    assert own.heldout == ("{subject} does",)
    assert own.num_repeated == 3


MAPPING = {
    "statement": "{subject} lies in {value} .",
    "seen": ["Where is {subject} ?", "{subject} is in", "Find {subject}."],
    "heldout": ["I look for {subject}."],
}


def test_mapping_in_json_and_yaml(save: Save) -> None:
    expected = Wordings(
        statements=("{subject} lies in {value}.",),
        written=("Where is {subject}?", "{subject} is in"),
        calibrate="Find {subject}.",
        heldout=("I look for {subject}.",),
    )
    assert read_wordings(save({"no": MAPPING})) == {"no": expected}
    # `no` and 1984 are a boolean and a number to YAML, and relations to us.
    text = yaml.safe_dump({"x": MAPPING}).replace("x:", "no:", 1) + yaml.safe_dump({1984: plain(1)})
    assert list(read_wordings(save("\ufeff" + text, "phrasings.yaml"))) == ["no", "1984"]
    assert read_wordings(save(text, "phrasings.yaml"))["no"] == expected


@pytest.mark.parametrize("heldout", [{}, {"heldout": []}, {"heldout": None}])
def test_without_heldout_all_seen_are_written(save: Save, heldout: dict[str, object]) -> None:
    seen = ["Where is {subject}?", "Find {subject}."]
    own = read_wordings(save({"r": {"statement": ["{subject}: {value}"], "seen": seen, **heldout}}))["r"]
    assert (own.written, own.calibrate, own.heldout) == (tuple(seen), None, ())


def refused(path: Path) -> str:
    with pytest.raises(UserError) as error:
        read_wordings(path)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(str(path), "FILE")


@pytest.mark.parametrize(
    ("templates", "expected"),
    [
        ([*plain(2), "nobody {value}"], "'nobody {value}' is without {subject}"),
        (["where is {subject}"], "statement 'where is {subject}' is without {value}"),
        (["{subject} {value} {other}"], "'{subject} {value} {other}' has other braces"),
        (["{{subject}} is {value}"], "has other braces"),
        ([], "the list is empty"),
        (["{subject} {value}", 3], "3 is no text"),
        ("x", "wants a list of wordings"),
        ({**MAPPING, "statement": "{subject} is"}, "statement '{subject} is' is without {value}"),
        ({**MAPPING, "statement": []}, "'statement': the list is empty"),
        ({**MAPPING, "seen": []}, "'seen': the list is empty"),
        ({**MAPPING, "seen": "Where is {subject}?"}, "'seen': wants a list"),
        ({**MAPPING, "seen": ["{subject} is {value}"]}, "question '{subject} is {value}' holds {value}"),
        ({**MAPPING, "heldout": ["{subject} is {value}"]}, "question '{subject} is {value}' holds {value}"),
        ({**MAPPING, "heldout": ["where?"]}, "'where?' is without {subject}"),
        ({**MAPPING, "heldout": ["where  is {subject}"]}, "'where is {subject}' is held out and seen"),
        ({**MAPPING, "heldout": ["Find {subject} ."]}, "'Find {subject}.' is held out and seen"),
        (
            {**MAPPING, "held_out": []},
            "unknown key 'held_out', known are statement, seen, heldout; did you mean 'heldout'?",
        ),
        ({"seen": MAPPING["seen"]}, "'statement' is missing"),
        ({"statement": MAPPING["statement"]}, "'seen' is missing"),
    ],
)
def test_bad_templates_are_refused_with_relation_and_template(save: Save, templates: object, expected: str) -> None:
    message = refused(save({"good": plain(3), "capital": templates}))
    assert message.startswith("FILE, relation 'capital'")
    assert expected in message


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("p.json", '{"r":\n oops}', "FILE, line 2: not JSON"),
        ("p.json", "[" * 100_000, "FILE: nested too deeply"),
        ("p.yaml", "[" * 5_000, "FILE: nested too deeply"),
        ("p.json", "[]", "FILE: a phrasings file wants one entry a relation"),
        ("p.json", '{"r": ["{subject} {value}"], "r": ["{subject} is {value}"]}', "FILE: 'r' comes twice; keep one"),
        ("p.yaml", "r: ['{subject} {value}']\n\"r\": ['{subject} is {value}']\n", "line 2: not YAML ('r' comes twice)"),
        ("p.yaml", "é: ['{subject} {value}']\ne\u0301: []\n", "line 2: not YAML ("),
        ("p.json", "{}", "FILE: a phrasings file wants one entry a relation"),
        ("p.yaml", "", "FILE: a phrasings file wants one entry a relation"),
        (
            "p.yaml",
            "r:\n  - {subject} is {value}\n",
            "in quotes",
        ),
        ("p.yaml", "r:\n  - {subject}\n", 'relation \'r\': {"subject": ""} is no text; put every template in quotes'),
        ("p.yaml", "r: \x01\n", "FILE: not YAML (a character that YAML does not know)"),
        ("p.yaml", "r: *unknown\n", "FILE, line 1: not YAML (found undefined alias"),
    ],
)
def test_bad_files_are_refused(save: Save, name: str, content: str, expected: str) -> None:
    assert expected in refused(save(content, name))


def test_relations_are_what_the_facts_call_them(save: Save) -> None:
    wordings = read_wordings(
        save("1: &a ['{subject} {value}']\n01: *a\nno: *a\nyes: *a\ne\u0301\u200b: *a\n", "p.yaml")
    )
    assert list(wordings) == ["1", "01", "no", "yes", "é"]
    assert read_wordings(save({"e\u0301": ["Zu\u0308rich {subject} {value}"]}))["é"].statements == (
        "Zürich {subject} {value}",
    )


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"r:\n- '\xe9'\n")
    assert "FILE, line 2: byte 0xe9 is not UTF-8" in refused(path)


def test_check_covers(save: Save) -> None:
    path = save({"capital_of": plain(1)})
    wordings = read_wordings(path)
    check_covers(wordings, ["capital_of"], path)
    with pytest.raises(UserError, match=r"phrasings\.json: no templates for relation 'capitalof' .*'capital_of'\?"):
        check_covers(wordings, ["capitalof", "capital_of"], path)
    with pytest.raises(UserError, match=r"relation 'a' \(and 'b'\) of the facts; add them"):
        check_covers(wordings, ["b", "a"], path)


def table_of(*facts: tuple[str, str, str]) -> FactTable:
    rows = [FactRow(subject=subject, relation=relation, value=value) for subject, relation, value in facts]
    return clean(rows, name="set", source="set.csv")


def test_facts_whose_question_holds_the_value_are_left_out() -> None:
    wordings = {
        "kind": Wordings(statements=(), written=("Which Country is {subject}?",), calibrate=None, heldout=()),
        "team": Wordings(
            statements=(), written=("Who is {subject}?",), calibrate="Who?", heldout=("The {subject} City team",)
        ),
    }
    table = table_of(
        ("Peru", "kind", "country"),
        ("Peru", "team", "country"),
        ("Kansas", "team", "Kansas City"),
        ("Québec", "team", "QUEBEC CITY TEAM"),
        ("Omaha", "team", "Kansas City"),
        ("Lima", "kind", "try"),
    )
    # clean() has already taken what subject and value tell each other; these three need a template.
    assert table.dropped == {"subject_in_value": 2}
    left = drop_value_in_wording(table, wordings)
    assert left.subjects == ("Peru", "Omaha", "Lima")
    assert left.dropped == {"subject_in_value": 2, "value_in_wording": 1}


def test_a_value_that_subject_and_template_complete_together_is_found() -> None:
    wordings = {"r": Wordings(statements=(), written=("{subject} City",), calibrate=None, heldout=())}
    table = table_of(("New Kansas", "r", "Kansas City"), ("Omaha", "r", "Kansas City"))
    assert drop_value_in_wording(table, wordings).subjects == ("Omaha",)


@pytest.mark.parametrize(
    ("relation", "statement", "question"),
    [
        ("capital_of", "{subject} is capital of {value}.", "{subject} is capital of"),
        ("bornIn", "{subject} is born in {value}.", "{subject} is born in"),
        ("works-for", "{subject} works for {value}.", "{subject} works for"),
        ("is part of", "{subject} is part of {value}.", "{subject} is part of"),
        ("birthPlace", "The birth place of {subject} is {value}.", "What is the birth place of {subject}?"),
        (
            "http://x.org/a#birthPlace/",
            "The birth place of {subject} is {value}.",
            "What is the birth place of {subject}?",
        ),
        ("P19", "The P19 of {subject} is {value}.", "What is the P19 of {subject}?"),
        ("ISBNNumber", "The ISBN number of {subject} is {value}.", "What is the ISBN number of {subject}?"),
    ],
)
def test_generic_wordings_read_the_relation(relation: str, statement: str, question: str) -> None:
    own = generic_wordings(relation)
    assert own.statements[0] == statement
    assert own.written[0] == question


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12))
def test_generic_wordings_obey_the_rules_of_a_phrasings_file(relation: str) -> None:
    own = generic_wordings(relation)
    assert len(own.written) >= 4
    assert own.calibrate is not None
    assert len(own.heldout) >= 2
    assert len(set(own.questions)) == len(own.questions)
    for template in own.statements + own.questions:
        assert re.findall("[{}]", template.replace("{subject}", "").replace("{value}", "")) == []
        assert "{subject}" in template
        assert ("{value}" in template) == (template in own.statements)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data here")
def test_no_question_of_the_shared_facts_holds_its_value() -> None:
    path = SHARED / "data" / "pararel" / "statements.json"
    wordings = read_wordings(path)
    table = read_facts(SHARED / "data" / "pararel" / "facts.jsonl.gz")
    check_covers(wordings, table.relations, path)
    assert drop_value_in_wording(table, wordings) is table
    # drop_value_in_wording takes short cuts; a sample the long way.
    for row in range(0, len(table), 100):
        for question in wordings[table.relations[row]].questions:
            assert not holds(fill(question, table.subjects[row]), table.values[row])
    assert sum(len(own.questions) + own.num_repeated for own in wordings.values()) == 329
    assert sum(own.num_repeated for own in wordings.values()) == 10
    for own in wordings.values():
        assert own.written
        for question in own.questions:
            assert "{subject}" in question
            assert not re.search(r"[{]value|\s[.,]|\s\s|^\W(?<![{])|[.,]$", question), question
