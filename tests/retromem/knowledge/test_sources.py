import json
from pathlib import Path

import pytest

from retrieval.errors import UserError
from retromem.knowledge.cities import CITY_WORDINGS, cities, spare_city_names
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.random_keys import KeysConfig
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.knowledge.wordings import generic_wordings

FACTS = [
    {"subject": "Ada", "relation": "born_in", "value": "London", "aliases": ["Countess"]},
    {"subject": "Alan", "relation": "born_in", "value": "Paddington"},
    {"subject": "Ada", "relation": "trade", "value": "poet"},
    {"subject": "Grace", "relation": "trade", "value": "admiral"},
]
PHRASINGS = {
    relation: {
        "statement": f"{relation} of {{subject}} is {{value}}",
        "seen": [f"{relation} of {{subject}}?", f"{{subject}} has {relation}", f"Say {relation} of {{subject}}"],
        "heldout": [f"Tell {relation} of {{subject}}"],
    }
    for relation in ("born_in", "trade")
}


def saved(path: Path, facts: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(fact) + "\n" for fact in facts), encoding="utf-8")
    return path


def facts_of(knowledge: KnowledgeSet) -> set[tuple[str, str, str]]:
    assert knowledge.text is not None and knowledge.values.strings is not None
    return {
        (
            knowledge.text.subjects[row],
            knowledge.values.relations[knowledge.all_relation_ids[row]],
            knowledge.values.strings[knowledge.all_value_ids[row]],
        )
        for row in knowledge.rows_N
    }


EXPECTED = {(str(fact["subject"]), str(fact["relation"]), str(fact["value"])) for fact in FACTS}


def test_a_file_becomes_a_set_with_generic_wordings(tmp_path: Path) -> None:
    knowledge = build_knowledge(TextConfig(source="file", file=str(saved(tmp_path / "people.jsonl", FACTS))))
    assert facts_of(knowledge) == EXPECTED
    assert knowledge.text is not None
    assert knowledge.text.wordings == (generic_wordings("born_in"), generic_wordings("trade"))
    assert knowledge.phrasings() == ("identical", "seen", "heldout", "alias")
    assert not knowledge.is_twin and not knowledge.uniform
    assert knowledge.attribution is None


def test_phrasings_seed_and_w_are_taken_from_the_config(tmp_path: Path) -> None:
    file = str(saved(tmp_path / "people.jsonl", FACTS))
    phrasings = tmp_path / "phrasings.json"
    phrasings.write_text(json.dumps(PHRASINGS))
    config = TextConfig(source="file", file=file, phrasings=str(phrasings), num_written=2, max_calibration=3, seed=5)
    knowledge = build_knowledge(config)
    assert knowledge.text is not None
    assert knowledge.text.wordings[0].written == ("born_in of {subject}?", "{subject} has born_in")
    assert knowledge.text.wordings[0].calibrate == "Say born_in of {subject}"
    facts = knowledge.facts()
    assert len(facts.cues) == 2
    assert len(facts.calibration) == 3
    assert knowledge.content_hash != build_knowledge(TextConfig(source="file", file=file)).content_hash


def test_a_twin_of_a_file_has_its_subjects_and_values(tmp_path: Path) -> None:
    many = [{"subject": f"Person {row}", "relation": "trade", "value": f"trade {row % 3}"} for row in range(30)]
    knowledge = build_knowledge(TextConfig(source="file", file=str(saved(tmp_path / "many.jsonl", many))))
    twin = knowledge.twin(seed=0)
    assert twin.is_twin
    assert facts_of(twin) != facts_of(knowledge)
    assert {fact[0] for fact in facts_of(twin)} == {fact[0] for fact in facts_of(knowledge)}
    assert sorted(fact[2] for fact in facts_of(twin)) == sorted(fact[2] for fact in facts_of(knowledge))


def test_columns_of_other_names_are_mapped(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("who,what,answer\nAda,trade,poet\nGrace,trade,admiral\n")
    config = TextConfig(source="file", file=str(path), columns=("subject=who", "relation=what", "value=answer"), seed=1)
    assert facts_of(build_knowledge(config)) == {("Ada", "trade", "poet"), ("Grace", "trade", "admiral")}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("who",), "columns: 'who' should read ours=theirs, such as subject=name"),
        (("subject=",), "columns: 'subject' should read ours=theirs"),
        (("subjct=who",), "subjct"),
        (("subject=nobody",), "nobody"),
        (("subject=who", "subject=who"), "'subject' is given twice"),
    ],
)
def test_a_mistake_in_columns_is_said(tmp_path: Path, columns: tuple[str, ...], message: str) -> None:
    path = tmp_path / "people.csv"
    path.write_text("who,relation,value\nAda,trade,poet\n")
    with pytest.raises(UserError, match=message):
        build_knowledge(TextConfig(source="file", file=str(path), columns=columns))


def test_a_source_without_its_file_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`source: file` needs `file:`"):
        build_knowledge(TextConfig(source="file"))
    with pytest.raises(UserError, match=r"nowhere\.jsonl"):
        build_knowledge(TextConfig(source="file", file=str(tmp_path / "nowhere.jsonl")))


def test_a_relation_without_templates_names_the_phrasings_file(tmp_path: Path) -> None:
    phrasings = tmp_path / "phrasings.json"
    phrasings.write_text(json.dumps({"born_in": PHRASINGS["born_in"]}))
    config = TextConfig(source="file", file=str(saved(tmp_path / "people.jsonl", FACTS)), phrasings=str(phrasings))
    with pytest.raises(UserError, match=r"phrasings\.json: no templates for relation 'trade'"):
        build_knowledge(config)


def test_facts_whose_question_tells_the_value_are_left_out(tmp_path: Path) -> None:
    facts = [*FACTS, {"subject": "Emmy", "relation": "trade", "value": "trade"}]
    knowledge = build_knowledge(TextConfig(source="file", file=str(saved(tmp_path / "people.jsonl", facts))))
    assert facts_of(knowledge) == EXPECTED
    assert knowledge.dropped["value_in_wording"] == 1


def test_repeated_wordings_are_noted(tmp_path: Path) -> None:
    repeated = {**PHRASINGS, "trade": {**PHRASINGS["trade"], "seen": ["{subject} does", "{subject} does!"]}}
    phrasings = tmp_path / "phrasings.json"
    phrasings.write_text(json.dumps(repeated))
    config = TextConfig(source="file", file=str(saved(tmp_path / "people.jsonl", FACTS)), phrasings=str(phrasings))
    assert "1 question wordings repeat others and were left out" in build_knowledge(config).notes


def test_a_file_that_changes_is_read_again_and_else_built_once(tmp_path: Path) -> None:
    config = TextConfig(source="file", file=str(saved(tmp_path / "people.jsonl", FACTS)))
    first = build_knowledge(config)
    assert build_knowledge(config) is first
    saved(tmp_path / "people.jsonl", FACTS[:3])
    assert build_knowledge(config).num_facts == 3


def test_keys_come_from_their_config_alone() -> None:
    knowledge = build_knowledge(KeysConfig(num_facts=40, num_values=8, dim=5, seed=2))
    assert knowledge.num_facts == 40
    assert knowledge.values.num_values == 8
    assert knowledge.all_keys is not None and knowledge.all_keys.shape == (40, 5)
    assert build_knowledge(KeysConfig(num_facts=40, num_values=8, dim=5, seed=3)).content_hash != knowledge.content_hash


def test_cities_are_asked_in_their_own_wordings_and_centred_by_no_city_of_the_set() -> None:
    knowledge = build_knowledge(TextConfig(source="cities", pool=2))
    assert knowledge.num_facts == len(cities()) - knowledge.dropped.get("value_in_wording", 0) > 30_000
    assert knowledge.text is not None
    assert knowledge.text.wordings[0].written == CITY_WORDINGS["country"].written[:2]
    assert knowledge.attribution is not None and "GeoNames" in knowledge.attribution
    assert set(knowledge.text.subjects).isdisjoint(spare_city_names())
    assert knowledge.phrasings() == ("identical", "seen", "heldout", "alias")
