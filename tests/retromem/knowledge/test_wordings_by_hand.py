"""Templates, keys and tables on small examples, all of whose parts are compared."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from numpy import ndarray

from retrieval.embedding_cache import EmbeddingCache
from retrieval.encoder_config import Prompts
from retrieval.errors import UserError
from retromem.knowledge.fact_files import read_facts
from retromem.knowledge.fact_table import FactRow, FactTable, clean, fold, holds, words
from retromem.knowledge.names import tidied
from retromem.knowledge.sources import TextConfig, build_knowledge
from retromem.knowledge.text_keys import CachedTextKeys, Template, TextCollector
from retromem.knowledge.wordings import (
    Wordings,
    check_covers,
    drop_value_in_wording,
    generic_wordings,
    read_wordings,
)

# ---- wordings ------------------------------------------------------------------------------------------------------


def test_generic_wordings_are_written_out() -> None:
    assert generic_wordings("birthPlace") == Wordings(
        statements=("The birth place of {subject} is {value}.",),
        written=(
            "What is the birth place of {subject}?",
            "{subject}'s birth place is",
            "Please name the birth place that belongs to {subject}.",
            "For {subject}, the birth place is known to be",
        ),
        calibrate="Which birth place does {subject} have?",
        heldout=("Tell me {subject}'s birth place.", "I wonder about {subject}: what would its birth place be?"),
    )
    for relation, clause in (("capital_of", "{subject} is capital of"), ("works_for", "{subject} works for")):
        assert generic_wordings(relation) == Wordings(
            statements=(f"{clause} {{value}}.",),
            written=(
                clause,
                f"Complete the sentence: {clause}",
                f"It is well known that {clause}",
                f"What comes next? {clause}",
            ),
            calibrate=f"According to the records, {clause}",
            heldout=(f"Everybody agrees that {clause}", f"As a matter of fact, {clause}"),
        )
    for relation, named in (
        ("of", "The of of"),
        ("boss_of", "{subject} is boss of"),
        ("HTTPServer", "The HTTP server of"),
        ("iPhone", "The i phone of"),
        ("item2Of", "{subject} is item2 of"),
        ("http://x.org/ns#", "The ns of"),
        ("a/b/", "The b of"),
        ("__", "The answer of"),
        ("P-19 (x)", "The P 19 x of"),
        ("New York", "The new york of"),
    ):
        assert generic_wordings(relation).statements[0].startswith(named), relation


def test_plain_lists_are_split_and_repeats_are_counted(tmp_path: Path) -> None:
    def read(wordings: Sequence[str]) -> Wordings:
        (tmp_path / "p.json").write_text(json.dumps({"r": wordings}))
        return read_wordings(tmp_path / "p.json")["r"]

    signs = "bcdefghij"
    for num in range(1, 10):
        asked = tuple(f"{{subject}} {sign}" for sign in signs[:num])
        num_heldout = 0 if num == 1 else (num + 3) // 4
        seen, heldout = asked[: num - num_heldout], asked[num - num_heldout :]
        calibrates = len(seen) > 1
        assert read([f"{{subject}} {sign} {{value}}" for sign in signs[:num]]) == Wordings(
            statements=("{subject} b {value}",),
            written=seen[:-1] if calibrates else seen,
            calibrate=seen[-1] if calibrates else None,
            heldout=heldout,
        )
    # a and an ask the same, and so do capitals and signs; what is seen is not held out too.
    own = read(
        ["{subject} is a {value}.", "{subject}, is an {value}!", "{subject} has {value}", "{subject} IS A {value}"]
    )
    assert (own.written, own.calibrate, own.heldout, own.num_repeated) == (
        ("{subject} is a", "{subject} has"), None, (), 2,
    )  # fmt: skip
    assert own.questions == ("{subject} is a", "{subject} has")
    for wording, question in (
        ("The {value}-owned {subject}.", "The owned {subject}"),
        ("{value}’s heart is {subject}", "heart is {subject}"),
        ("{subject} [{value}], “{value}” and '{value}' – {value}:", "{subject}, and"),
        ("{subject} owns {value}.", "{subject} owns"),
        ("Where is {subject} ; now", "Where is {subject}; now"),
        ("No value for {subject}.", "No value for {subject}."),
    ):
        assert read(["{subject} X {value}", wording]).heldout == (question,)


def test_questions_give_their_parts_in_order_and_relations_are_covered() -> None:
    own = Wordings(statements=("s",), written=("a", "b"), calibrate="c", heldout=("d", "e"))
    assert own.questions == ("a", "b", "c", "d", "e")
    with pytest.raises(UserError) as caught:
        check_covers({"y": own}, ["z", "y", "x"], Path("p.yaml"))
    assert str(caught.value) == "p.yaml: no templates for relation 'x' (and 'z') of the facts; add them"
    check_covers({"y": own, "z": own}, ["z", "y"], Path("p.yaml"))


def facts(*rows: tuple[str, str, str]) -> FactTable:
    return clean([FactRow(subject=s, relation=r, value=v) for s, r, v in rows], name="set", source="set.csv")


def test_a_value_in_any_question_of_its_own_relation_takes_the_fact_out() -> None:
    wordings = {
        "one": Wordings(
            statements=(),
            written=("Is {subject} red?", "x"),
            calibrate="a BLUE {subject}?",
            heldout=("{subject} green",),
        ),
        "two": Wordings(statements=(), written=("{subject}?",), calibrate=None, heldout=()),
    }
    given = facts(
        ("a", "one", "red"), ("b", "one", "blue"), ("c", "one", "green"), ("d", "one", "gre"), ("e", "two", "red"),
        ("New", "one", "new green"), ("f", "one", "++"),
    )  # fmt: skip
    left = drop_value_in_wording(given, wordings)
    assert left.subjects == ("d", "e", "f")
    assert dict(left.dropped) == {"subject_in_value": 1, "value_in_wording": 3}


# ---- tables --------------------------------------------------------------------------------------------------------


def test_words_and_names_are_folded() -> None:
    assert [fold(text) for text in ("Łódź", "ÆON", "Straße", "Þór", "ı", "ﬁ", "ABC", "Đœ")] == [
        "lodz", "aeon", "strasse", "thor", "i", "fi", "abc", "doe",
    ]  # fmt: skip
    assert words("It's 10 Łódź-km, 東京 한국!") == ["it", "s", "10", "lodz", "km", "東", "京", "한", "국"]
    for text, part, expected in (
        ("Republic of Oman", "OMAN", True),
        ("Romania", "Oman", False),
        ("a b c d", "b c", True),
        ("a b c d", "b d", False),
        ("a b", "a b c", False),
        ("the end", "end", True),
        ("C++ and C", "++", True),
        ("C and C", "++", False),
        ("東京都", "京都", True),
    ):
        assert holds(text, part) is expected, (text, part)
    given = (" a \t b\u00a0c ", "e\u0301", "a\u200bb", "a\u200db", "a\u200cb", "x\x00y\n", "می\u200cخواهم")
    assert [tidied(text) for text in given] == ["a b c", "é", "ab", "ab", "ab", "xy", "می\u200cخواهم"]


def test_a_cleaned_table_is_compared_whole() -> None:
    rows = [
        FactRow(subject=" Oslo ", relation="r", value="Norway", popularity=5.0, aliases=("Kristiania", "Old Oslo")),
        FactRow(subject="Oslo", relation="r", value="Norway", popularity=1.0),
        FactRow(subject="Oslo", relation="q", value="one", popularity=2.0, aliases=("kristiania",)),
        FactRow(
            subject="Bergen", relation="r", value="Norway", popularity=4.0,
            aliases=("Old Oslo", "Bjorgvin", "BJØRGVIN", "Norway Gate"),
        ),
        FactRow(subject="Rome", relation="r", value="Italy", popularity=9.0),
        FactRow(subject="Rome", relation="r", value="Latium", popularity=9.0),
        FactRow(subject="", relation="r", value="x", popularity=1.0),
    ]  # fmt: skip
    expected = FactTable(
        name="set",
        subjects=("Oslo", "Oslo", "Bergen"),
        relations=("r", "q", "r"),
        values=("Norway", "one", "Norway"),
        popularity=(5.0, 2.0, 4.0),
        aliases=(("Kristiania",), ("kristiania",), ("Bjorgvin",)),
        dropped={"duplicate": 1, "empty": 1, "several_values": 2},
        attribution="by hand",
        notes=("first", "aliases left out (blank, repeated, ambiguous or telling the value): 4"),
    )
    given = {"name": "set", "source": "set.csv", "attribution": "by hand", "notes": ("first",)}
    assert clean(rows, **given) == expected  # type: ignore[arg-type]
    several = clean(rows, **given, several_values=True)  # type: ignore[arg-type]
    assert several.values == ("Norway", "one", "Norway", "Italy", "Latium")
    assert dict(several.dropped) == {"duplicate": 1, "empty": 1}
    fewer = expected.without([1], "duplicate")
    assert fewer == FactTable(
        name="set", subjects=("Oslo", "Bergen"), relations=("r", "r"), values=("Norway", "Norway"),
        popularity=(5.0, 4.0), aliases=(("Kristiania",), ("Bjorgvin",)),
        dropped={"duplicate": 2, "empty": 1, "several_values": 2}, attribution="by hand", notes=expected.notes,
    )  # fmt: skip
    with pytest.raises(UserError) as caught:
        clean(
            [FactRow(subject="York", relation="r", value="New York"), FactRow(subject="", relation="r", value="v")],
            name="n",
            source="s.csv",
            dropped={"x": 1234},
        )
    assert str(caught.value) == (
        "s.csv: no fact is left (left out: 1,234 x, 1 empty, 1 subject_in_value); a fact needs one value for each "
        "subject and relation, and neither subject nor value may hold the other"
    )


# ---- keys ----------------------------------------------------------------------------------------------------------

NAMES = ("Ada", "Bo", "Cy", "Di", "Eve")
PROMPTS = Prompts(query="q: ", document="d: ")


def vector(text: str) -> ndarray:
    counts_D = np.array([3 + text.count(sign) for sign in "abdeioqsty"], dtype=np.float64)
    return np.asarray(counts_D / np.linalg.norm(counts_D), dtype=np.float32)


@pytest.mark.parametrize("centred", [True, False])
def test_keys_of_questions_and_statements_are_centred_each_by_its_own_wording(centred: bool, tmp_path: Path) -> None:
    question, statement = Template("Who is {subject}?"), Template("{subject} is a {value}.", ("cat", "dog", "toad"))
    given = [("Who is Zoe?", question), ("Zoe is a dog.", statement), ("Who is Tobias?", question)]
    examples = {
        question: [f"q: Who is {name}?" for name in NAMES],
        statement: [f"d: {name} is a {('cat', 'dog', 'toad')[place % 3]}." for place, name in enumerate(NAMES)],
    }
    encoded = ["q: Who is Zoe?", "d: Zoe is a dog.", "q: Who is Tobias?"]
    cache = EmbeddingCache(tmp_path)
    every = list(dict.fromkeys([*encoded, *examples[question], *examples[statement]]))
    cache.add("letters", every, np.stack([vector(text) for text in every]), seconds=1.0)
    keys = CachedTextKeys(cache, "letters", centred=centred, names_off_the_set=NAMES, prompts=PROMPTS)
    assert keys.encoder_hash == ("letters" if centred else "letters-raw")
    made_QD = keys.keys([text for text, _ in given], [template for _, template in given])
    for row, (_, template) in enumerate(given):
        expected_D = vector(encoded[row]).astype(np.float64)
        if centred:
            expected_D = expected_D - np.mean([vector(text).astype(np.float64) for text in examples[template]], axis=0)
            expected_D = expected_D / np.linalg.norm(expected_D)
        np.testing.assert_allclose(made_QD[row], expected_D, atol=2e-6)
    assert made_QD.dtype == np.float32 and keys.keys([], []).shape[0] == 0
    collector = TextCollector(NAMES, PROMPTS)
    assert collector.keys([text for text, _ in given], [template for _, template in given]).tolist() == [[0], [0], [0]]
    assert collector.texts[:3] == encoded and sorted(collector.texts) == sorted(every)
    collector.keys(["Who is Ur?"], [question])
    collector.note_plain(["plain", "Who is Zoe?"], is_document=True)
    collector.note_plain(["Who is Zoe?", "asked"], is_document=False)
    assert collector.texts[len(every) :] == ["q: Who is Ur?", "d: plain", "d: Who is Zoe?", "q: asked"]
    assert TextCollector(NAMES).encoder_hash == "none yet"


def test_a_text_without_a_word_that_the_encoder_knows_is_named(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    vectors_ND = np.zeros((5, 3), dtype=np.float32)
    vectors_ND[[0, 3], 1] = 1
    cache.add("e", ["a?", "??", "!?", "b?", "Ada?"], vectors_ND, seconds=1.0)
    for centred in (True, False):
        keys = CachedTextKeys(cache, "e", centred=centred, names_off_the_set=("Ada",))
        with pytest.raises(UserError) as caught:
            keys.keys(["a?", "??", "b?", "!?"], [Template("{subject}?")] * 4)
        assert str(caught.value) == (
            "'??': the encoder knows no word of this text (2 such texts of 4); take the fact out, or take another "
            "encoder"
        )


# ---- data sets -----------------------------------------------------------------------------------------------------


def test_rows_that_only_the_library_reads_are_numbered_and_named(tmp_path: Path) -> None:
    features = Features(
        {"subject": Value("string"), "relation": Value("string"), "value": ClassLabel(names=["no", "yes"])}
    )
    rows = {"subject": ["Oslo", "Lyon", "Rome"], "relation": ["coastal"] * 3, "value": [1, 0, 0]}
    folder = tmp_path / "streamed"
    folder.mkdir()
    table = Dataset.from_dict(rows, features=features).data.table
    with pa.ipc.new_stream(str(folder / "train.arrow"), table.schema) as writer:
        writer.write_table(table)
    found = read_facts(f"hf:{folder}")
    assert (found.subjects, found.values, found.name) == (("Oslo", "Lyon", "Rome"), ("yes", "no", "no"), "streamed")
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    table = pa.table({"subject": ["a", "b"], "relation": ["r", "r"], "value": [["x"], ["y"]]})
    with pa.ipc.new_stream(str(wrong / "train.arrow"), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(UserError, match=f"^hf:{wrong}, row 1: 'value' is"):
        read_facts(f"hf:{wrong}")


def test_saved_data_sets_are_read_by_split(tmp_path: Path) -> None:
    def saved(*subjects: str) -> Dataset:
        return Dataset.from_dict(
            {"subject": list(subjects), "relation": ["r"] * len(subjects), "value": ["v"] * len(subjects)}
        )

    saved("a", "b").save_to_disk(tmp_path / "alone")
    assert read_facts(tmp_path / "alone").subjects == read_facts(f"hf:{tmp_path}/alone").subjects == ("a", "b")
    with pytest.raises(UserError) as caught:
        read_facts(f"hf:{tmp_path}/alone@train")
    assert str(caught.value) == f"hf:{tmp_path}/alone@train: was saved without splits; leave @train out"
    DatasetDict(test=saved("c"), train=saved("d", "e"), other=saved("f")).save_to_disk(tmp_path / "three")
    whole = read_facts(f"hf:{tmp_path}/three")
    assert (whole.subjects, whole.notes) == (("d", "e"), ("splits that were not read: test, other",))
    one = read_facts(f"hf:{tmp_path}/three@test")
    assert (one.subjects, one.notes) == (("c",), ())
    with pytest.raises(UserError) as caught:
        read_facts(f"hf:{tmp_path}/three@dev")
    assert str(caught.value) == (
        f"hf:{tmp_path}/three@dev: has the splits test, train, other; name one, such as hf:{tmp_path}/three@test"
    )
    DatasetDict(test=saved("c"), dev=saved("d")).save_to_disk(tmp_path / "two")
    with pytest.raises(UserError, match="has the splits test, dev; name one"):
        read_facts(f"hf:{tmp_path}/two")
    DatasetDict(dev=saved("d")).save_to_disk(tmp_path / "one")
    assert (read_facts(f"hf:{tmp_path}/one").subjects, read_facts(f"hf:{tmp_path}/one").notes) == (("d",), ())


def test_a_study_of_a_file_is_built_of_its_settings(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("who,what\na,x\nb,y\nc,x\nb,z\n")
    (tmp_path / "p.json").write_text(
        json.dumps(
            {
                "likes": {
                    "statement": "{subject} likes {value}.",
                    "seen": ["A {subject}?", "B {subject}?", "an {subject}"],
                    "heldout": ["a {subject}?"],
                }
            }
        )
        .replace("an {subject}", "C {subject}")
        .replace('"a {subject}?"', '"D {subject}?", "d {subject}"')
    )
    config = TextConfig(
        source="file", file=str(tmp_path / "f.csv"), name="mine", phrasings=str(tmp_path / "p.json"),
        columns=("subject=who", "value=what", 'relation="likes"'), num_written=2, pool=2, max_calibration=5, seed=3,
    )  # fmt: skip
    knowledge = build_knowledge(config)
    assert (knowledge.name, knowledge.num_facts, knowledge.max_calibration) == ("mine", 2, 5)
    assert dict(knowledge.dropped) == {"several_values": 2}
    assert knowledge.notes == ("1 question wordings repeat others and were left out",)
    assert knowledge.text is not None and knowledge.text.num_written == 2
    assert knowledge.text.wordings[0].written == ("A {subject}?", "B {subject}?")
    assert knowledge.text.wordings[0].calibrate == "C {subject}" and knowledge.text.wordings[0].heldout == (
        "D {subject}?",
    )
    several = config.build(several_values=True)
    assert several.num_facts == 4 and len(set(several.all_fact_ids.tolist())) == 4
    assert build_knowledge(config) is knowledge
    (tmp_path / "f.csv").write_text("who,what\na,x\nc,x\n")
    assert dict(build_knowledge(config).dropped) == {}, "a file that was changed is read again"
    with pytest.raises(UserError, match="a study with `source: file` needs `file:`"):
        build_knowledge(TextConfig(source="file"))
    plain = build_knowledge(TextConfig(source="file", file=str(tmp_path / "f.csv"), columns=config.columns))
    assert plain.name == "f" and plain.text is not None and plain.text.wordings == (generic_wordings("likes"),)


def test_repeated_wordings_of_all_relations_of_the_facts_are_counted_together(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("subject,relation,value\na,likes,x\nb,owns,y\n")
    wordings = {
        "likes": ["{subject} likes {value}", "{subject}, likes {value}", "{subject} has {value}"],
        "owns": [f"{{subject}} {sign} {{value}}" for sign in ("owns", "OWNS", "owns,", "keeps", "holds", "is at")],
        "unused": ["{subject} is {value}"] * 9,
    }
    (tmp_path / "p.json").write_text(json.dumps(wordings))
    config = TextConfig(source="file", file=str(tmp_path / "f.csv"), phrasings=str(tmp_path / "p.json"))
    knowledge = build_knowledge(config)
    assert knowledge.notes == ("3 question wordings repeat others and were left out",)
    assert (knowledge.name, knowledge.values.relations) == ("f", ("likes", "owns"))
