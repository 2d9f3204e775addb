"""Words of wordings, told from words of names."""

from retromem.knowledge.biographies import BiographiesConfig
from retromem.memories.common_words import CommonWords
from retromem.memories.lexical_memory import LexicalMemoryConfig

PEOPLE = BiographiesConfig(num_people=60, attributes=("university", "major"), num_written=4).build()


def test_what_is_left_of_a_question_is_the_name() -> None:
    common = CommonWords.of(PEOPLE.facts())
    asked = PEOPLE.ask("identical")
    for text, relation, subject in zip(
        asked.queries.texts, asked.queries.relation_ids_Q.tolist(), PEOPLE.subjects, strict=True
    ):
        assert common.left_out(text, relation) == subject.lower(), text


def test_stored_and_found_again() -> None:
    common = CommonWords.of(PEOPLE.facts())
    back = CommonWords.from_bytes(common.to_bytes())
    assert [back.left_out(text, 0) for text in PEOPLE.ask("heldout").queries.texts] == [
        common.left_out(text, 0) for text in PEOPLE.ask("heldout").queries.texts
    ]
    assert common.to_bytes() == back.to_bytes()


def test_a_lexical_index_that_leaves_them_out_finds_more() -> None:
    asked, right = PEOPLE.ask("identical"), {}
    for setting in ("searched", "left_out"):
        memory = LexicalMemoryConfig(key_by="statement", common_words=setting).build(seed=0)
        memory.write(PEOPLE.facts(statements=True))
        right[setting] = (memory.recall(asked.queries, top_k=1).value_ids_QK[:, 0] == asked.value_ids_Q).mean()
    assert right["left_out"] == 1.0 > 0.97 > right["searched"]
